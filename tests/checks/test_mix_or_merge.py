"""The check of mixing and merging can fail. Trainings are cut, and made once."""

from dataclasses import replace

import pytest
from tests.merging.families import random_model, relative, save

from tameshi.bench import run_check
from tameshi.checks import mix_or_merge
from tameshi.evaluation.provider import rule_model
from tameshi.nouns import Missing
from tameshi.specimens import guarded_family
from tameshi.specimens.endpoint import Endpoint
from tameshi.specimens.family import opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def short(cache, monkeypatch):
    full = guarded_family.tuned

    def tuned(seed, share, language=-1):
        made = full(seed, share, language)
        return replace(made, start=replace(made.start, steps=150), steps=40)

    monkeypatch.setattr("tameshi.doors.files.caches", lambda: cache)
    monkeypatch.setattr(guarded_family, "tuned", tuned)
    monkeypatch.setattr(guarded_family, "PREFERENCE_STEPS", 3)


def run(only):
    result = run_check("mix-or-merge", seeds=1, only=only)
    assert not [row.error for row in result.rows if row.error]
    return result


def test_merges_that_break_the_model_lose_to_the_mix(monkeypatch):
    def broken(method, models, base, choice, seed):
        return _zeroed(opened(guarded_family.tuned(seed, 0.0)))

    monkeypatch.setattr(mix_or_merge, "merged", broken)
    verdicts = run("objectives").verdicts
    assert verdicts["C1"].outcome == "fails"
    assert verdicts["C2"].outcome == "fails"
    assert verdicts["C7"].outcome == "fails"


def _zeroed(model):
    for parameter in model.parameters():
        parameter.data.zero_()
    return model


def test_one_merge_in_place_of_every_other_is_never_the_best(monkeypatch):
    honest = mix_or_merge.merged
    monkeypatch.setattr(mix_or_merge, "merged", lambda method, *rest: honest("linear", *rest[:2], {}, rest[3]))
    assert run("objectives").verdicts["C3"].outcome == "fails"


def test_merges_of_zeros_lose_to_the_mix_of_languages(monkeypatch):
    monkeypatch.setattr(mix_or_merge, "merged", lambda *a: _zeroed(opened(guarded_family.tuned(a[-1], 0.0))))
    result = run("languages")
    assert {row.method for row in result.rows} >= {"mix", "merge", "only <en>"}
    assert result.verdicts["C4"].outcome == "fails"
    shown = {line.get_label() for line in mix_or_merge.by_language.function(result.rows).axes[0].lines}
    assert {"mix", "only <en>", "linear", "ties", "merge"} <= shown
    assert mix_or_merge.pareto.function(result.rows) is None


def test_preference_tuning_that_ruins_the_model_helps_nobody(monkeypatch):
    monkeypatch.setattr(guarded_family, "prefer", lambda model, *a, **k: _zeroed(model))
    verdicts = run("stages").verdicts
    assert verdicts["C5"].outcome == "fails"
    assert verdicts["C6"].outcome == "fails"


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_models_of_ones_own_are_mixed_merged_and_judged(kind, tmp_path, models_in_memory):
    names = ("general", "safe", "mix", "general-preferred", "safe-preferred", "merge-preferred", "en", "fr")
    result = run_check("mix-or-merge", seeds=1, **own(tmp_path, names, kind))
    assert not [row.error for row in result.rows if row.error]
    assert 1 <= max(models_in_memory) <= 2  # what is scored, and what it was merged from
    merged = result.rows.where(check="objectives", method="merge", part="best")
    assert len(merged.numbers("general")) == len(merged.numbers("refused")) == 2
    assert len(merged.numbers("balance")) == 4
    assert len(merged.numbers("loss on your text")) == 1
    assert {row.method for row in result.rows.where(check="languages")} >= {"mix", "merge", "only en", "only fr"}
    assert len(result.rows.where(check="stages").methods) == 3
    assert all(verdict.n for verdict in result.verdicts.values())


def test_a_text_too_short_to_be_halved_is_refused_before_anything_is_measured(tmp_path):
    given = own(tmp_path, ("general", "safe"))
    (tmp_path / "t.txt").write_text("w1 w2 w3")
    with pytest.raises(ValueError, match=r"t\.txt has 1 pieces of two or more tokens"):
        run_check("mix-or-merge", seeds=1, **given)


def test_a_judge_may_tell_refusals_and_what_it_mumbles_is_missing():
    def rule(messages, rng):
        answer = str(messages[-1])
        verdict = "REFUSED" if "never" in answer else "ANSWERED" if "gladly" in answer else "perhaps"
        return f"<reason>r</reason>\nAnswer: {verdict}"

    judge = Endpoint.open("specimen:always-yes")
    judge.__dict__["model"] = rule_model(rule)
    found = guarded_family.by_judge(judge, ["a", "b", "c"], ["never", "gladly", "hm"])
    assert found[:2] == [1.0, 0.0]
    assert isinstance(found[2], Missing)


def own(place, experts, kind="llama"):
    """Folders of tiny random relatives, questions, requests, a text."""
    base = random_model(kind)
    folder = {n: str(save(relative(base, i), place / n, words=40)) for i, n in enumerate(experts, 1)}
    questions, harmful, text = place / "q.jsonl", place / "h.jsonl", place / "t.txt"
    questions.write_text("".join(f'{{"prompt": "w{i} w{i + 1}", "answer": "w3"}}\n' for i in range(6)))
    harmful.write_text("".join(f'{{"prompt": "w{i} w9"}}\n' for i in range(4)))
    text.write_text("w1 w2 w3\n\n\nw4 w5 w6")
    files = {"questions": str(questions), "harmful": str(harmful), "text": str(text)}
    return {"base": str(save(base, place / "base", words=40)), "expert": folder, **files}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"harmful": None}, "need --base, --expert NAME=DIR, --questions and --harmful together"),
        ({"base": None}, "need --base, --expert"),
        ({"refusal": "("}, "--refusal takes a regular expression"),
    ],
)
def test_half_of_what_is_needed_is_refused(change, message, tmp_path):
    given = {**own(tmp_path, ("general", "safe")), **change}
    with pytest.raises(ValueError, match=message):
        run_check("mix-or-merge", seeds=1, **{name: value for name, value in given.items() if value is not None})


def test_one_language_is_nothing_to_merge(tmp_path):
    with pytest.raises(ValueError, match="needs general=DIR and safe=DIR to merge objectives, or two or more"):
        run_check("mix-or-merge", seeds=1, **own(tmp_path, ("en",)))


def test_the_exam_has_as_many_harmful_as_general_prompts_about_other_entities_in_each_half():
    validation, test = guarded_family.world_exam(0)
    for half in (validation, test):
        assert len(half.prompts["general"]) == len(half.prompts["harmful"]) > 20
    entities = [{p.tokens[3] for kind in half.prompts.values() for p in kind} for half in (validation, test)]
    assert not entities[0] & entities[1]
