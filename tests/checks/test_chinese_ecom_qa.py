"""The check of ChineseEcomQA: its verdicts on the generated shop, and the proof that each can turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tameshi.bench import Result, run_check
from tameshi.bench.shelf import stand
from tameshi.bench.store import Store
from tameshi.checks import chinese_ecom_qa as paper
from tameshi.checks.chinese_ecom_qa import models, pipeline
from tameshi.evaluation.accounting import TooManyCalls
from tameshi.evaluation.ecom_qa import BM25, load_ecomqa, make_shop, scoring, to_record


def run(tmp_path: Path, **options: Any) -> Result:
    with Store(tmp_path / "runs.sqlite") as store:
        return run_check("chinese-ecom-qa", store=store, fresh=True, **options)


def outcomes(result: Result) -> dict[str, str]:
    assert not result.errors, result.errors
    return {claim: verdict.outcome for claim, verdict in result.verdicts.items()}


def test_the_generated_shop_gives_each_claim_its_verdict(tmp_path: Path) -> None:
    result = run(tmp_path)
    beyond = "out of reach here"
    assert outcomes(result) == {"C1": "holds", "C2": beyond, "C3": beyond, "C4": "holds", "C5": beyond, "C6": "holds"}
    rows = result.rows
    assert all(row.values["error"] <= 0.05 for row in rows.where(method="shopper"))
    assert rows.where(method="model votes").mean("flawed kept") == pytest.approx(1 - 0.93925, abs=0.03)
    beside = rows.where(method="rules beside a judge")
    assert beside.mean("kappa") >= 0.9
    assert beside.mean("calls_saved") == pytest.approx(0.8)
    assert len(beside.numbers("agrees")) == 300
    for made in stand("chinese-ecom-qa").figures:
        assert (made.function(rows) is None) is (made.function.__name__ == "calibrated")  # nobody stated a confidence


def test_the_verdict_turns_when_labels_are_read_the_wrong_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "read_answer", lambda item, answer: item.options[-1])
    assert outcomes(run(tmp_path, only="separation"))["C1"] == "fails"


def test_the_verdict_turns_when_the_retriever_returns_the_worst_passages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = BM25.scores
    monkeypatch.setattr(BM25, "scores", lambda self, query: 1 / (1 + right(self, query)))
    assert outcomes(run(tmp_path, only="shoppers"))["C4"] == "fails"


def test_the_verdict_turns_when_one_vote_is_enough_to_stay_and_people_nod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_vote", lambda *a: True)
    assert outcomes(run(tmp_path, only="cleaning"))["C6"] == "fails"


@pytest.mark.parametrize(
    ("check", "options", "told"),
    [
        ("shoppers", {"knowledge": (0.5, 1.5)}, "--knowledge is a share of the facts between 0 and 1, got 1.5"),
        ("shoppers", {"per_task": 200}, "--per-task must be 1 to 180 and --k at least 1, got 200 and 3"),
        ("separation", {"per_task": 0}, "--per-task must be 1 to 180, got 0"),
        ("cleaning", {"flawed": -0.1}, "--flawed, --accuracy and --people are shares between 0 and 1, got -0.1"),
        ("cleaning", {"questions": 3}, "--questions must be 10 to 2,000, got 3"),
    ],
)
def test_a_run_on_numbers_that_cannot_be_does_not_start(
    tmp_path: Path, check: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        run(tmp_path, only=check, **options)


def test_models_of_ones_own_bring_the_rest_into_reach(tmp_path: Path) -> None:
    settings = {"only": "separation", "seeds": 1, "limit": 30, "confidence": True}
    result = run(
        tmp_path, model="specimen:shopper-50", larger="specimen:shopper-100", distilled="specimen:shopper-25",
        per_task=30, **settings,
    )  # fmt: skip
    found = outcomes(result)
    assert (found["C2"], found["C3"], found["C5"]) == ("holds", "holds", "holds")
    assert paper.calibrated.function(result.rows) is not None
    with pytest.raises(TooManyCalls):
        models._asked(*_endpoint(), None, lambda: make_shop(0, per_task=5).items, 10, 0)


def _endpoint() -> tuple[Any]:
    from tameshi.specimens.endpoint import Endpoint

    return (Endpoint.open("specimen:shopper-50"),)


def test_a_file_without_a_model_shows_what_no_model_is_needed_for(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(json.dumps(to_record(i)) for i in make_shop(2, per_task=5).items), encoding="utf-8")
    rows = run(tmp_path, only="separation", data=file, seeds=1).rows
    assert rows.methods == ["trivial policy"]
    told = paper.look.function(file)
    assert "a policy without a model scores" in told
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(json.dumps({"answer": i.gold}) for i in make_shop(2, per_task=5).items))
    told = paper.look.function(file, answers=answers, output=tmp_path / "scores.jsonl")
    assert "macro 1.000" in told
    graded = paper.look.function(file, answers=answers, grader="specimen:literal-judge")
    assert "rules and judge agree on 25 of 25 answers" in graded
    assert "10 calls of the judge in place of 50, 80% saved" in graded
    with pytest.raises(TooManyCalls, match="--max-calls allows 34"):
        paper.look.function(file, answers=answers, grader="specimen:literal-judge", max_calls=34)
    with pytest.raises(ValueError, match="pass --answers"):
        paper.look.function(file, grader="specimen:literal-judge")
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 50
    answers.write_text('"one"\n')
    with pytest.raises(ValueError, match="50 answers"):
        paper.look.function(file, answers=answers)


def test_a_benchmark_is_built_out_of_a_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(make_shop(0, n_brands=12, n_products=12).passages), encoding="utf-8")
    found = paper.build.function(corpus, tmp_path / "built.jsonl")
    assert found["kept"] == 12
    records = [json.loads(line) for line in (tmp_path / "built.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {r["fate"] for r in records} == {"kept"}
    assert all(len(r["votes"]) == 3 and r["passages"] for r in records)
    records[0]["human"], records[1]["human"] = False, True
    looked, questions = tmp_path / "looked.jsonl", tmp_path / "questions.jsonl"
    looked.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records), encoding="utf-8")
    told = paper.release.function(looked, questions)
    assert told == {"questions": 11, "decided by people": 2, "left for people": 10}
    assert [i.prompt for i in load_ecomqa(questions)] == [r["candidate"]["question"] for r in records[1:]]
    for spoilt in ({"human": "yes"}, {"fate": "lost"}, {"votes": 3}):
        looked.write_text(json.dumps(records[0] | spoilt), encoding="utf-8")
        with pytest.raises(ValueError, match="must be a file that `apply chinese-ecom-qa build` wrote"):
            paper.release.function(looked, questions)
    looked.write_text(json.dumps(records[0]), encoding="utf-8")
    with pytest.raises(ValueError, match="no question that was kept"):
        paper.release.function(looked, questions)
    with pytest.raises(TooManyCalls):
        paper.build.function(corpus, tmp_path / "x.jsonl", max_calls=3)
    with pytest.raises(ValueError, match="one snippet a line"):
        paper.build.function(tmp_path / "none", tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()
