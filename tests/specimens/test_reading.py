from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tameshi.specimens import haystack
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.reading import Reading
from tameshi.specimens.texts import Texts


class Letters:
    """A tokenizer of single characters, and of numbers as one token where they follow a space."""

    bos_token_id = 1

    def __call__(self, text: str, **_: object) -> object:
        import re

        pieces = re.findall(r" \d+|.|\n", text)
        return type("Encoded", (), {"input_ids": [hash_of(piece) for piece in pieces]})


def hash_of(piece: str) -> int:
    return ord(piece) if len(piece) == 1 else 100_000 + int(piece)


def test_a_needle_stands_where_it_should_and_its_answer_follows_the_question() -> None:
    pool = haystack.pool(Letters(), ["lorem ipsum " * 100])
    for needle in haystack.needles(Letters(), pool, 5, 400, depth=0.5, seed=0):
        assert needle.passage.shape == (400,)
        assert needle.passage[0] == 1
        text = "".join(chr(t) if t < 100_000 else f" {t - 100_000}" for t in needle.passage)
        assert text.index("\nThe access code for ") == 200
        code = int(needle.answer[0]) - 100_000
        assert needle.answer.shape == (1,)
        asked = "".join(map(chr, needle.question))
        assert f"{asked} {code}.\n" in text


def test_passages_come_from_one_seed_and_need_enough_text() -> None:
    pool = np.arange(1000)
    drawn = haystack.passages(pool, 4, 100, seed=3)
    assert (np.diff(drawn) == 1).all()
    assert np.array_equal(drawn, haystack.passages(pool, 4, 100, seed=3))
    with pytest.raises(ValueError, match="passages of 600 tokens need a text of at least 1,200, got 1,000"):
        haystack.passages(pool, 4, 600, seed=3)


def test_calibration_and_measurement_share_no_text(tiny_llama: Callable[..., Path]) -> None:
    model = CausalLM.open(str(tiny_llama()))
    texts = Texts.of(
        "mine", [" ".join(f"w{i % 5 + 3}" for i in range(400)), " ".join(f"w{i % 2 + 8}" for i in range(600))]
    )
    reading = Reading(model, texts, seed=0)
    calibration = reading.calibration()
    assert calibration.shape == (20, 200)
    assert set(calibration[:, 1:].flatten()) == {3, 4, 5, 6, 7}
    documents = reading.documents(3, 100)
    assert [batch.shape for batch in documents] == [(1, 100)] * 3
    assert set(np.concatenate(documents)[:, 1:].flatten()) == {8, 9}


def test_prompts_of_the_embedded_model_have_the_length_asked_for() -> None:
    reading = Reading(CausalLM.open("specimen:modes"), None, seed=1)
    (after,) = reading.prompts(2, 256, 0.35, "after")
    assert (after.prompt.shape, after.following.shape, after.counted) == ((2, 256), (2, 32), 32)
    assert (np.argmax(after.prompt == 4, axis=1) == int(0.35 * 256)).all()
    (before,) = reading.prompts(2, 256, 0.35, "before")
    assert (before.prompt.shape, before.following.shape, before.counted) == ((2, 254), (2, 2), 1)


def test_the_embedded_model_reads_no_texts_of_others() -> None:
    with pytest.raises(ValueError, match="specimen:modes only reads documents generated for it"):
        Reading(CausalLM.open("specimen:modes"), Texts.of("mine", ["hello"]), seed=0)
