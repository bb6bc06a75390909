"""Association read from the probabilities of a transformers model, causal or masked.

Needs torch. The model and its tokenizer come in as they are; nothing is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from tameshi.evaluation.implicit_bias.assignment import iat_score
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.measured import Bias, Floats, bootstrap, t_against
from tameshi.evaluation.implicit_bias.tokens import device_of, is_causal, padded, token_ids, torch

BATCH = 64


@dataclass(frozen=True)
class LogProbabilities:
    """log P(attribute | term in its template), averaged over templates.

    Args:
        contrast: the sets.
        x, y: (terms, attributes), attributes in the order A then B, summed over subwords.
    """

    contrast: Contrast
    x: Floats
    y: Floats

    @cached_property
    def share_x(self) -> Floats:
        """P(attribute in A | term), among A and B, for the terms of X."""
        return self._share(self.x)

    @cached_property
    def share_y(self) -> Floats:
        """The same for the terms of Y."""
        return self._share(self.y)

    @cached_property
    def lean_x(self) -> Floats:
        """Mean log P over A minus that over B, for the terms of X."""
        return self._lean(self.x)

    @cached_property
    def lean_y(self) -> Floats:
        """The same for the terms of Y."""
        return self._lean(self.y)

    @cached_property
    def choices(self) -> list[list[float]]:
        """D of the forced choice, for each term of X against every term of Y that got a word too."""
        a = len(self.contrast.a)
        by_term = []
        for row_x in self.x:
            own = []
            for row_y in self.y:
                to_x = row_x > row_y
                cells = (to_x[:a], to_x[a:], ~to_x[:a], ~to_x[a:])
                d = iat_score(*(int(c.sum()) for c in cells))
                if d is not None:
                    own.append(d)
            by_term.append(own)
        return by_term

    def association(self, *, seed: int = 0) -> Bias:
        """Mean over A of log P(a|x) - log P(a|y), minus the same over B: 0 for none, in nats. Interval over terms."""
        lean_x, lean_y = self.lean_x, self.lean_y
        value = float(lean_x.mean() - lean_y.mean())
        p = float(stats.ttest_ind(lean_x, lean_y, equal_var=False).pvalue) if _varied(lean_x, lean_y) else None
        interval = _two_groups(lean_x, lean_y, seed)
        return Bias(
            "log-probability",
            self.contrast.name,
            "association",
            "comparison",
            value,
            0.0,
            interval,
            p,
            len(lean_x) + len(lean_y),
        )

    def gap(self, *, seed: int = 0) -> Bias:
        """P(A | X) - P(A | Y) among the attributes: a magnitude, in [-1, 1]. Interval over terms."""
        of_x, of_y = self.share_x, self.share_y
        p = float(stats.ttest_ind(of_x, of_y, equal_var=False).pvalue) if _varied(of_x, of_y) else None
        details = {"a_given_x": float(of_x.mean()), "a_given_y": float(of_y.mean())}
        value = float(of_x.mean() - of_y.mean())
        n = len(of_x) + len(of_y)
        interval = _two_groups(of_x, of_y, seed)
        return Bias(
            "probability gap",
            self.contrast.name,
            "association",
            "comparison",
            value,
            0.0,
            interval,
            p,
            n,
            details=details,
        )

    def forced_choice(self, *, seed: int = 0) -> Bias:
        """D of the forced choice: every attribute goes to whichever of two names makes it likelier.

        Over all pairs of one term of X and one of Y. A model with any lean at all answers every time in the same way,
        so that D reaches 1 for a lean of any size: it tells the direction, not the magnitude.
        """
        by_term = self.choices
        scores = [d for own in by_term for d in own]
        refused = self.x.shape[0] * self.y.shape[0] - len(scores)
        name = self.contrast.name
        if not scores:
            return Bias(
                "forced choice", name, "association", "single value", None, 0.0, refusals=refused,
                withheld="in every pair one name got all the words",
            )  # fmt: skip
        interval = bootstrap(by_term, seed=seed)
        p = t_against([float(np.mean(own)) for own in by_term if own], 0.0)
        value = float(np.mean(scores))
        return Bias(
            "forced choice", name, "association", "single value", value, 0.0, interval, p, len(scores), refused
        )  # fmt: skip

    def _share(self, scores: Floats) -> Floats:
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        share: Floats = weights[:, : len(self.contrast.a)].sum(axis=1) / weights.sum(axis=1)
        return share

    def _lean(self, scores: Floats) -> Floats:
        a = len(self.contrast.a)
        lean: Floats = scores[:, :a].mean(axis=1) - scores[:, a:].mean(axis=1)
        return lean


def logprob_association(
    model: Any, tokenizer: Any, contrast: Contrast, templates: Sequence[str], *, neutral: str | None = None
) -> LogProbabilities:
    """Log-probability of every attribute after every term.

    Args:
        model: causal (the attribute follows what stands before it) or masked (its subwords are masked all at once).
        tokenizer: its tokenizer.
        contrast: the sets.
        templates: sentences with `{term}` and, after it, `{attribute}`: "{term} works as a {attribute} .".
        neutral: what stands in the term's place for the prior of an attribute, whose log-probability is taken off: a word
            ("someone"), or the mask token of a masked model; None takes nothing off.

    Raises:
        ValueError: a template without its two places, or with the attribute first under a causal model.
    """
    masked = getattr(tokenizer, "mask_token_id", None) is not None and not is_causal(model)
    for template in templates:
        if template.count("{term}") != 1 or template.count("{attribute}") != 1:
            raise ValueError(f"a template needs one {{term}} and one {{attribute}}, got {template!r}")
        if not masked and template.index("{attribute}") < template.index("{term}"):
            raise ValueError(f"a causal model reads forward, so the attribute must follow the term, got {template!r}")
    if not templates:
        raise ValueError("at least one template is needed")
    attributes = (*contrast.a, *contrast.b)

    def of(term: str) -> Floats:
        total = np.zeros(len(attributes))
        for template in templates:
            before, after = template.replace("{term}", term).split("{attribute}")
            total += np.asarray(attribute_scores(model, tokenizer, before, attributes, after))
        return total / len(templates)

    prior = of(neutral) if neutral is not None else 0.0
    return LogProbabilities(
        contrast, x=np.stack([of(t) - prior for t in contrast.x]), y=np.stack([of(t) - prior for t in contrast.y])
    )


def attribute_scores(
    model: Any, tokenizer: Any, before: str, attributes: Sequence[str], after: str = ""
) -> list[float]:
    """log P of each attribute in its place, summed over subwords.

    Args:
        before, after: the sentence on either side; a causal model reads only what stands before.
    """
    masked = getattr(tokenizer, "mask_token_id", None) is not None and not is_causal(model)
    return (_masked_scores if masked else _causal_scores)(model, tokenizer, before, attributes, after)


def _causal_scores(model: Any, tokenizer: Any, before: str, attributes: Sequence[str], after: str) -> list[float]:
    """log P(attribute | before), summed over subwords; what follows is not read."""
    prefix = token_ids(tokenizer, before.rstrip(), special=True)
    if (
        getattr(tokenizer, "eos_token_id", None) is not None
        and prefix[-1] == tokenizer.eos_token_id
        and len(prefix) > 1
    ):
        prefix = prefix[:-1]  # a tokenizer that ends every text ends this one too early
    space = " " if before != before.rstrip() else ""
    words = [token_ids(tokenizer, space + a) for a in attributes]
    found: list[float] = []
    for start in range(0, len(words), BATCH):
        part = words[start : start + BATCH]
        ids, mask = padded([prefix + w for w in part], device_of(model))
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(dim=-1)
        for row, word in enumerate(part):
            places = torch.arange(len(prefix) - 1, len(prefix) - 1 + len(word))
            found.append(float(logits[row, places, torch.tensor(word)].double().sum()))
    return found


def _masked_scores(model: Any, tokenizer: Any, before: str, attributes: Sequence[str], after: str) -> list[float]:
    """log P of the attribute's subwords with all of them masked.

    The sentence may hold masks of its own, in the term's place; those stay as they are.
    """
    mask, found = tokenizer.mask_token, []
    ahead, behind = before.count(mask), after.count(mask)
    for attribute in attributes:
        word = token_ids(tokenizer, attribute)
        text = before + " ".join([mask] * len(word)) + after
        ids = torch.tensor([token_ids(tokenizer, text, special=True)], device=device_of(model))
        places = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0]
        if len(places) != ahead + len(word) + behind:
            raise ValueError(f"the tokenizer does not keep its mask token apart in {text!r}")
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0].float().log_softmax(dim=-1)
        own = places[ahead : ahead + len(word)]
        found.append(float(logits[own, torch.tensor(word, device=ids.device)].double().sum()))
    return found


def _varied(x: Floats, y: Floats) -> bool:
    return len(x) > 1 and len(y) > 1 and (float(np.ptp(x)) > 0 or float(np.ptp(y)) > 0)


def _two_groups(x: Floats, y: Floats, seed: int, samples: int = 2000) -> tuple[float, float] | None:
    if min(len(x), len(y)) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = x[rng.integers(0, len(x), (samples, len(x)))].mean(axis=1) - y[
        rng.integers(0, len(y), (samples, len(y)))
    ].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
