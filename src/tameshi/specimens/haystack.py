"""Long passages of any text for any tokenizer, and facts hidden in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tameshi.specimens.modes import Tokens

CITIES = (
    *("Accra", "Bergen", "Cusco", "Dakar", "Essen", "Fukuoka", "Galway", "Hanoi", "Izmir", "Jaipur", "Kazan", "Lima"),
    *("Malmö", "Nantes", "Oslo", "Porto", "Quito", "Riga", "Sapporo", "Turin", "Umeå", "Vienna", "Windhoek", "Zagreb"),
)


@dataclass(frozen=True)
class Needle:
    """A passage that holds one fact, the question about it, and the answer; all as token ids.

    Args:
        passage: (length,).
        question: what is appended to it.
        answer: what should follow.
    """

    passage: Tokens
    question: Tokens
    answer: Tokens


def pool(tokenizer: Any, texts: Sequence[str]) -> Tokens:
    """All texts one after the other, a blank line between them, without special tokens."""
    return _ids(tokenizer, "\n\n".join(texts))


def passages(drawn_from: Tokens, count: int, length: int, *, seed: int, begin: int | None = None) -> Tokens:
    """Passages of one length from places drawn at random.

    Args:
        drawn_from: from `pool`.
        count, length: how many, and how many tokens each.
        seed: of the draw.
        begin: a token to put in front of each, such as the beginning of a text; it counts towards the length.

    Returns:
        (count, length).

    Raises:
        ValueError: the pool is shorter than two passages, so that all would be alike.
    """
    if len(drawn_from) < 2 * length:
        raise ValueError(
            f"passages of {length:,} tokens need a text of at least {2 * length:,}, got {len(drawn_from):,}"
        )
    starts = np.random.default_rng([3, seed]).integers(len(drawn_from) - length, size=count)
    drawn = np.stack([drawn_from[start : start + length] for start in starts])
    if begin is not None:
        drawn[:, 0] = begin
    return drawn


def needles(tokenizer: Any, drawn_from: Tokens, count: int, length: int, *, depth: float, seed: int) -> list[Needle]:
    """Passages with "The access code for CITY is DIGITS." at a relative depth, and the question for the digits.

    Raises:
        ValueError: the pool is too short, or the sentence does not fit.
    """
    rng = np.random.default_rng([4, seed])
    made = []
    for passage in passages(drawn_from, count, length, seed=seed, begin=tokenizer.bos_token_id):
        city, code = CITIES[int(rng.integers(len(CITIES)))], int(rng.integers(10_000, 100_000))
        sentence = _ids(tokenizer, f"\nThe access code for {city} is {code}.\n")
        at = min(max(1, int(depth * length)), length - len(sentence))
        if at < 1:
            raise ValueError(f"a passage of {length} tokens has no room for a fact of {len(sentence)}")
        passage[at : at + len(sentence)] = sentence
        question = f"\nThe access code for {city} is"
        asked, answered = _ids(tokenizer, question), _ids(tokenizer, f"{question} {code}")
        same = next((i for i, (a, b) in enumerate(zip(asked, answered, strict=False)) if a != b), len(asked))
        made.append(Needle(passage, answered[:same], answered[same:]))
    return made


def _ids(tokenizer: Any, text: str) -> Tokens:
    return np.asarray(tokenizer(text, add_special_tokens=False, verbose=False).input_ids, dtype=np.int64)
