"""A family of models, each read once under every control: the score over a family means nothing without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm.controls import rotated, shuffled, untrained_twin
from tameshi.evaluation.matrix_nuclear_norm.norms import null_score
from tameshi.evaluation.matrix_nuclear_norm.reading import METRICS, hidden_states, text_scores


class Member:
    """A model of a family; nothing is loaded before it is read, and nothing read twice.

    Args:
        size: what the family is ordered by: width, or the place in the order given.
        load: gives the model.
        encoded: gives the texts, (tokens,) each.
        seed: of untrained weights, rotations and shuffling.
    """

    def __init__(self, size: int, load: Callable[[], Any], encoded: Callable[[], Sequence[Tensor]], seed: int) -> None:
        self.size, self.load, self.encoded, self.seed = size, cache(load), cache(encoded), seed
        self.read = cache(self._read)

    def _read(self, how: str, share: float = 1.0) -> Mapping[str, tuple[float, ...]]:
        """Metric -> one value per text.

        Args:
            how: "mnn" for the model as it is, or "untrained", "rotated", "null", "shuffled", "reversed".
            share: of each text that is read, from its beginning; at least two tokens are.
        """
        texts = [row[: max(2, round(share * len(row)))] for row in self.encoded()]
        # Weights of another seed: a member may have been trained from those of its own.
        model = untrained_twin(self.load(), seed=self.seed + 1_000) if how == "untrained" else self.load()
        if how == "shuffled":
            texts = shuffled(texts, seed=self.seed)
        elif how == "reversed":
            texts = [row.flip(0) for row in texts]
        read = list(hidden_states(model, texts))
        if how == "null":
            return {"mnn": tuple(null_score(*hidden.shape) for hidden, _ in read)}
        return text_scores(rotated(read, seed=self.seed) if how == "rotated" else read, METRICS)
