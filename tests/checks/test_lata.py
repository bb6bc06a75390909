"""The check of LATA can fail: with a broken method its claims read so. Fine-tunings are shortened, and made once."""

import pytest
import torch

from tameshi.bench import run_check
from tameshi.checks import lata
from tameshi.merging import merge
from tameshi.specimens import family


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def shared(cache, monkeypatch):
    monkeypatch.setattr("tameshi.doors.files.caches", lambda: cache)
    lata.world_family.cache_clear()


def run(only, **options):
    return run_check("lata", seeds=1, only=only, **options)


def test_a_method_that_adds_nothing_loses_on_accuracy(monkeypatch):
    monkeypatch.setitem(lata.METHODS, "lata", lambda fam, scale, seed: fam.base)
    result = run("merges", scales=(0.5, 0.8))
    assert not [row.error for row in result.rows if row.error]
    assert result.verdicts["C1"].outcome == "fails"


def test_a_method_that_forgets_everything_keeps_nothing(monkeypatch):
    class Broken(lata.LATA):
        def forget(self, target, pre, inst, expert, scale=1.0):
            return merge({"e": expert}, method="transplant", base=pre, target=target, weights=-3.0)

    monkeypatch.setattr(lata, "LATA", Broken)
    parts = run("forgetting", scales=(0.5,)).verdicts["C3"].parts
    assert [part.outcome for part in parts[:2]] == ["holds", "fails"]


def test_cosines_that_rise_with_depth_are_not_read_as_falling(monkeypatch):
    class Turned(lata.LATA):
        def similarity(self, pre, inst, expert):
            found = super().similarity(pre, inst, expert)
            rising = {n: float(n.split(".")[2]) / 10 for n in found if ".layers." in n}
            return {n: rising.get(n, v) for n, v in found.items()}

    monkeypatch.setattr(lata, "LATA", Turned)
    assert run("similarity").verdicts["C4"].outcome in ("fails", "inconclusive")


def test_the_same_seed_gives_the_same_rows():
    one, two = (run("similarity") for _ in range(2))
    assert [r.values for r in one.rows] == [r.values for r in two.rows]


def test_every_figure_draws(tmp_path):
    result = run("similarity")
    assert lata.by_depth.function(result.rows) is not None
    assert lata.curves.function(result.rows) is None


def test_models_of_ones_own_are_merged_and_judged(tmp_path):
    questions = tmp_path / "q.jsonl"
    questions.write_text(
        "".join(f'{{"prompt": "plain entity{i} attribute0", "answer": "value1 <end>"}}\n' for i in range(8))
    )
    text = tmp_path / "t.txt"
    text.write_text("entity1 attribute1 value1 .\n\n\nentity2 attribute1 value2 .\n\n\nfiller1 filler2 filler3")
    folders = {n: str(t.folder()) for n, t in tunings().items()}
    result = run_check(
        "lata",
        seeds=1,
        only="merges",
        base=str(family.SHIPPED / "entities-skilled"),
        instruct=folders["inst"],
        expert={"math": folders["math"], "code": folders["code"]},
        text=str(text),
        questions=str(questions),
        scales=(0.5,),
    )
    assert not [row.error for row in result.rows if row.error]
    assert len(result.rows.where(method="lata", part="best").numbers("accuracy")) == 4


def tunings():
    def tuned(name, mixture):
        return family.Tuning(name, "entities-skilled", mixture, steps=300, rate=4e-4, batch=48, seed=0)

    return {
        "inst": tuned("inst", "questions"),
        "math": tuned("math", "questions, sums"),
        "code": tuned("code", "questions, sorts"),
    }


def test_the_users_base_alone_is_refused():
    with pytest.raises(ValueError, match="needs --instruct, --expert NAME=DIR, --text and --questions"):
        lata.family_of(_open(family.SHIPPED / "entities"), None, None, None, None, None, 0)


def _open(folder):
    from tameshi.specimens.causal_lm import CausalLM

    return CausalLM.open(str(folder))


def test_random_layers_are_the_same_weights_in_another_order():
    fam = lata.world_family(0)
    one, two = (lata.by_random_layers(fam, 1.0, seed) for seed in (0, 1))
    assert not torch.equal(one.state_dict()["lm_head.weight"], two.state_dict()["lm_head.weight"])
