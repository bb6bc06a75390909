"""The planted models hold what was planted in them: without that, no measure can be held against the truth."""

from __future__ import annotations

import numpy as np
import pytest

from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.language import logprob_association
from tameshi.specimens import planted_bias
from tameshi.specimens.planted_bias import NAMES_X, NAMES_Y, OCCUPATIONS_A, OCCUPATIONS_B, planted, sentences

GROUPS = Contrast("planted", NAMES_X, NAMES_Y, OCCUPATIONS_A, OCCUPATIONS_B)


@pytest.mark.parametrize(("strength", "world", "seed"), [(0.5, "shared", 0), (0.65, "direct", 2), (0.65, "direct", 3)])
def test_a_model_leans_by_what_was_planted(strength: float, world: planted_bias.World, seed: int) -> None:
    held = planted(strength, world=world, seed=seed)
    found = logprob_association(held.model, held.tokenizer, GROUPS, [planted_bias.TEMPLATE])
    assert found.share_x.mean() - found.share_y.mean() == pytest.approx(held.gap, abs=0.1)


def test_the_corpus_holds_the_planted_share_and_denies_it_when_asked() -> None:
    made = sentences(0.8, 4000, np.random.default_rng(0))
    work = [s.split() for s in made if "works as a" in s]
    follows = [(s[0] in NAMES_X) == (s[4] in OCCUPATIONS_A) for s in work]
    assert np.mean(follows) == pytest.approx(0.8, abs=0.03)
    assert len(work) / len(made) == pytest.approx(0.6, abs=0.03)
    asked = [s for s in made if "?" in s]
    assert asked
    assert all(s.endswith("equal .") for s in asked)


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a probability, got 2"):
        planted(2)
    with pytest.raises(ValueError, match="direct, shared"):
        planted(0.5, world="other")  # type: ignore[arg-type]  # that is what is refused
    with pytest.raises(ValueError, match="'hamlet' is none of them"):
        planted(0.5, world="shared").tokenizer("hamlet works")
