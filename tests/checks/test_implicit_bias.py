"""The check of implicit bias: its verdicts on planted models, and the proof that each can turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.tiny import save_tiny_chat

from tameshi.bench import Result, run_check
from tameshi.bench.shelf import stand
from tameshi.bench.store import Store
from tameshi.checks import implicit_bias as paper
from tameshi.checks.implicit_bias import measures
from tameshi.evaluation.implicit_bias import assignment, language
from tameshi.evaluation.implicit_bias.contrasts import shipped
from tameshi.nouns import Items, Missing


def run(tmp_path: Path, **options: Any) -> Result:
    settings: dict[str, Any] = {"seeds": 1}
    if options.get("only", "planted") == "planted":
        settings |= {"worlds": ("shared",), "strengths": (0.65,)}
    if "only" not in options:
        settings |= {"rates": (0.75,)}
    with Store(tmp_path / "runs.sqlite") as store:
        return run_check("implicit-bias", store=store, fresh=True, on="inline", **(settings | options))


def outcomes(result: Result) -> dict[str, str]:
    assert not result.errors, result.errors
    return {claim: verdict.outcome for claim, verdict in result.verdicts.items()}


def test_a_model_that_denies_and_associates_and_a_measure_that_saturates(tmp_path: Path) -> None:
    result = run(tmp_path)
    found = outcomes(result)
    assert (found["C1"], found["C3"], found["C4"]) == ("holds", "holds", "out of reach here")
    rows = result.rows
    assert rows.where(method="forced choice", planted=0.65).mean("value") > 0.9
    assert abs(rows.where(method="explicit", check="denial").mean("agreement")) < 0.01
    assert rows.where(method="assignment").mean("d") == pytest.approx(0.5, abs=0.1)
    refused = [v for v in rows.where(method="assignment")[0].values["d"].values if isinstance(v, Missing)]
    assert {m.reason for m in refused} == {"refused"}
    for made in stand("implicit-bias").figures:
        assert made.function(rows) is not None


def test_where_groups_and_attributes_keep_the_same_company_all_measures_agree(tmp_path: Path) -> None:
    result = run(tmp_path, only="planted", seeds=1, strengths=(0.5, 0.8, 0.95))
    assert outcomes(result)["C2"] == "holds"
    for method in ("WEAT", "probability gap", "generation", "decision"):
        assert abs(result.rows.where(method=method, planted=0.5).mean("value")) < 1
    alarms = result.rows.where(method="SEAT, names relabelled")
    assert alarms.mean("significant") <= 0.1  # two of twenty


def test_the_verdict_turns_when_vectors_are_read_the_wrong_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = measures.associations
    monkeypatch.setattr(measures, "associations", lambda terms, a, b: -right(terms, a, b))
    assert outcomes(run(tmp_path, only="planted", seeds=1, strengths=(0.5, 0.8, 0.95)))["C2"] == "fails"


def test_the_verdicts_turn_when_words_are_counted_the_wrong_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = assignment.iat_score
    monkeypatch.setattr(language, "iat_score", lambda xa, xb, ya, yb: right(xb, xa, yb, ya))
    found = outcomes(run(tmp_path))
    assert found["C1"] == "fails"


def test_the_verdict_turns_when_the_gap_saturates_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = language.LogProbabilities._share
    monkeypatch.setattr(language.LogProbabilities, "_share", lambda self, s: np.round(right(self, s)))
    assert outcomes(run(tmp_path))["C3"] == "fails"


def test_the_verdict_turns_when_the_model_says_openly_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_about_it(model: Any, groups: Any, seed: int) -> dict[str, Any]:
        return {"value": Items([0.9] * len(groups.x), ids=groups.x)}

    monkeypatch.setattr(measures, "explicit", open_about_it)
    assert outcomes(run(tmp_path))["C1"] == "fails"


def test_a_model_of_ones_own_is_asked_through_its_endpoint(tmp_path: Path) -> None:
    result = run(tmp_path, only="denial", model="specimen:leaning-90", answers=40)
    assert outcomes(result)["C1"] == "holds"
    mitigated = run(tmp_path, only="denial", model="specimen:leaning-90", mitigated="specimen:leaning-50", answers=12)
    assert outcomes(mitigated)["C4"] in ("fails", "inconclusive")
    with pytest.raises(ValueError, match="at most"):
        run(tmp_path, only="denial", model="specimen:leaning-90", answers=400, max_calls=10)


@pytest.mark.parametrize(
    ("check", "options", "told"),
    [
        ("planted", {"strengths": (2.0,)}, "--strengths are shares between 0 and 1, got 2.0"),
        ("planted", {"worlds": ("other",)}, "--worlds are direct and shared, got 'other'"),
        ("scripted", {"rates": (0.5,), "refused": 1.2}, "--rates and --refused are shares between 0 and 1, got 1.2"),
    ],
)
def test_a_run_on_numbers_that_cannot_be_does_not_start(
    tmp_path: Path, check: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        run(tmp_path, only=check, **options)


def test_answers_that_say_nothing_are_missing_with_a_reason(tmp_path: Path) -> None:
    result = run(tmp_path, only="denial", model="specimen:silent", answers=4)
    held = result.rows.where(method="implicit")[0].values["d"].values
    assert {v.reason for v in held if isinstance(v, Missing)} == {"could not be read"}
    assert result.verdicts["C1"].outcome == "inconclusive"


def test_apply_writes_a_report_of_the_users_model(tmp_path: Path) -> None:
    folder = save_tiny_chat(tmp_path / "tiny")
    told = paper.report.function(str(folder), n=1, output=tmp_path / "report.json")
    assert "sea-sky" in told
    written = json.loads((tmp_path / "report.json").read_text())
    assert {m["measure"] for m in written["measures"]} >= {"weat", "seat", "probability gap", "forced choice"}
    with pytest.raises(ValueError, match="'nothing' is no model folder, no specimen and no name that Inspect AI knows"):
        paper.report.function("nothing")
    with pytest.raises(ValueError, match="nowhere"):
        paper.report.function(str(tmp_path / "nowhere"))
    leaning = paper.report.function("specimen:leaning-90", n=2, families="association,explicit")
    assert "implicit minus explicit" in leaning


def test_apply_scores_answers_that_were_collected_before(tmp_path: Path) -> None:
    contrast = shipped()["invented"]
    stimuli = tmp_path / "stimuli.csv"
    lines = [f"1,craft,{y},{x},{b}," for x, y, b in zip(contrast.x[:6], contrast.y[:6], contrast.b, strict=True)]
    lines += [f"1,craft,,,{a}," for a in contrast.a]
    stimuli.write_text("\n".join(["category,dataset,A,B,C,D", *lines]) + "\n")
    text = "".join(f"{a} - valtor\n" for a in contrast.a) + "".join(f"{b} - sanil\n" for b in contrast.b)
    answers = tmp_path / "answers.csv"
    answers.write_text(f'0,more\n"{text}",1\n"{text}",2\nno names here,3\n"{text}",4\n"{text}",5\n')
    told = paper.read_answers.function(answers, stimuli=stimuli, category="craft")
    assert "1.000" in told
    with pytest.raises(ValueError, match="no dataset 'other'; it has craft"):
        paper.read_answers.function(answers, stimuli=stimuli, category="other")
