"""Stated confidence against being right: bins, curve and expected calibration error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tameshi.evaluation.messages import Unparsed
from tameshi.evaluation.readers import fold

ASKED = "\n请在最后另起一行写出你对答案的把握程度（0到100的整数），格式为“信心：数字”。"


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence lies in [low, high) (the last bin holds its upper end)."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def calibration(confidence: Sequence[float], correct: Sequence[bool], bins: int = 10) -> list[Bin]:
    """The bins that hold answers.

    Args:
        confidence: in [0, 1].
        correct: one for each.

    Raises:
        ValueError: different lengths, none, or a confidence outside [0, 1].
    """
    stated, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if stated.shape != right.shape or not len(stated):
        raise ValueError(f"every confidence needs one answer, got {len(stated)} and {len(right)}")
    if not ((stated >= 0) & (stated <= 1)).all():
        raise ValueError("confidence must lie in [0, 1]; divide percentages by 100")
    # a stated 0.3 must not fall into the bin below because 3/10 is not exact in binary
    place = np.minimum(np.floor(stated * bins + 1e-9).astype(int), bins - 1)
    found = []
    for index in range(bins):
        own = place == index
        if own.any():
            found.append(
                Bin(
                    index / bins,
                    (index + 1) / bins,
                    int(own.sum()),
                    float(stated[own].mean()),
                    float(right[own].mean()),
                )
            )
    return found


def expected_calibration_error(confidence: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float:
    """Σ n_b/n · |accuracy_b - confidence_b|."""
    held = calibration(confidence, correct, bins)
    total = sum(b.n for b in held)
    return sum(b.n / total * abs(b.accuracy - b.confidence) for b in held)


def read_confidence(answer: str) -> tuple[str, float | Unparsed]:
    """The answer without its last line of confidence, and the confidence in [0, 1]."""
    text = fold(answer)
    found = list(
        re.finditer(
            r"(?:信心|把握程度|把握|confidence)[\s*]*(?:[:是为]\s*)?(\d{1,3}(?:\.\d+)?)\s*%?", text, re.IGNORECASE
        )
    )
    if not found:
        return answer, Unparsed("states no confidence")
    value = float(found[-1][1])
    rest = text[: found[-1].start()].rstrip(" *\n\t")
    return rest, value / 100 if value <= 100 else Unparsed("a confidence above 100")
