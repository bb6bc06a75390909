"""The check of the active critic: its verdicts in the simulated world, and the proof that each can turn."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.tiny import save_tiny_chat

from tameshi.bench import Result, run_check
from tameshi.bench.shelf import stand
from tameshi.bench.store import Store
from tameshi.checks import active_critic as paper
from tameshi.doors.files import NotWritten
from tameshi.evaluation.active_critic import world
from tameshi.evaluation.active_critic.marked import marked_texts


def run(tmp_path: Path, **options: Any) -> Result:
    with Store(tmp_path / "runs.sqlite") as store:
        return run_check("active-critic", store=store, fresh=True, **options)


def outcomes(result: Result) -> dict[str, str]:
    assert not result.errors, result.errors
    return {claim: verdict.outcome for claim, verdict in result.verdicts.items()}


@pytest.fixture
def rated(tmp_path: Path) -> Path:
    file = tmp_path / "rated.csv"
    with file.open("w", newline="") as opened:
        examples, scores = marked_texts(0, 60)
        rows = [(e.source, e.output, s) for e, s in zip(examples, scores, strict=True)]
        csv.writer(opened).writerows([("source", "output", "score"), *rows])
    return file


def test_the_simulated_world_gives_each_claim_its_verdict(tmp_path: Path) -> None:
    result = run(tmp_path)
    found = outcomes(result)
    assert (found["C1"], found["C3"], found["C4"]) == ("out of reach here", "holds", "out of reach here")
    rows = result.rows
    few = rows.where(method="active critic", labels=5)
    assert few.mean("optimism") > 0.3
    assert rows.where(method="active critic", labels=40).mean("optimism") < 0.15
    planted = rows.where(check="critics", malformed=0.0)
    assert planted.mean("spearman") > 0.9
    assert planted.mean("calls") == planted.mean("calls predicted") <= planted.mean("calls at most")
    assert rows.where(check="critics", malformed=0.1).mean("spearman") > 0.8
    for made in stand("active-critic").figures:
        assert made.function(rows) is not None


def test_the_verdicts_turn_when_the_worst_criteria_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = world._spearman
    monkeypatch.setattr(
        world, "_spearman", lambda people, judged: (-1 if len(people) < 100 else 1) * right(people, judged)
    )
    found = outcomes(run(tmp_path, only="simulated", worlds=40))
    assert (found["C2"], found["C3"]) == ("fails", "fails")


def test_a_judge_of_ones_own_is_held_against_every_baseline(
    tmp_path: Path, rated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, only="critics", model="specimen:marker-judge", data=rated)
    assert not result.errors, result.errors
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("This run will make at most") == 1
    assert "g-eval" in said
    rows = result.rows
    assert len(rows.methods) == 10
    assert rows.where(method="active critic").mean("agreement") > 0.9
    assert rows.where(method="length").mean("agreement") < 0.9
    labels = {m: rows.where(method=m).mean("labels") for m in rows.methods}
    assert {m for m, n in labels.items() if not n} == {"direct", "fixed criteria", "g-eval", "length"}
    assert rows.where(method="direct").mean("calls to fit") == rows.where(method="length").mean("calls a text") == 0
    assert rows.where(method="direct").mean("calls a text") == 1
    assert rows.where(method="g-eval").mean("calls a text") == 20
    assert result.verdicts["C1"].outcome in ("inconclusive", "fails")  # a judge that counts needs no critic
    with pytest.raises(ValueError, match="name: definition"):
        run(tmp_path, only="critics", model="specimen:marker-judge", data=rated, criteria="clarity")
    with pytest.raises(ValueError, match="--mode takes"):
        run(tmp_path, only="critics", model="specimen:marker-judge", data=rated, mode="loose")
    with pytest.raises(ValueError, match="samples at least 1, got 0 and 0"):
        run(tmp_path, only="critics", model="specimen:marker-judge", data=rated, samples=0)
    with pytest.raises(ValueError, match="go together"):
        run(tmp_path, only="critics", model="specimen:marker-judge")


def test_a_model_at_hand_also_gives_its_probability_of_a_text(tmp_path: Path, rated: Path) -> None:
    folder = save_tiny_chat(tmp_path / "tiny")
    result = run(tmp_path, only="critics", model=str(folder), data=rated, limit=8, max_calls=1)
    assert "gptscore" in result.rows.methods
    assert abs(result.rows.where(method="gptscore").mean("agreement")) <= 1


def test_ratings_of_people_bring_the_explanations_into_reach(tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("rating\n" + "\n".join(["4", "5", "4", "3", "5", "4"] * 3) + "\n")
    assert outcomes(run(tmp_path, only="critics", ratings=file))["C4"] == "holds"
    file.write_text("rating\n" + "\n".join(["1", "2"] * 9) + "\n")
    assert outcomes(run(tmp_path, only="critics", ratings=file))["C4"] == "fails"


def test_a_critic_is_fitted_and_saved(tmp_path: Path, rated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = paper.fit.function(rated, tmp_path / "critic.json", propose=1)
    said = " ".join(capsys.readouterr().err.split())
    assert "rewriting" in said
    assert int(said.split("at most ")[1].split(" calls")[0].replace(",", "")) >= told["calls"]
    assert told["agreement on unseen sources (Spearman)"] > 0.9
    assert json.loads((tmp_path / "critic.json").read_text())["version"] == 1
    with pytest.warns(UserWarning, match="budget of 30 calls"):
        paper.fit.function(rated, tmp_path / "small.json", max_calls=30)
    assert (tmp_path / "small.json").exists()
    with pytest.raises(ValueError, match="--mode takes"):
        paper.fit.function(rated, tmp_path / "x.json", mode="loose")
    assert not (tmp_path / "x.json").exists()
    capsys.readouterr()
    with pytest.raises(NotWritten, match="is a folder"):
        paper.fit.function(rated, tmp_path)
    assert not capsys.readouterr().err  # no call was announced, and none made
