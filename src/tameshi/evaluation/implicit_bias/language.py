"""Association and preference read from the probabilities of a transformers model, causal or masked.

Needs torch. The model and its tokenizer come in as they are; nothing is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import stats

from tameshi.evaluation.implicit_bias.assignment import iat_score
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.measured import Bias, Floats, bootstrap, t_against, wilson

try:
    import torch
except ImportError as error:  # pragma: no cover
    raise ImportError("measures on model probabilities need torch: pip install 'tameshi[evaluation]'") from error

Pooling = Literal["mean", "last"]
BATCH = 64


class HiddenStateEncoder:
    """Texts as vectors out of a model's own layers: `weat(..., encode=HiddenStateEncoder(model, tokenizer))`.

    Args:
        model: any transformers model that returns hidden states.
        tokenizer: its tokenizer.
        pooling: "mean" over the text's own tokens, or the "last" of them.
        layer: -1 the last hidden layer, 0 the input embeddings.
    """

    def __init__(self, model: Any, tokenizer: Any, *, pooling: Pooling = "mean", layer: int = -1) -> None:
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling must be mean or last, got {pooling!r}")
        layers = int(model.config.num_hidden_layers)
        if not -layers - 1 <= layer <= layers:
            raise ValueError(f"layer must be at most {layers} for this model, got {layer}")
        self.model, self.tokenizer, self.pooling, self.layer = model, tokenizer, pooling, layer

    def __call__(self, texts: Sequence[str]) -> Floats:
        """(texts, hidden size), float64."""
        found = []
        for start in range(0, len(texts), BATCH):
            tokens = [_ids(self.tokenizer, t, special=self.layer != 0) for t in texts[start : start + BATCH]]
            ids, mask = _padded(tokens, _device(self.model))
            with torch.no_grad():
                if self.layer == 0:
                    hidden = self.model.get_input_embeddings()(ids)
                else:
                    hidden = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[
                        self.layer
                    ]
            hidden = hidden.double()
            if self.pooling == "mean":
                pooled = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            else:
                pooled = hidden[torch.arange(len(tokens)), mask.sum(dim=1) - 1]
            found.append(pooled.cpu().numpy())
        return np.concatenate(found)

    encode = __call__


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
        neutral: a word in the term's place; its log-probability is taken off (the prior of the attribute), or None.

    Raises:
        ValueError: a template without its two places, or with the attribute first under a causal model.
    """
    masked = getattr(tokenizer, "mask_token_id", None) is not None and not _causal(model)
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
    masked = getattr(tokenizer, "mask_token_id", None) is not None and not _causal(model)
    return (_masked_scores if masked else _causal_scores)(model, tokenizer, before, attributes, after)


def token_counts(tokenizer: Any, contrast: Contrast) -> tuple[float, float, str]:
    """Mean tokens a term of X and of Y, and a warning where they differ: length and frequency drive every vector."""
    x, y = (float(np.mean([len(_ids(tokenizer, t)) for t in terms])) for terms in (contrast.x, contrast.y))
    if abs(x - y) <= 0.25 * min(x, y):
        return x, y, ""
    return (
        x,
        y,
        f"terms of {contrast.x_label} have {x:.1f} tokens, of {contrast.y_label} {y:.1f}; that alone moves a measure",
    )


def sentence_scores(model: Any, tokenizer: Any, sentences: Sequence[str]) -> list[float]:
    """Mean log-probability a token of whole sentences under a causal model."""
    return [total / max(1, count) for total, count in (_causal_total(model, tokenizer, s) for s in sentences)]


def pair_preference(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, name: str = "pairs") -> Bias:
    """Share of sentence pairs of which the model prefers the first (the stereotyped one); 0.5 for none.

    A masked model is asked for the pseudo-log-likelihood of the tokens that both sentences share (Nangia et al. 2020),
    a causal one for the log-probability a token of the whole sentence. A tie counts for neither.

    Args:
        pairs: (stereotyped, other).

    Raises:
        ValueError: no pairs, or a pair of equal sentences.
    """
    if not pairs or any(first == second for first, second in pairs):
        raise ValueError("pairs must hold at least one pair of different sentences")
    if _causal(model):
        preferred = [s[0] - s[1] for pair in pairs for s in [sentence_scores(model, tokenizer, pair)]]
    else:
        preferred = [_pseudo_difference(model, tokenizer, *pair) for pair in pairs]
    decided = [p for p in preferred if p != 0]
    if not decided:
        reason = "the model has no preference in any pair"
        return Bias(
            "pair preference", name, "association", "single value", None, 0.5, withheld=reason, unread=len(pairs)
        )
    wins = sum(p > 0 for p in decided)
    share, p_value = wins / len(decided), float(stats.binomtest(wins, len(decided)).pvalue)
    ties = len(pairs) - len(decided)
    interval = wilson(wins, len(decided))
    return Bias(
        "pair preference", name, "association", "single value", share, 0.5, interval, p_value, len(decided), unread=ties
    )  # fmt: skip


def _causal(model: Any) -> bool:
    names = getattr(model.config, "architectures", None) or [type(model).__name__]
    return not any("MaskedLM" in n for n in names)


def _device(model: Any) -> torch.device:
    device: torch.device = next(iter(model.parameters())).device
    return device


def _ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    ids = list(tokenizer(text, add_special_tokens=special)["input_ids"])
    if not ids:
        raise ValueError(f"the tokenizer makes no token of {text!r}")
    return ids


def _padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(r) for r in rows)
    ids = torch.tensor([r + [0] * (longest - len(r)) for r in rows], device=device)
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows], device=device)
    return ids, mask


def _causal_scores(model: Any, tokenizer: Any, before: str, attributes: Sequence[str], after: str) -> list[float]:
    """log P(attribute | before), summed over subwords; what follows is not read."""
    prefix = _ids(tokenizer, before.rstrip(), special=True)
    if (
        getattr(tokenizer, "eos_token_id", None) is not None
        and prefix[-1] == tokenizer.eos_token_id
        and len(prefix) > 1
    ):
        prefix = prefix[:-1]  # a tokenizer that ends every text ends this one too early
    space = " " if before != before.rstrip() else ""
    words = [_ids(tokenizer, space + a) for a in attributes]
    found: list[float] = []
    for start in range(0, len(words), BATCH):
        part = words[start : start + BATCH]
        ids, mask = _padded([prefix + w for w in part], _device(model))
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(dim=-1)
        for row, word in enumerate(part):
            places = torch.arange(len(prefix) - 1, len(prefix) - 1 + len(word))
            found.append(float(logits[row, places, torch.tensor(word)].double().sum()))
    return found


def _masked_scores(model: Any, tokenizer: Any, before: str, attributes: Sequence[str], after: str) -> list[float]:
    """log P of the attribute's subwords with all of them masked."""
    found = []
    for attribute in attributes:
        word = _ids(tokenizer, attribute)
        text = before + " ".join([tokenizer.mask_token] * len(word)) + after
        ids = torch.tensor([_ids(tokenizer, text, special=True)], device=_device(model))
        places = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0]
        if len(places) != len(word):
            raise ValueError(f"the tokenizer does not keep its mask token apart in {text!r}")
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0].float().log_softmax(dim=-1)
        found.append(float(logits[places, torch.tensor(word, device=ids.device)].double().sum()))
    return found


def _causal_total(model: Any, tokenizer: Any, sentence: str) -> tuple[float, int]:
    ids = _ids(tokenizer, sentence, special=True)
    start = getattr(tokenizer, "bos_token_id", None)
    if start is not None and ids[0] != start:
        ids = [start, *ids]
    tensor = torch.tensor([ids], device=_device(model))
    with torch.no_grad():
        logits = model(input_ids=tensor).logits[0].float().log_softmax(dim=-1)
    picked = logits[:-1].gather(1, tensor[0, 1:, None])[:, 0].double()
    return float(picked.sum()), len(picked)


def _pseudo_difference(model: Any, tokenizer: Any, first: str, second: str) -> float:
    """Pseudo-log-likelihood of the shared tokens in the first sentence minus that in the second."""
    from difflib import SequenceMatcher

    rows = [_ids(tokenizer, s, special=True) for s in (first, second)]
    special = set(getattr(tokenizer, "all_special_ids", ()))
    blocks = SequenceMatcher(None, rows[0], rows[1], autojunk=False).get_matching_blocks()
    totals = []
    for row, side in zip(rows, ("a", "b"), strict=True):
        shared = [getattr(m, side) + k for m in blocks for k in range(m.size)]
        places = [p for p in shared if row[p] not in special]
        if not places:
            raise ValueError(f"the sentences {first!r} and {second!r} share no token")
        ids = torch.tensor([row] * len(places), device=_device(model))
        ids[torch.arange(len(places)), torch.tensor(places)] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(input_ids=ids).logits.float().log_softmax(dim=-1)
        truth = torch.tensor([row[p] for p in places])
        totals.append(float(logits[torch.arange(len(places)), torch.tensor(places), truth].double().sum()))
    return totals[0] - totals[1]


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
