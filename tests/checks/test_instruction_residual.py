"""The check of the instruction residual can fail. Trainings are cut to a fifth, and made once."""

from dataclasses import replace

import pytest
from tests.merging.families import random_model, relative, save

from tameshi.bench import run_check
from tameshi.bench.judge import judge
from tameshi.checks import instruction_residual
from tameshi.specimens import continued_family
from tameshi.specimens.family import Tuning, opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def short(cache, monkeypatch):
    full, again = continued_family.continued, continued_family.retuned

    def continued(start, replay, seed, steps=400):
        return replace(full(start, replay, seed, steps), steps=steps // 5)

    def retuned(replay, seed):
        return replace(again(replay, seed), steps=80)

    monkeypatch.setattr("tameshi.doors.files.caches", lambda: cache)
    monkeypatch.setattr(continued_family, "continued", continued)
    monkeypatch.setattr(continued_family, "retuned", retuned)
    monkeypatch.setattr(instruction_residual, "MIXTURES", {"without": "new facts"})
    for name in ("INSTRUCT", "SIBLING"):
        monkeypatch.setattr(continued_family, name, replace(getattr(continued_family, name), steps=120))


def run(**options):
    result = run_check("instruction-residual", seeds=1, only="continuing", **options)
    assert not [row.error for row in result.rows if row.error]
    return result


def test_a_residual_that_is_not_added_restores_nothing(monkeypatch):
    honest = instruction_residual.with_method

    def broken(method, *rest):
        return honest("empty residual" if "residual" in method else method, *rest)

    monkeypatch.setattr(instruction_residual, "with_method", broken)
    result = run(scales=(1.0,))
    verdicts = result.verdicts
    assert verdicts["C3"].outcome == "fails"
    assert verdicts["C4"].outcome == "fails"
    (axes,) = instruction_residual.followed_against_learnt.function(result.rows).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == set(result.rows.methods)
    assert len(lines["instruct+cpt"].get_xdata()) == 3


def test_an_instruct_model_that_never_followed_loses_nothing(monkeypatch):
    monkeypatch.setattr(continued_family, "INSTRUCT", Tuning("none", "entities", "new facts", steps=1, rate=1e-6))
    assert run(scales=(1.0,)).verdicts["C1"].outcome == "fails"


def test_a_base_that_loses_everything_is_harmed_as_much(monkeypatch):
    honest = continued_family.world_family

    def broken(replay, seed):
        family = honest(replay, seed)
        return replace(family, grown=lambda steps: _zeroed(opened(family.grown(steps))))

    monkeypatch.setattr(continued_family, "world_family", broken)
    assert run(scales=(1.0,)).verdicts["C2"].outcome == "fails"


def _zeroed(model):
    for parameter in model.parameters():
        parameter.data.zero_()
    return model


def test_tuning_again_is_the_reference():
    result = run_check("instruction-residual", seeds=1, only="retuning")
    (row,) = result.rows
    assert row.error is None
    assert len(result.rows.numbers("followed")) == 240


def test_the_size_of_models_is_out_of_reach():
    assert judge(instruction_residual.RULES, [])["C5"].outcome == "out of reach here"


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_models_of_ones_own_are_judged(kind, tmp_path, models_in_memory):
    given = own(tmp_path, kind)
    questions = tmp_path / "q.jsonl"
    asked = [(task, f"w{i} w{i + 1}") for task in ("old", "new") for i in range(4)]
    questions.write_text("".join(f'{{"prompt": "{p}", "answer": "w3", "task": "{task}"}}\n' for task, p in asked))
    experts = {"cpt": given.pop("cpt"), "instruct-cpt": given.pop("instruct-cpt")}
    result = run(**given, expert=experts, questions=str(questions))
    assert 1 <= max(models_in_memory) <= 2  # what is scored, and what it was merged from
    best = result.rows.where(method="residual", part="best")
    assert len(best.numbers("followed")) == len(best.numbers("learnt")) == 2
    assert not result.rows.where(method="residual of a sibling")
    assert all(result.verdicts[claim].n for claim in ("C2", "C3"))


def test_models_of_ones_own_are_trained_on_the_text_and_asked_about_form(tmp_path, monkeypatch):
    monkeypatch.setattr(continued_family, "STEPS", 4)
    given = own(tmp_path, "llama")
    del given["cpt"], given["instruct-cpt"]
    result = run(**given, cpt_rate=1e-2, scales=(1.0,))
    assert result.rows.where(method="instruct+cpt").levels("steps") == [1, 2, 4]
    loss = {
        m: result.rows.where(method=m, metric="loss on your text").mean("loss on your text")
        for m in ("base", "base+cpt")
    }
    assert loss["base+cpt"] < loss["base"]
    best = result.rows.where(method="residual", part="best")
    assert len(best.numbers("followed")) == 20
    assert 0 <= best.mean("learnt") <= 1


@pytest.mark.parametrize(("pieces", "needed"), [(1, 4), (3, 4)])
def test_a_text_too_short_to_be_halved_is_refused_before_anything_is_measured(pieces, needed, tmp_path):
    given = own(tmp_path, "llama")
    del given["cpt"], given["instruct-cpt"]
    (tmp_path / "t.txt").write_text("\n\n\n".join(["w1 w2 w3"] * pieces))
    with pytest.raises(ValueError, match=rf"t\.txt has {pieces} pieces of two or more tokens; .* {needed} are needed"):
        run_check("instruction-residual", seeds=1, **given)


def own(place, kind):
    """Folders of a tiny random family and a text."""
    base = random_model(kind)
    models = {"base": base, "instruct": relative(base, 1), "cpt": relative(base, 2), "instruct-cpt": relative(base, 3)}
    folders = {name: str(save(model, place / name, words=40)) for name, model in models.items()}
    text = place / "t.txt"
    text.write_text("\n\n\n".join(f"w{i} w{i + 1} w{i + 2}" for i in range(20)))
    return {**folders, "text": str(text)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "need --base, --instruct and --text together"),
        (
            {"expert": {"math": "."}},
            "--expert takes cpt=DIR, and instruct-cpt=DIR and cpt-tuned=DIR beside it, got math",
        ),
        ({"cpt_rate": 0.0}, "--cpt-rate must be more than 0, got 0"),
    ],
)
def test_half_of_what_is_needed_is_refused(change, message, tmp_path):
    given = own(tmp_path, "llama")
    experts = {"cpt": given.pop("cpt"), "instruct-cpt": given.pop("instruct-cpt")}
    if "expert" in change:
        change = {"expert": {"math": experts["cpt"]}}
    asked = {**given, **change}
    with pytest.raises(ValueError, match=message):
        run_check("instruction-residual", seeds=1, **{name: v for name, v in asked.items() if v is not None})
