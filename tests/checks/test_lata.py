"""The check of LATA can fail: with a broken method its claims read so. Fine-tunings are made once."""

import pytest
from tests.merging.families import random_model, relative, save

from tameshi.bench import run_check
from tameshi.checks import lata
from tameshi.merging import merge
from tameshi.specimens import skilled_family
from tameshi.specimens.causal_lm import SHIPPED, CausalLM
from tameshi.specimens.family import opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def shared(cache, monkeypatch):
    monkeypatch.setattr("tameshi.doors.files.caches", lambda: cache)


def run(only, **options):
    return run_check("lata", seeds=1, only=only, **options)


def test_merges_of_zeros_lose_on_accuracy_and_on_perplexity(monkeypatch):
    for name in ("lata", *lata.CONTROLS):  # of the loss, controls that stay near the base have less than any merge
        honest = lata.METHODS[name]
        monkeypatch.setitem(lata.METHODS, name, lambda *a, honest=honest: _zeroed(honest(*a)))
    result = run("merges", scales=(0.5,))
    assert not [row.error for row in result.rows if row.error]
    assert result.verdicts["C1"].outcome == "fails"
    assert result.verdicts["C2"].outcome == "fails"
    shown = {text.get_text() for text in lata.curves.function(result.rows).axes[0].texts}
    assert shown == {"base", "instruct", "math", "code", "mix"}


def _zeroed(model):
    for parameter in model.parameters():
        parameter.data.zero_()
    return model


def test_a_method_that_forgets_everything_keeps_nothing(monkeypatch):
    class Broken(lata.LATA):
        def forget(self, target, pre, inst, expert, scale=1.0):
            return merge({"e": expert}, method="transplant", base=pre, target=target, weights=-3.0)

    monkeypatch.setattr(lata, "LATA", Broken)
    result = run("forgetting", scales=(0.5,))
    verdict = result.verdicts["C3"]
    assert verdict.outcome == "fails"
    assert [part.outcome for part in verdict.parts[:2]] == ["holds", "fails"]
    assert lata.left_over.function(result.rows) is not None


def test_cosines_that_rise_with_depth_are_not_read_as_falling(monkeypatch):
    class Turned(lata.LATA):
        def similarity(self, pre, inst, expert):
            found = super().similarity(pre, inst, expert)
            rising = {n: float(n.split(".")[2]) / 10 for n in found if ".layers." in n}
            return {n: rising.get(n, v) for n, v in found.items()}

    monkeypatch.setattr(lata, "LATA", Turned)
    assert run("similarity").verdicts["C4"].outcome == "fails"


def test_the_same_seed_gives_the_same_rows():
    one, two = (run("similarity") for _ in range(2))
    assert [r.values for r in one.rows] == [r.values for r in two.rows]


def test_every_figure_draws(tmp_path):
    result = run("similarity")
    assert lata.by_depth.function(result.rows) is not None
    assert lata.curves.function(result.rows) is None


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_models_of_ones_own_are_merged_forgotten_and_judged(kind, tmp_path, models_in_memory):
    given = own(tmp_path, kind)
    result = run_check("lata", seeds=1, scales=(0.5, 1.0), **given)
    assert 2 <= max(models_in_memory) <= 3  # the base, what forgets or is the anchor, the merge: not the family
    assert not [row.error for row in result.rows if row.error]
    assert len(result.rows.where(check="merges", method="lata", part="best").numbers("accuracy")) == 4
    assert {row.conditions.get("expert") for row in result.rows.where(check="forgetting")} == {"math"}
    for method in lata.TAKING:
        best = result.rows.where(check="forgetting", method=method, part="best")
        assert len(best.numbers("remembered")) == len(best.numbers("kept")) == 2
    assert all(verdict.outcome != "out of reach here" for verdict in result.verdicts.values())


def test_without_a_task_by_an_experts_name_nothing_can_be_forgotten(tmp_path):
    given = own(tmp_path, "llama")
    given["expert"] = {"code": given["expert"]["code"]}
    (row,) = run_check("lata", seeds=1, only="forgetting", **given).rows
    assert "no expert has the name of a task" in row.values["remembered"].reason


def own(place, kind):
    """Folders of a tiny random family, questions on two tasks, a text."""
    base = random_model(kind)
    models = {"base": base, "instruct": relative(base, 1), "math": relative(base, 2), "code": relative(base, 3)}
    folders = {name: str(save(model, place / name, words=40)) for name, model in models.items()}
    questions, text = place / "q.jsonl", place / "t.txt"
    asked = [(task, f"w{i} w{i + 1}") for task in ("math", "other") for i in range(4)]
    questions.write_text("".join(f'{{"prompt": "{p}", "answer": "w3", "task": "{task}"}}\n' for task, p in asked))
    text.write_text("w1 w2 w3\n\n\nw4 w5 w6")
    experts = {"math": folders["math"], "code": folders["code"]}
    return {
        **{name: folders[name] for name in ("base", "instruct")},
        "expert": experts,
        "questions": str(questions),
        "text": str(text),
    }


def test_the_users_base_alone_is_refused():
    with pytest.raises(ValueError, match="needs --instruct, --expert NAME=DIR, --text and --questions"):
        skilled_family.family_of(CausalLM.open(str(SHIPPED / "entities")), None, None, None, None, None, 0)


def test_a_text_too_short_to_be_halved_is_refused_before_anything_is_measured(tmp_path):
    given = own(tmp_path, "llama")
    (tmp_path / "t.txt").write_text("w1 w2 w3")
    with pytest.raises(ValueError, match=r"t\.txt has 1 pieces of two or more tokens"):
        run_check("lata", seeds=1, **given)


def test_models_without_a_base_of_ones_own_are_refused(tmp_path):
    given = own(tmp_path, "llama")
    del given["base"]
    with pytest.raises(ValueError, match="give --base, too"):
        run_check("lata", seeds=1, **given)


def test_a_control_deals_the_same_weights_in_another_order():
    fam = skilled_family.world_family(0)
    found = lata.LATA().similarity(fam.start, fam.guide, fam.expert("code"))
    honest = lata.LATA().weights(found)
    for name in ("shuffled-layers", "reversed-layers"):
        weight = lata.dealt(name, fam, "code", 1.0, 0)
        given = {layer: weight(f"{layer}.weight") for layer in found}
        assert sorted(given.values()) == pytest.approx(sorted(honest.values()))
        assert given != honest


def test_identical_models_are_the_base_and_what_instruction_tuning_changed():
    fam = skilled_family.world_family(0)
    made, instruct = lata.by_equal_models(fam, 0.5, 0).state_dict(), opened(fam.instruct).state_dict()
    for name, tensor in fam.start.state_dict().items():
        step, change = made[name] - tensor, instruct[name] - tensor
        cosine = (step * change).sum() / (step.norm() * change.norm())
        assert float(step.norm()) == 0 or float(cosine) == pytest.approx(1, abs=1e-3)
