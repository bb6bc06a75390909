"""What the measures read off models into which an association of known strength was trained."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from tameshi.checks.implicit_bias import measures
from tameshi.checks.implicit_bias.measures import MEASURES, MIXED, PLANTED, Model
from tameshi.evaluation.implicit_bias.association import permutation_test
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.nouns import Items, Measurement, check, measure
from tameshi.specimens import planted_bias
from tameshi.specimens.planted_bias import NAMES_X, NAMES_Y, OCCUPATIONS_A, OCCUPATIONS_B


@check("implicit-bias", seeds=4)
def planted(
    *,
    strengths: tuple[float, ...] = (0.5, 0.65, 0.8, 0.95),
    worlds: tuple[str, ...] = ("direct", "shared"),
    seed: int = 0,
) -> Iterator[Measurement]:
    """Measures of all three families, and the direct question, on models into which an association of known strength was trained.

    Args:
        strengths: share of the sentences in which a name goes with an occupation of its group; 0.5 plants nothing.
        worlds: "direct", where only these sentences lean, and "shared", where names and occupations keep the same
            company.
    """
    if wrong := [s for s in strengths if not 0 <= s <= 1]:
        raise ValueError(f"--strengths are shares between 0 and 1, got {wrong[0]}")
    if unknown := [w for w in worlds if w not in planted_bias.WORLDS]:
        raise ValueError(f"--worlds are {' and '.join(planted_bias.WORLDS)}, got {unknown[0]!r}")
    for world in worlds:
        for strength in strengths:
            model = cache(partial(planted_bias.planted, strength, world=world, seed=seed))
            at: dict[str, Any] = {"world": world, "planted": strength}
            for name, work in MEASURES.items():
                yield measure(name, partial(work, model, PLANTED, seed), **at)
                yield measure(f"{name}, names mixed", partial(work, model, MIXED, seed), **at)
            yield measure("explicit", partial(measures.explicit, model, PLANTED, seed), **at)
            if strength == 0.5:
                for name, encoded in {"WEAT": measures.words, "SEAT": measures.sentences}.items():
                    yield measure(f"{name}, names relabelled", partial(_alarms, encoded, model, seed), **at)


def _alarms(encoded: measures.Encoded, model: Model, seed: int) -> dict[str, Items]:
    """Twenty random halves of the names, where nothing is planted: how often p is below 0.05."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(20):
        names = [str(n) for n in rng.permutation([*NAMES_X, *NAMES_Y])]
        groups = Contrast("relabelled", tuple(names[:8]), tuple(names[8:]), OCCUPATIONS_A, OCCUPATIONS_B)
        found.append(permutation_test(*measures.associated(encoded, model, groups)).p <= 0.05)
    return {"significant": Items(found)}
