"""The measures through Inspect AI, and the report of whatever can be measured on a subject."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspect_ai.model import get_model

from tameshi.evaluation.accounting import Ledger, TooManyCalls
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.implicit_bias import Bias, BiasReport, Contrast, asked, shipped, tasks
from tameshi.evaluation.implicit_bias.scripted import leaning
from tameshi.evaluation.provider import rule_model
from tests.evaluation.logs import metrics, run

SEA = [shipped()["sea-sky"]]
SMALL: dict[str, dict[str, Any]] = {
    "llm_iat": {"contrasts": "workshop-kitchen", "n": 2, "variants": 1},
    "decision_bias": {"contrasts": "workshop-kitchen", "n": 2},
    "explicit_bias": {"contrasts": "workshop-kitchen", "n": 1},
    "generation_audit": {"contrasts": "workshop-kitchen", "names": 1},
    "resume_audit": {"names": "invented", "pairs": 1},
}


def planted(folder: Path, secret: str) -> dict[str, dict[str, Any]]:
    """Options of the tasks in whose data a secret stands."""
    file, resumes = folder / "own.yaml", folder / "resumes.jsonl"
    sets = {"x": ["valtor", secret], "y": ["sanil", "petril"], "a": [f"{secret} craft", "saw"], "b": ["pot", "pan"]}
    contrast = {"name": "own", "statements": [f"{secret} is best."]} | sets
    file.write_text(json.dumps(contrast))
    resumes.write_text(json.dumps("{name} knows " + secret))
    options = {name: small | {"contrasts": str(file)} for name, small in SMALL.items() if "contrasts" in small}
    return options | {"resume_audit": {"resumes": str(resumes), "names": str(file), "pairs": 1}}


def test_a_planted_rate_comes_back_as_d_and_refusals_stand_apart(tmp_path: Path) -> None:
    log = run(tasks.llm_iat(SEA, n=40, variants=1), rule_model(leaning(0.75, refused=0.2), seed=1), tmp_path)
    assert metrics(log)["sea-sky iat"] == pytest.approx(0.5, abs=0.12)
    assert metrics(log)["sea-sky iat low"] < 0.5 < metrics(log)["sea-sky iat high"] + 0.1
    refused = metrics(log, 1)["mean"]
    assert 0.05 < refused < 0.4
    assert log.results.scores[0].unscored_samples == round(40 * refused)


def test_every_task_runs_on_a_rule_and_on_a_model_in_memory(tmp_path: Path, tiny_chat: Path) -> None:
    small = [Contrast("small", ("salmon",), ("heron",), ("fins",), ("wings",), statements=("Fish swim.",))]
    made = {
        "llm_iat": lambda: tasks.llm_iat(small, n=2, variants=1),
        "decision_bias": lambda: tasks.decision_bias(small, n=2),
        "explicit_bias": lambda: tasks.explicit_bias(small, n=1),
        "generation_audit": lambda: tasks.generation_audit(small),
        "resume_audit": lambda: tasks.resume_audit(names=small),
    }
    tiny = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    for build in made.values():
        assert run(build(), "tameshi/leaning-90", tmp_path).samples
        log = run(build(), tiny, tmp_path)
        assert all(not s.error for s in log.samples)


def test_decisions_the_question_and_applications_through_inspect(tmp_path: Path) -> None:
    share = metrics(run(tasks.decision_bias(SEA, n=40), "tameshi/leaning-90", tmp_path))["sea-sky relative decision"]
    assert share == pytest.approx(0.9, abs=0.12)
    agreed = metrics(run(tasks.explicit_bias(SEA, n=2), "tameshi/leaning-90", tmp_path))
    assert agreed["sea-sky explicit"] == 0
    audit = metrics(run(tasks.resume_audit(), "tameshi/leaning-90", tmp_path))
    assert audit["invented acceptance gap"] > 0.1
    assert audit["invented impact ratio"] < 0.9


def test_contrasts_come_from_files_named_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("name: own\nx: [p]\ny: [q]\na: [c]\nb: [d]\n")
    task = tasks.llm_iat(str(file), n=1, variants=1)
    assert next(iter(task.dataset)).metadata["contrast"] == "own"
    with pytest.raises(ValueError, match="has statements"):
        tasks.explicit_bias(str(file))
    with pytest.raises(ValueError, match="cannot be read"):
        tasks.llm_iat(str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match="where the name goes"):
        tasks.resume_audit(["no place"])


def test_a_task_that_would_cost_more_than_allowed_does_not_start() -> None:
    with pytest.raises(TooManyCalls, match="at most 60 calls"):
        tasks.llm_iat(n=10, variants=2, max_calls=59)


def test_a_tenth_of_malformed_answers_is_counted_and_moves_nothing(tmp_path: Path) -> None:
    log = run(tasks.llm_iat(SEA, n=50, variants=1), rule_model(leaning(1.0, malformed=0.1)), tmp_path)
    assert metrics(log)["sea-sky iat"] == 1
    assert 0 < log.results.scores[0].unscored_samples < 15


def test_a_report_of_answers_holds_every_family_and_the_calls_stay_within_budget() -> None:
    found = BiasReport.run(rule_model(leaning(0.9)), SEA, n=8)
    assert {m.family for m in found.measures} == {"association", "decision", "explicit", "generation"}
    assert found["iat", "sea-sky"].value > 0.6
    assert found["explicit", "sea-sky"].value == 0
    assert found["implicit minus explicit", "sea-sky"].value > 0.6
    assert "Refusal is not fairness" in found.table()
    assert "withheld" not in str(found.to_dict()["notes"])
    with pytest.raises(KeyError, match="was not measured"):
        found["weat", "sea-sky"]
    with pytest.raises(TooManyCalls):
        BiasReport.run(rule_model(leaning(0.9)), SEA, n=8, max_calls=20)


def test_generated_texts_stay_out_of_reports() -> None:
    found = BiasReport.run(rule_model(leaning(0.9)), SEA, families=["generation"], n=1)
    assert "bold" not in found.table() + str(found.to_dict())


def test_an_endpoint_that_falls_silent_spends_its_budget_and_is_unread_with_a_reason() -> None:
    async def silent(messages: Any) -> str:
        raise ConnectionError("key sk-abcdefghijklmnopqrstuvwx is wrong")

    ledger = Ledger(20)
    ask = Asker(silent, ledger=ledger, attempts=2, pause=0)
    found = asyncio.run(asked.ask_iat(ask, SEA[0], n=10, variants=1))
    assert found.value is None
    assert found.details["unanswered"] == 10
    assert ledger.calls.total() == 20
    assert "sk-abc" not in str(found) + str(ledger)


def test_an_encoder_is_measured_by_vectors_and_held_to_the_planted_answer() -> None:
    table = {w: np.array([1.0, 0.1]) for c in SEA for w in (*c.x, *c.a)}
    table |= {w: np.array([0.1, 1.0]) for c in SEA for w in (*c.y, *c.b)}

    def encode(texts: list[str]) -> np.ndarray:
        rng = np.random.default_rng(0)
        held = [next((v for w, v in table.items() if w in t), np.ones(2)) for t in texts]
        return np.stack(held) + rng.normal(0, 0.01, (len(texts), 2))

    found = BiasReport.run(encode, [*SEA, SEA[0].swapped()])
    assert found["weat", "sea-sky"].value > 1.5
    assert found.adjusted["weat", "sea-sky"] <= 1
    with pytest.raises(ValueError, match="serves the family association only"):
        BiasReport.run(encode, SEA, families=["decision"])
    with pytest.raises(ValueError, match="no family 'colour'"):
        BiasReport.run(encode, SEA, families=["colour"])
    with pytest.raises(ValueError, match="at least one contrast"):
        BiasReport.run(encode, [])
    with pytest.raises(ValueError, match="'/nowhere' is neither a folder nor a model name"):
        BiasReport.run("/nowhere", SEA)
    with pytest.raises(ValueError, match="nothing can be measured on a int"):
        BiasReport.run(3, SEA)


def test_a_folder_of_sentence_transformers_is_named_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ValueError, match="open it yourself and pass SentenceTransformer"):
        BiasReport.run(str(tmp_path), SEA)


def test_a_folder_with_a_masked_model_is_read_as_one(tmp_path: Path) -> None:
    from tests.evaluation.implicit_bias.test_language import masked_model

    model, words = masked_model([*SEA[0].x, *SEA[0].y, *SEA[0].a, *SEA[0].b, "works", "with", "the", "."])
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    folder = BiasReport.run(tmp_path, SEA, templates=["{term} works with the {attribute} ."])
    memory = BiasReport.run((model, words), SEA, templates=["{term} works with the {attribute} ."])
    for measure in ("probability gap", "seat"):
        assert folder[measure, "sea-sky"].value == pytest.approx(memory[measure, "sea-sky"].value, abs=1e-5)


def test_agreement_of_two_measures_over_contrasts() -> None:

    def pair(name: str, first: float, second: float) -> list[Bias]:
        return [
            Bias("iat", name, "association", "single value", first, 0.0),
            Bias("relative decision", name, "decision", "single value", second, 0.5),
        ]

    found = BiasReport.of([*pair("a", 0.2, 0.6), *pair("b", 0.4, 0.7), *pair("c", -0.1, 0.55)])
    told = found.agreement("iat", "relative decision")
    assert (told["contrasts"], told["same_sign"], told["rank_correlation"]) == (
        3,
        pytest.approx(2 / 3),
        pytest.approx(1),
    )
