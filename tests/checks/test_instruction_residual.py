"""The check of the instruction residual can fail. Trainings are cut to a fifth, and made once."""

from dataclasses import replace

import pytest

from tameshi.bench import run_check
from tameshi.bench.judge import judge
from tameshi.checks import instruction_residual
from tameshi.specimens import family
from tameshi.specimens.family import Tuning, opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def short(cache, monkeypatch):
    full = instruction_residual.continued

    def continued(start, replay, seed, steps=400):
        return replace(full(start, replay, seed, steps), steps=steps // 5)

    monkeypatch.setattr("tameshi.doors.files.caches", lambda: cache)
    monkeypatch.setattr(instruction_residual, "continued", continued)
    monkeypatch.setattr(instruction_residual, "MIXTURES", {"without": "new facts"})
    for name in ("INSTRUCT", "SIBLING"):
        monkeypatch.setattr(instruction_residual, name, replace(getattr(instruction_residual, name), steps=120))


def run(**options):
    result = run_check("instruction-residual", seeds=1, only="continuing", **options)
    assert not [row.error for row in result.rows if row.error]
    return result


def test_a_residual_that_is_not_added_restores_nothing(monkeypatch):
    honest = instruction_residual.with_method

    def broken(method, replay, scale, seed):
        return honest("empty residual" if "residual" in method else method, replay, scale, seed)

    monkeypatch.setattr(instruction_residual, "with_method", broken)
    result = run(scales=(1.0,))
    verdicts = result.verdicts
    assert verdicts["C3"].outcome == "fails"
    assert verdicts["C4"].outcome in ("fails", "inconclusive")
    monkeypatch.setattr(instruction_residual, "MIXTURES", {"without": "", "with": ""})
    assert len(instruction_residual.followed_against_learnt.function(result.rows).axes) == 2


def test_an_instruct_model_that_never_followed_loses_nothing(monkeypatch):
    monkeypatch.setattr(instruction_residual, "INSTRUCT", Tuning("none", "entities", "new facts", steps=1, rate=1e-6))
    assert run(scales=(1.0,)).verdicts["C1"].outcome == "fails"


def test_the_size_of_models_is_out_of_reach():
    assert judge(instruction_residual.RULES, [])["C5"].outcome == "out of reach here"


def test_a_random_residual_is_as_long_as_the_residual():
    base, instruct = opened("entities"), opened(instruction_residual.INSTRUCT)
    stepped = instruction_residual.random_residual(base, instruct, 0)
    for name, tensor in base.state_dict().items():
        length = float((instruct.state_dict()[name] - tensor).norm())
        assert float((stepped[name] - tensor).norm()) == pytest.approx(length, rel=1e-3, abs=1e-6)


def test_models_of_ones_own_are_judged(tmp_path):
    questions, text = tmp_path / "q.jsonl", tmp_path / "t.txt"
    questions.write_text("".join(f'{{"prompt": "plain entity{i} attribute0", "answer": "value1"}}\n' for i in range(8)))
    text.write_text("entity1 attribute1 value1 .\n\n\nentity2 attribute1 value2 .")
    result = run_check(
        "instruction-residual",
        only="continuing",
        seeds=1,
        base=str(family.SHIPPED / "entities"),
        instruct=str(instruction_residual.INSTRUCT.folder()),
        expert={"cpt": str(instruction_residual.continued("entities", "without", 0).folder())},
        text=str(text),
        questions=str(questions),
    )
    assert not [row.error for row in result.rows if row.error]
    assert len(result.rows.where(method="residual", part="best").numbers("followed")) == 4
