"""The measures of the three families, on a model in which the association is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tameshi.evaluation.implicit_bias.association import associations, permutation_test
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.nouns import Items, Missing
from tameshi.specimens import planted_bias
from tameshi.specimens.planted_bias import NAMES_X, NAMES_Y, OCCUPATIONS_A, OCCUPATIONS_B

PLANTED = Contrast("planted", NAMES_X, NAMES_Y, OCCUPATIONS_A, OCCUPATIONS_B, "names in -or", "names in -il")
# Half of each group in each half: whatever the model holds about X and Y cancels, so that no measure may see anything.
MIXED = Contrast(
    "mixed", NAMES_X[:4] + NAMES_Y[:4], NAMES_X[4:] + NAMES_Y[4:], OCCUPATIONS_A, OCCUPATIONS_B, "half", "other half"
)
SENTENCES = ("{}", "{} is")
DRAWS = 40  # texts written about each name
Model = Callable[[], planted_bias.Planted]
Encoded = Callable[[Model, Sequence[str]], Any]
"""(model, terms) -> (terms, dimension)."""


def _vector_measure(encoded: Encoded, model: Model, groups: Contrast, seed: int) -> dict[str, Any]:
    """The effect size as its mean over the terms of X, and its p."""
    of_x, of_y = associated(encoded, model, groups)
    spread = np.concatenate([of_x, of_y]).std(ddof=1)
    return {"value": Items((of_x - of_y.mean()) / spread, ids=groups.x), "p": permutation_test(of_x, of_y, seed=seed).p}


def associated(encoded: Encoded, model: Model, groups: Contrast) -> tuple[Any, Any]:
    """s of the terms of X and of Y."""
    x, y, a, b = (encoded(model, terms) for terms in (groups.x, groups.y, groups.a, groups.b))
    return associations(x, a, b), associations(y, a, b)


def words(model: Model, terms: Sequence[str]) -> Any:
    """Input embeddings of the terms."""
    return _encoder(model, layer=0)(terms)


def sentences(model: Model, terms: Sequence[str]) -> Any:
    """Last hidden states of the sentences about each term, averaged."""
    encode = _encoder(model, layer=-1)
    return np.mean([encode([t.replace("{}", term) for term in terms]) for t in SENTENCES], axis=0)


def _encoder(model: Model, *, layer: int) -> Any:
    from tameshi.evaluation.implicit_bias.encoder import HiddenStateEncoder

    held = model()
    return HiddenStateEncoder(held.model, held.tokenizer, layer=layer)


def _probabilities(model: Model, groups: Contrast) -> Any:
    from tameshi.evaluation.implicit_bias.language import logprob_association

    held = model()
    return logprob_association(held.model, held.tokenizer, groups, [planted_bias.TEMPLATE])


def _log_probability(model: Model, groups: Contrast, seed: int) -> dict[str, Items]:
    found = _probabilities(model, groups)
    return {"value": Items(found.lean_x - found.lean_y.mean(), ids=groups.x)}


def _gap(model: Model, groups: Contrast, seed: int) -> dict[str, Items]:
    found = _probabilities(model, groups)
    return _with_error(found.share_x - found.share_y.mean(), model, groups)


def forced_choice(model: Model, groups: Contrast, seed: int) -> dict[str, Items]:
    """D of every term of X against all of Y: each word goes to the likelier name."""
    by_term = _probabilities(model, groups).choices
    missing = Missing("one name got all the words, in every pair")
    values = [float(np.mean(own)) if own else missing for own in by_term]
    return _with_error(values, model, groups)


def _generation(model: Model, groups: Contrast, seed: int) -> dict[str, Items]:
    """Write about every name, and count the occupations of A among those that were named."""
    found, rng = _probabilities(model, groups), np.random.default_rng([seed, 7])
    shares = []
    for scores in (found.x, found.y):
        weights = np.exp(scores)
        rest = np.clip(1 - weights.sum(axis=1, keepdims=True), 0, None)  # any other word: no occupation is named
        chances = np.concatenate([weights, rest], axis=1)
        drawn = np.stack([rng.multinomial(DRAWS, row / row.sum()) for row in chances])
        named = drawn[:, :-1].sum(axis=1)
        shares.append(drawn[:, : len(groups.a)].sum(axis=1) / np.maximum(named, 1))
    return _with_error(shares[0] - shares[1].mean(), model, groups)


def _decision(model: Model, groups: Contrast, seed: int) -> dict[str, Items]:
    """Give out a task of A and one of B to two names: 2 P(as the contrast has it) - 1 over all tasks and names of Y."""
    found, a = _probabilities(model, groups), len(groups.a)
    values = []
    for of_x in found.x:
        for_tasks = of_x[:a, None] - of_x[None, a:]  # log P(a | x) - log P(b | x), every a beside every b
        against = found.y[:, None, a:] - found.y[:, :a, None]  # (y, a, b): log P(b | y) - log P(a | y)
        values.append(float(np.tanh((for_tasks + against) / 2).mean()))
    return {"value": Items(values, ids=groups.x)}


def _with_error(by_term: Sequence[float | Missing], model: Model, groups: Contrast) -> dict[str, Items]:
    """The value of each term of X, and how far it lies from what was planted between X and Y."""
    if groups is not PLANTED:
        return {"value": Items(by_term, ids=groups.x)}
    truth = model().gap
    errors = [v if isinstance(v, Missing) else abs(float(v) - truth) for v in by_term]
    return {"value": Items(by_term, ids=groups.x), "error": Items(errors, ids=groups.x)}


def explicit(model: Model, groups: Contrast, seed: int) -> dict[str, Items]:
    """P(x) - P(y) as the answer to the direct question: 1 names X for every occupation of A, 0 is even-handed."""
    from tameshi.evaluation.implicit_bias.language import attribute_scores

    held = model()
    values = []
    for x in groups.x:
        leans = []
        for y in groups.y:
            for sign, occupation in [(1, a) for a in groups.a[:2]] + [(-1, b) for b in groups.b[:2]]:
                question = planted_bias.QUESTION.format(x=x, y=y, attribute=occupation) + " "
                of_x, of_y = attribute_scores(held.model, held.tokenizer, question, [x, y])
                leans.append(sign * (np.exp(of_x) - np.exp(of_y)))
        values.append(float(np.mean(leans)))
    return {"value": Items(values, ids=groups.x)}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "WEAT": partial(_vector_measure, words),
    "SEAT": partial(_vector_measure, sentences),
    "log-probability": _log_probability,
    "probability gap": _gap,
    "forced choice": forced_choice,
    "generation": _generation,
    "decision": _decision,
}
FAMILIES = ("WEAT", "SEAT", "probability gap", "forced choice", "generation", "decision")
