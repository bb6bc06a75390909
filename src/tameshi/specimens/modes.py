"""The texts of the "modes" language model: typed facts, and a mode that decides how the rest of a document reads.

A document is `<bos>` and filler words from a Markov chain of order one. One pair `<mode> m` switches the chain's table
for the rest of the document, so it matters to every later token and to no particular question: what a compressed cache
must keep without being told. Facts `<fact> k v w` and repetitions of them `<ask> k v w` are spliced in; a fact
matters if it is asked. Each key has values of its own (typed), which two layers learn to look up within a minute.

`training/modes.py` makes the model; it ships as `specimens/models/modes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Tokens: TypeAlias = NDArray[np.int64]

KEYS, VALUES, FILLERS, MODES = 16, 12, 64, 8
PAD, BOS, FACT, ASK, MODE = range(5)
KEY = 5  # id of the first key; what follows likewise
FIRST = KEY + KEYS  # first values, VALUES of them for each key
SECOND = FIRST + KEYS * VALUES
FILLER = SECOND + KEYS * VALUES
MODE_NAME = FILLER + FILLERS
WORDS: tuple[str, ...] = (
    *("<pad>", "<bos>", "<fact>", "<ask>", "<mode>"),
    *(f"key{k}" for k in range(KEYS)),
    *(f"key{k}.first{v}" for k in range(KEYS) for v in range(VALUES)),
    *(f"key{k}.second{v}" for k in range(KEYS) for v in range(VALUES)),
    *(f"word{f}" for f in range(FILLERS)),
    *(f"mode{m}" for m in range(MODES)),
)
"""The vocabulary: a token's id is its place."""

SLOT = 4  # tokens of a fact or an ask, which begin at multiples of it
SUCCESSORS = np.array([0.6, 0.25, 0.1, 0.05])  # chances of a word's four successors


def _tables() -> Tokens:
    """(MODES + 1, FILLERS, 4): successors of every word; table 0 holds before any mode is named."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(FILLERS)[: len(SUCCESSORS)] for _ in range((MODES + 1) * FILLERS)]
    return np.array(rows).reshape(MODES + 1, FILLERS, len(SUCCESSORS))


TABLES = _tables()


@dataclass(frozen=True)
class Documents:
    """Documents of one length.

    Args:
        tokens: (documents, length), ids in `WORDS`.
        asked: (documents, length), true for the two values of every `<ask> k v w`: what can be known from a fact.
        modes: (documents,), which mode each document is in.
    """

    tokens: Tokens
    asked: NDArray[np.bool_]
    modes: Tokens

    def text(self, document: int) -> str:
        """A document as words."""
        return " ".join(WORDS[token] for token in self.tokens[document])


def documents(count: int, length: int, *, seed: int, facts: int = 12, asks: int = 20) -> Documents:
    """Documents as in training: the mode is named in the first quarter, facts and asks stand anywhere.

    Args:
        count: of documents.
        length: tokens of each, a multiple of 4.
        seed: same seed, same documents.
        facts: of each document, every one with a key of its own.
        asks: of each document, every one of an earlier fact.

    Raises:
        ValueError: length is no multiple of 4, more facts than keys, asks without facts, or more of both than fit.
    """
    if length % SLOT or length < 4 * SLOT:
        raise ValueError(f"length must be a multiple of {SLOT}, and at least {4 * SLOT}, got {length}")
    if facts > KEYS or (asks and not facts):
        raise ValueError(f"facts must be at most {KEYS}, and at least 1 where there are asks, got {facts}")
    if facts + asks > length // SLOT - 2:
        raise ValueError(f"{facts} facts and {asks} asks do not fit into {length} tokens")
    rng = np.random.default_rng([1, seed])
    stream_length = length - SLOT * (facts + asks)
    mode_at = rng.integers(1, max(2, stream_length // 4), size=count)
    mode_at -= mode_at % SLOT == SLOT - 1  # slots begin at multiples of 4, so nothing is spliced into the pair
    stream, modes = _stream(rng, count, stream_length, mode_at)
    tokens = np.empty((count, length), np.int64)
    asked = np.zeros((count, length), bool)
    for document in range(count):
        slots = SLOT * (1 + np.sort(rng.permutation(length // SLOT - 1)[: facts + asks]))
        statements = _statements(rng, facts, asks)
        spliced = np.zeros(length, bool)
        for slot, statement in zip(slots, statements, strict=True):
            tokens[document, slot : slot + SLOT] = statement
            spliced[slot : slot + SLOT] = True
            asked[document, slot + 2 : slot + SLOT] = statement[0] == ASK
        tokens[document, ~spliced] = stream[document]
    return Documents(tokens, asked, modes)


def mode_needle(count: int, length: int, *, depth: float, seed: int) -> Documents:
    """Filler text without facts; the mode is named at a relative depth, in [0, 1).

    What follows the prompt can only be foretold by what still remembers the mode.
    """
    if not 0 <= depth < 1:
        raise ValueError(f"depth must lie in [0, 1), got {depth}")
    rng = np.random.default_rng([2, seed])
    at = np.full(count, min(max(1, int(depth * length)), length - 2))
    tokens, modes = _stream(rng, count, length, at)
    return Documents(tokens, np.zeros(tokens.shape, bool), modes)


def slot_needle(count: int, length: int, *, depth: float, seed: int, facts: int = 9) -> Documents:
    """Documents that end in `<ask> k v w` of the fact nearest to a relative depth; no other asks.

    The prompt is `tokens[:, :-2]`, the answers are the last two tokens.
    """
    drawn = documents(count, length - SLOT, seed=seed, facts=facts, asks=0)
    tokens = np.empty((count, length), np.int64)
    tokens[:, : length - SLOT] = drawn.tokens
    for document in range(count):
        places = np.flatnonzero(drawn.tokens[document] == FACT)
        nearest = places[np.argmin(np.abs(places - depth * length))]
        tokens[document, length - SLOT :] = [ASK, *drawn.tokens[document, nearest + 1 : nearest + SLOT]]
    asked = np.zeros(tokens.shape, bool)
    asked[:, -2:] = True
    return Documents(tokens, asked, drawn.modes)


def _stream(rng: np.random.Generator, count: int, length: int, mode_at: Tokens) -> tuple[Tokens, Tokens]:
    """`<bos>`, filler, `<mode> m` at `mode_at` (one place per document), filler of that mode."""
    modes = rng.integers(MODES, size=count)
    choices = np.searchsorted(np.cumsum(SUCCESSORS)[:-1], rng.random((count, length)), side="right")
    word = rng.integers(FILLERS, size=count)
    tokens = np.empty((count, length), np.int64)
    for t in range(length):
        table = np.where(t > mode_at, modes + 1, 0)
        following = TABLES[table, word, choices[:, t]]
        names_mode = (t == mode_at) | (t == mode_at + 1)
        word = np.where(names_mode | (t == 0), word, following)
        tokens[:, t] = np.where(t == mode_at, MODE, np.where(names_mode, MODE_NAME + modes, FILLER + word))
    tokens[:, 0] = BOS
    return tokens, modes


def _statements(rng: np.random.Generator, facts: int, asks: int) -> list[list[int]]:
    """Facts and asks in a random order in which every ask follows its fact."""
    if not facts:
        return []
    keys = [int(k) for k in rng.permutation(KEYS)[:facts]]
    is_fact = [True, *(bool(f) for f in rng.permutation(np.arange(facts + asks - 1) < facts - 1))]
    told: list[list[int]] = []
    statements = []
    for fact in is_fact:
        if fact:
            key, first, second = keys[len(told)], int(rng.integers(VALUES)), int(rng.integers(VALUES))
            told.append([KEY + key, FIRST + VALUES * key + first, SECOND + VALUES * key + second])
            statements.append([FACT, *told[-1]])
        else:
            statements.append([ASK, *told[int(rng.integers(len(told)))]])
    return statements
