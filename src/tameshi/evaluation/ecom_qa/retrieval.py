"""Retrieval before the question: BM25 over a corpus of one's own, or any `(query, k) -> passages`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import log

import numpy as np

from tameshi.evaluation.ecom_qa.items import Item

Retriever = Callable[[str, int], list[str]]
RETRIEVED = ("CC", "BC")  # the tasks of the paper's retrieval study
HEAD = "以下是检索到的参考资料，可能有用，也可能无关：\n"


def terms(text: str) -> list[str]:
    """Words of letters and digits, and pairs of neighbouring characters of scripts without spaces."""
    found = []
    for word in re.findall(r"[a-z0-9]+|[^\W_a-z0-9]+", text.casefold()):
        if word.isascii():
            found.append(word)
        else:
            found.extend(word[i : i + 2] for i in range(max(1, len(word) - 1)))
    return found


class BM25:
    """Okapi BM25 over passages: `BM25(passages)("query", 3)`.

    Args:
        passages: the corpus.
        k1, b: saturation of repeated terms, and how far length counts (the usual 1.2 and 0.75).

    Raises:
        ValueError: no passages.
    """

    def __init__(self, passages: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> None:
        if not passages:
            raise ValueError("retrieval needs at least one passage")
        self.passages = list(passages)
        counted = [Counter(terms(p)) for p in self.passages]
        lengths = np.array([sum(c.values()) for c in counted], dtype=np.float64)
        scale = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
        documents = Counter(term for c in counted for term in c)
        postings: dict[str, tuple[list[int], list[float]]] = {}
        for place, counts in enumerate(counted):
            for term, count in counts.items():
                weight = log(1 + (len(counted) - documents[term] + 0.5) / (documents[term] + 0.5))
                held = postings.setdefault(term, ([], []))
                held[0].append(place)
                held[1].append(weight * count * (k1 + 1) / (count + scale[place]))
        self._postings = {t: (np.array(places), np.array(scores)) for t, (places, scores) in postings.items()}

    def scores(self, query: str) -> np.ndarray:
        """(passages,), higher is nearer."""
        total = np.zeros(len(self.passages))
        for term in terms(query):
            if term in self._postings:
                places, scores = self._postings[term]
                total[places] += scores
        return total

    def __call__(self, query: str, k: int) -> list[str]:
        """The k best passages that share a term with the query; of equals the earlier."""
        scores = self.scores(query)
        order = np.lexsort((np.arange(len(scores)), -scores))[:k]
        return [self.passages[i] for i in order if scores[i] > 0]


def with_passages(item: Item, passages: Sequence[str]) -> str:
    """The prompt with passages before it."""
    if not passages:
        return item.prompt
    return HEAD + "\n".join(f"[{i}] {p}" for i, p in enumerate(passages, 1)) + "\n\n" + item.prompt
