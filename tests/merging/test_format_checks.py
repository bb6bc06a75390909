"""Instructions about the form of an answer: each has an answer that follows it and one that does not."""

import pytest
from tests.merging.families import random_model, tokenizer

from tameshi.specimens.exam import formats_followed
from tameshi.specimens.format_checks import CHECKS, SUBJECTS

ANSWERS = {
    "json": ('{"a": 1}', "[1]"),
    "json keys": ('{"title": "a", "text": "b"}', '{"title": "a"}'),
    "json list": ('["a", "b", "c"]', '["a", "b", 3]'),
    "three bullets": ("- a\n- b\n- c", "- a\n- b"),
    "four numbers": ("1. a\n2. b\n3. c\n4. d", "1. a\n2. b\n2. c\n4. d"),
    "upper case": ("RAIN FELL.", "RAIN fell."),
    "lower case": ("rain fell.", "Rain fell."),
    "no commas": ("Rain fell.", "Rain, again."),
    "one sentence": ("Rain fell.", "Rain fell. It stopped."),
    "two sentences": ("Rain fell. It stopped.", "Rain fell."),
    "at most ten words": ("Rain fell on the boats.", "a b c d e f g h i j k"),
    "at least forty words": ("rain " * 40, "rain " * 39),
    "two paragraphs": ("Rain.\n\nSun.", "Rain.\nSun."),
    "keyword twice": ("Slowly, slowly it fell.", "Slowly it fell."),
    "both keywords": ("The window in the morning.", "The windows in the morning."),
    "forbidden word": ("Rain fell.", "The rain fell."),
    "quotation marks": ('"Rain fell."', 'He said "rain".'),
    "title": ("<<Rain>>\nIt fell.", "Rain\nIt fell."),
    "ending": ("Rain. That is all.", "That is all. Rain."),
    "question": ("Is it raining?", "It rains."),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_an_instruction_is_followed_by_one_answer_and_not_by_the_other(check):
    followed, missed = ANSWERS[check.name]
    assert check.followed(followed)
    assert not check.followed(missed)
    assert not check.followed("")


def test_there_are_twenty_of_them_about_two_subjects():
    assert len(CHECKS) == len({check.name for check in CHECKS}) == 20
    assert all(len(check.prompts()) == len(SUBJECTS) == 2 for check in CHECKS)


def test_a_model_of_random_words_follows_few_instructions():
    found = formats_followed(random_model(), tokenizer(), 0)
    assert found.ids == tuple(check.name for check in CHECKS)
    assert sum(found.values) < 12
