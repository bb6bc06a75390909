"""The check of Q-Filters: what it says of the method, and of methods that were broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tameshi.bench import Result, run_check
from tameshi.bench.judge import judge
from tameshi.bench.store import Store
from tameshi.checks import q_filters as paper
from tameshi.kv import QFilters, measures
from tameshi.kv import q_filters as method
from tameshi.nouns import Rule
from tameshi.specimens import modes
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.texts import Texts

SMALL: dict[str, Any] = {"seeds": 3, "documents": 6, "lengths": (256,), "compressions": (32,), "caps": (64,)}
JUDGED = ("q-filters", "streaming-llm", "key-norm", "snapkv", *paper.CONTROLS)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch, Store(tmp_path_factory.mktemp("honest") / "runs.sqlite") as store:
        patch.setattr(paper, "METHODS", JUDGED)
        return run_check("q-filters", store=store, **SMALL)


def rule(claim: str) -> Rule:
    return next(rule for rule in paper.RULES if rule.claim == claim)


def test_every_claim_of_the_paper_has_its_rule() -> None:
    from tameshi.catalogue import paper as facts

    assert [rule.claim for rule in paper.RULES] == [claim.id for claim in facts("q-filters").claims]


def test_every_method_is_measured_without_an_error() -> None:
    result = run_check("q-filters", **SMALL | {"seeds": 1, "documents": 1})
    assert result.errors == []
    for check in ("streaming", "needle"):
        assert set(result.rows.where(check=check).methods) == {"full", *paper.METHODS}


def test_the_method_keeps_the_mode_and_controls_do_not(honest: Result) -> None:
    kept = {
        name: honest.rows.where({"question": "after"}, check="needle", method=name).mean("needle_kept")
        for name in ("full", *JUDGED)
    }
    assert min(kept["full"], kept["q-filters"], kept["snapkv"]) > 0.9
    assert max(kept["random"], kept["sign flipped"], kept["streaming-llm"]) < 0.3
    assert {claim: honest.verdicts[claim].outcome for claim in ("C1", "C2", "C4")} == dict.fromkeys(
        ("C1", "C2", "C4"), "holds"
    )


def test_a_filter_cannot_keep_the_one_fact_that_is_asked_for(honest: Result) -> None:
    asked = {
        name: honest.rows.where({"question": "before"}, check="needle", method=name).mean("needle_kept")
        for name in ("full", "q-filters", "snapkv")
    }
    assert asked["full"] > 0.9
    assert asked["snapkv"] > asked["q-filters"] + 0.4


def first_and_newest(keys: Tensor, filters: Tensor) -> Tensor:
    """The score of StreamingLLM, in the place of the projection."""
    places = torch.arange(keys.shape[2]).float()
    places[:4] = 1e9
    return places.expand(keys.shape[:3])


def test_verdicts_turn_when_the_score_does_not_look_at_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "METHODS", JUDGED)
    monkeypatch.setattr(method, "project", first_and_newest)
    monkeypatch.setattr(measures, "project", first_and_newest)
    result = run_check("q-filters", **SMALL)
    found = {claim: result.verdicts[claim].outcome for claim in ("C1", "C2", "C4", "C5")}
    assert found == dict.fromkeys(("C1", "C2", "C4", "C5"), "fails")
    # Random choices may beat both baselines of C3 here, which makes it blind whatever the method does.
    turned = judge([replace(rule("C3"), control=())], result.rows)["C3"]
    assert turned.outcome == "fails"


def test_a_filter_that_points_the_wrong_way_is_the_control_and_the_control_is_the_method(
    monkeypatch: pytest.MonkeyPatch, honest: Result
) -> None:
    fitted = QFilters.fit

    def backwards(*given: Any, **settings: Any) -> QFilters:
        filters = fitted(*given, **settings)
        return replace(filters, filters=-filters.filters)

    monkeypatch.setattr(paper, "METHODS", JUDGED)
    monkeypatch.setattr(QFilters, "fit", backwards)
    result = run_check("q-filters", only="needle", **{k: v for k, v in SMALL.items() if k != "caps"})
    for ours, theirs in (("q-filters", "sign flipped"), ("sign flipped", "q-filters")):
        now, before = result.rows.where(method=ours), honest.rows.where(check="needle", method=theirs)
        assert [row.values for row in now] == [row.values for row in before]
    assert result.verdicts["C1"].outcome == "blind"
    assert judge([replace(rule("C1"), control=())], result.rows)["C1"].outcome == "fails"


def test_the_same_seed_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "METHODS", ("q-filters", "h2o", "random"))
    first, second = (
        run_check("q-filters", fresh=True, seeds=1, documents=2, caps=(64,), only="streaming") for _ in range(2)
    )
    assert [row.values_json() for row in first.rows] == [row.values_json() for row in second.rows]


def test_a_model_of_the_users_own_is_checked_on_texts_of_their_own(
    tiny_llama: Callable[..., Path], tmp_path: Path
) -> None:
    texts = tmp_path / "mine.txt"
    texts.write_text(" ".join(f"w{(i * i) % 23 + 3}" for i in range(9_000)), encoding="utf-8")
    result = run_check(
        "q-filters", model=str(tiny_llama()), data=str(texts), seeds=1, documents=2, caps=(32,), lengths=(256,),
        compressions=(8,),
    )  # fmt: skip
    assert result.errors == []
    assert {row.check for row in result.rows} == {"streaming", "needle", "geometry"}
    assert set(result.verdicts) == {"C1", "C2", "C3", "C4", "C5"}


def test_wrong_options_are_told_before_anything_runs(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("hello", encoding="utf-8")
    for options, sentence in (
        ({"caps": (4,)}, "--caps takes numbers of at least 8, got 4"),
        ({"caps": (512,)}, "--caps must be below the documents' 512 tokens, got 512"),
        ({"compressions": (128,)}, "leave 4 entries of 256 tokens"),
        ({"lengths": (8192,)}, "specimen:modes reads at most 4,096 tokens, but 8,192 are wanted; lower --lengths"),
        ({"documents": 0}, "at least 1 document, got 0"),
        ({"data": str(tmp_path / "mine.txt")}, "specimen:modes only reads documents generated for it"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run_check("q-filters", **options)
    assert not home.exists()


def test_figures_are_drawn_from_the_rows(honest: Result) -> None:
    for drawn in (paper.perplexity_over_cap, paper.kept_over_compression, paper.kept_with_the_question_known):
        lines = drawn.function(honest.rows).axes[0].get_lines()
        assert [line.get_label() for line in lines] == [name for name in paper.STYLES if name in ("full", *JUDGED)]
        assert drawn.function(honest.rows.where(method="nothing")) is None


def test_filters_can_be_fitted_from_the_command_line(tmp_path: Path) -> None:
    model = CausalLM.open("specimen:modes")
    documents = modes.documents(4, 256, seed=3)
    texts = Texts.of("mine", [documents.text(i) for i in range(4)])
    output = tmp_path / "filters.safetensors"
    told = paper.fit_filters.function(model=model, texts=texts, output=output)
    assert told["filters"] == [2, 2, 32]
    assert any("coin toss" in warning for warning in told["warnings"])
    QFilters.load(output).check(model.model)
    with pytest.raises(ValueError, match="at least 500 queries per head"):
        paper.fit_filters.function(model=model, texts=Texts.of("few", [documents.text(0)]), output=tmp_path / "no")
    assert not (tmp_path / "no").exists()
