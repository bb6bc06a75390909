"""The check of the matrix nuclear norm, the proof that each of its parts can fail, and the report on a user's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluation.tiny import save_tiny_chat

from tameshi.bench import Result, run_check
from tameshi.bench.shelf import stand
from tameshi.bench.store import Store
from tameshi.checks import matrix_nuclear_norm as check
from tameshi.evaluation.matrix_nuclear_norm import matrix_nuclear_norm, null_score, reading
from tameshi.specimens import width_family
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.texts import Texts


def run(tmp_path: Path, **options: Any) -> Result:
    with Store(tmp_path / "runs.sqlite") as store:
        result = run_check("matrix-nuclear-norm", store=store, fresh=True, **options)
    assert not result.errors, result.errors
    return result


def outcomes(result: Result) -> dict[str, str]:
    return {claim: verdict.outcome for claim, verdict in result.verdicts.items()}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that trains in a second."""
    width_family.trained.cache_clear()
    monkeypatch.setattr(width_family, "WIDTHS", (32, 64, 96))
    monkeypatch.setattr(width_family, "STEPS", 5)
    yield
    width_family.trained.cache_clear()


def test_the_score_is_no_approximation_once_the_features_are_rotated(tmp_path: Path) -> None:
    result = run(tmp_path, only="approximation")
    assert outcomes(result)["C4"] == "fails"
    rows = result.rows.where(method="mnn")
    assert rows.where(matrix="rank 4").mean("relative_error") < 0.01
    assert rows.where(matrix="rank 4, rotated").mean("relative_error") > 5


def test_the_verdict_would_turn_for_the_exact_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.mnn, "matrix_nuclear_norm", lambda hidden: check.mnn.nuclear_norm(hidden) * 1.001)
    assert outcomes(run(tmp_path, only="approximation"))["C4"] == "holds"


def test_the_verdicts_on_cost_turn_when_the_score_takes_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(name: str, tokens: int, width: int, seed: int) -> dict[str, float]:
        cubic = name == "official entropy" or sabotaged
        return {
            "cpu_seconds": (1e-9 if cubic else 1e-7) * float(width) ** (3 + 0.02 * seed if cubic else 2 + 0.01 * seed)
        }

    monkeypatch.setattr(check, "_seconds", slow)
    monkeypatch.setattr(check, "_seconds_with_forward", lambda name, seed: {"cpu_seconds": 1.0})
    sabotaged = False
    found = outcomes(run(tmp_path, only="cost"))
    assert (found["C1"], found["C2"]) == ("holds", "holds")
    sabotaged = True
    found = outcomes(run(tmp_path, only="cost"))
    assert (found["C1"], found["C2"]) == ("fails", "fails")


def test_seconds_are_measured_and_the_sum_is_cheaper_than_the_large_spectrum() -> None:
    fast, slow = (check._seconds(name, 64, 512, 0)["cpu_seconds"] for name in ("mnn", "official entropy"))
    assert 0 < 8 * fast < slow


@pytest.mark.usefixtures("small")
def test_a_family_gives_a_verdict_to_every_claim_about_models(tmp_path: Path) -> None:
    result = run(tmp_path, only="family", seeds=2, texts=12)
    found = outcomes(result)
    assert set(found.values()) <= {"holds", "fails", "inconclusive", "blind"}
    sized = result.rows.where(part="sizes", size=96)
    assert sized.where(method="null").mean("score") == pytest.approx(null_score(64, 96))
    assert sized.where(method="rotated").mean("nuclear") == pytest.approx(sized.where(method="mnn").mean("nuclear"))
    drawn = [made.function(result.rows) for made in stand("matrix-nuclear-norm").figures]
    assert drawn[0] is None
    assert drawn[1] is not None


@pytest.mark.usefixtures("small")
def test_the_verdicts_on_the_family_turn_when_the_score_is_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noise(hidden: torch.Tensor, *, per_token: bool = True) -> torch.Tensor:
        drawn = torch.Generator().manual_seed(int(hidden.double().abs().sum() * 1e6) % 2**31)
        return torch.rand((), generator=drawn) * hidden.shape[-1]  # and it grows with the model

    monkeypatch.setattr(reading, "matrix_nuclear_norm", noise)
    monkeypatch.setattr(width_family, "WIDTHS", (32, 64))
    found = outcomes(run(tmp_path, only="family", seeds=3, texts=10))
    assert found["C3"] == "fails"
    assert found["C6"] == "fails"
    assert found["C5"] != "holds"


@pytest.mark.usefixtures("small")
def test_the_same_seed_measures_the_same_rows(tmp_path: Path) -> None:
    def values() -> list[Any]:
        width_family.trained.cache_clear()
        return [(row.key, row.values) for row in run(tmp_path, only="family", seeds=1, texts=6).rows]

    assert values() == values()


@pytest.mark.parametrize(
    ("only", "options", "message"),
    [
        ("approximation", {"draws": 0}, "draws must be at least 1, got 0"),
        ("family", {"texts": 0}, "texts must be at least 1, got 0"),
        ("family", {"max_length": 1}, "max_length must be at least 2, got 1"),
        ("family", {"text": Texts.of("mine", ["one two"])}, "--text goes with a --model"),
    ],
)
def test_options_that_would_measure_nothing_are_refused(
    tmp_path: Path, only: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, only=only, **options)


def test_models_of_the_users_own_are_read_in_place_of_ours(tmp_path: Path, tiny: Path) -> None:
    subject = CausalLM.open(str(tiny))
    text = Texts.of("mine", ["one two three", "four five six seven", "eight nine"])
    result = run(tmp_path, only="family", seeds=1, model=(subject, subject), text=text, texts=3)
    ids = torch.tensor([subject.tokenizer("one two three")["input_ids"]])
    with torch.no_grad():
        hidden = subject.model.model(ids).last_hidden_state[0]
    score = float(matrix_nuclear_norm(hidden, per_token=True))
    assert score in [pytest.approx(v) for v in result.rows.where(method="mnn", part="sizes").numbers("score")]


def test_the_report_on_a_users_model_names_it_and_its_controls(tiny: Path) -> None:
    (application,) = stand("matrix-nuclear-norm").applications
    told = application.function(model=(CausalLM.open(str(tiny)),), texts=Texts.of("mine", ["one two", "three four"]))
    for word in (str(tiny), "mnn", "untrained", "rotated", "null", "Diff-eRank"):
        assert word in told


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat(tmp_path_factory.mktemp("tiny"))
