from __future__ import annotations

import json

import pytest

from tameshi.doors.screen import plain, plain_json


def test_ordinary_text_in_any_script_stays_as_it_is():
    assert plain("Q-Filters 試し, λ ≤ 0.65 – «ok»") == "Q-Filters 試し, λ ≤ 0.65 – «ok»"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b31m", "\\u009b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud800", "\\ud800"),
        ("bell\x07", "bell\\u0007"),
        ("two\nlines\r\n", "two lines  "),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\ue0041"),
    ],
)
def test_what_is_active_or_invisible_is_spelt_out(hostile, shown):
    assert plain(hostile) == shown


def test_a_megabyte_is_cut_and_says_how_long_it_was():
    assert plain("x" * 1_000_000).endswith("… (1,000,000 characters)")
    assert len(plain("x" * 1_000_000)) < 2_100


def test_json_for_a_terminal_is_the_same_value_with_nothing_active_in_it():
    value = {"name": "\x9b31m \u202eabc\u200b 試し \U000e0041", "lines": ["a\nb"]}
    shown = plain_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(shown) == value
    assert "試し" in shown
    assert not any(character in shown for character in "\x9b\u202e\u200b\U000e0041")
