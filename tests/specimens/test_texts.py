from __future__ import annotations

import json
from pathlib import Path

import pytest

from tameshi.specimens.texts import Texts

RECORDS = [{"instruction": "Say one.", "output": "one"}, {"text": "two", "output": "no"}, {"conversation": "three"}]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json"])
def test_records_give_their_text_or_their_answer(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"answers.{suffix}"
    file.write_text("\n".join(map(json.dumps, RECORDS)) + "\n\n")
    assert Texts.open(str(file)).texts == ("one", "two", "three")


def test_a_list_of_records_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(RECORDS, indent=1))
    assert Texts.open(str(file)).texts == ("one", "two", "three")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"text": "a"}\n{"question": "b"}', 'line 2, has no field "text" \\(or output, response, conversation\\)'),
        ('{"text": 1}', 'line 1, has no field "text"'),
        ("[1]", 'line 1, has no field "text"'),
        ("{", "line 1, is not JSON"),
        ("[" * 100_000, "line 1, is not JSON"),
        ("", "holds no text"),
    ],
)
def test_records_without_a_text_are_refused_by_line(written: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    file.write_text(written)
    with pytest.raises(ValueError, match=message):
        Texts.open(str(file))


def test_a_text_file_is_parted_by_doubled_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("one\n\nstill one\n\n\ntwo\n\n\n\n")
    assert [text.strip() for text in Texts.open(str(file)).texts] == ["one\n\nstill one", "two"]
