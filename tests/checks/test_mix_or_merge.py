"""The check of mixing and merging can fail. Trainings are cut, and made once."""

from dataclasses import replace

import pytest

from tameshi.bench import run_check
from tameshi.checks import mix_or_merge
from tameshi.specimens.family import opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def short(cache, monkeypatch):
    full = mix_or_merge.tuned

    def tuned(seed, share, language=-1):
        made = full(seed, share, language)
        return replace(made, start=replace(made.start, steps=150), steps=40)

    monkeypatch.setattr("tameshi.doors.files.caches", lambda: cache)
    monkeypatch.setattr(mix_or_merge, "tuned", tuned)
    monkeypatch.setattr(mix_or_merge, "PREFERENCE_STEPS", 3)


def run(only):
    result = run_check("mix-or-merge", seeds=1, only=only)
    assert not [row.error for row in result.rows if row.error]
    return result


def test_merges_that_break_the_model_lose_to_the_mix(monkeypatch):
    def broken(method, models, base, choice, seed):
        return _zeroed(opened(mix_or_merge.tuned(seed, 0.0)))

    monkeypatch.setattr(mix_or_merge, "merged", broken)
    verdicts = run("objectives").verdicts
    assert verdicts["C1"].outcome == "fails"
    assert verdicts["C2"].outcome == "fails"
    assert verdicts["C7"].outcome in ("fails", "inconclusive")


def _zeroed(model):
    for parameter in model.parameters():
        parameter.data.zero_()
    return model


def test_one_merge_in_place_of_every_other_is_never_the_best(monkeypatch):
    honest = mix_or_merge.merged
    monkeypatch.setattr(mix_or_merge, "merged", lambda method, *rest: honest("linear", *rest[:2], {}, rest[3]))
    assert run("objectives").verdicts["C3"].outcome == "fails"


def test_languages_and_stages_run():
    assert {row.method for row in run("languages").rows} >= {"mix", "merge", "only <en>"}
    assert {row.method for row in run("stages").rows} == {"merge", "prefer, then merge", "merge, then prefer"}


def test_the_exam_has_as_many_harmful_as_general_prompts_about_other_entities_in_each_half():
    validation, test = mix_or_merge.exam(0)
    for half in (validation, test):
        assert len(half.prompts["general"]) == len(half.prompts["harmful"]) > 20
    entities = [{p.tokens[3] for kind in half.prompts.values() for p in kind} for half in (validation, test)]
    assert not entities[0] & entities[1]
