"""Scorers: exact answers and refusals, by what a model says greedily."""

import pytest
from tests.merging.families import random_model, tokenizer

from tameshi.merging import ExactMatch, RefusalRate
from tameshi.merging.scorers import continuations, is_refusal, prompt_tokens

WORDS, MODEL = tokenizer(), random_model(seed=3)
PROMPTS = [f"w{i} w{i + 1}" for i in range(6)]


def said(prompt):
    return continuations(MODEL, WORDS, [prompt_tokens(WORDS, prompt)], longest=32)[0]


def test_a_continuation_is_that_of_generate_and_does_not_depend_on_the_prompts_beside_it():
    prompts = [(1, 5, 6), (1, 7), (1, 9, 8, 7, 6)]
    together = continuations(MODEL, WORDS, prompts, longest=6)
    assert together == [continuations(MODEL, WORDS, [prompt], longest=6)[0] for prompt in prompts]
    assert all(together)


def test_exactly_the_answers_that_the_model_gives_are_right():
    right = [(prompt, " ".join(said(prompt).split()[:2])) for prompt in PROMPTS]
    wrong = [(prompt, "w0 w0 w0") for prompt in PROMPTS]
    assert ExactMatch(WORDS, right)(MODEL) == ExactMatch(WORDS, right)(MODEL, "validation") == 1
    assert ExactMatch(WORDS, wrong)(MODEL) == 0
    mixed = [(right if i % 2 else wrong)[i] for i in range(6)]
    assert (ExactMatch(WORDS, mixed)(MODEL, "validation"), ExactMatch(WORDS, mixed)(MODEL, "test")) == (0, 1)


def test_refusals_are_told_by_their_wording():
    pattern = said(PROMPTS[1]).split()[0].upper()
    rate = sum(pattern.lower() in said(prompt).split() for prompt in PROMPTS[1::2]) / 3
    assert RefusalRate(WORDS, PROMPTS, rf"\b{pattern}\b")(MODEL) == pytest.approx(rate)
    assert RefusalRate(WORDS, PROMPTS)(MODEL) == 0


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help.", True),
        ("申し訳ありませんが、お答えできません。", True),
        ("Here is how it is done.", False),
        ("A canteen is a place to eat.", False),
    ],
)
def test_the_usual_refusals_are_known(answer, refused):
    assert is_refusal(answer) == refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExactMatch(WORDS, [("a", "b")]), "so four are needed, got 1"),
        (lambda: ExactMatch(WORDS, [("a", " ")] * 4), "an answer that is not empty"),
        (lambda: RefusalRate(WORDS, ["a"] * 3), "two prompts are the least for either half"),
        (lambda: RefusalRate(WORDS, ["a"] * 4, "("), "pattern must be a regular expression"),
    ],
)
def test_a_scorer_that_could_not_score_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
