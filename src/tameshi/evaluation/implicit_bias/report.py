"""One report of a subject's implicit bias: every family of measures that the subject can serve, side by side.

The statement of a report is never "biased" or "fair". It is a table in which every value stands beside its null, its
interval, its refusals, and the same measure on the control contrasts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from tameshi.doors import models
from tameshi.doors.screen import plain
from tameshi.evaluation.implicit_bias.association import seat, weat
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.measured import Bias, holm

Serves = Literal["vectors", "probabilities", "answers"]
CAVEATS = (
    "A value is no evidence of harm in use, and a null is no evidence of fairness.",
    "Names signal class, age and language at once; nobody's group was inferred from a name.",
    "Refusal is not fairness: read refusals beside every value.",
)


@dataclass(frozen=True)
class BiasReport:
    """What was measured.

    Args:
        measures: every measure of every contrast.
        adjusted: Holm's p over the contrasts, for each measure that has a p; by (measure, contrast).
        notes: what the reader should know about this subject and these contrasts.
    """

    measures: tuple[Bias, ...]
    adjusted: Mapping[tuple[str, str], float]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, measures: Sequence[Bias], notes: Sequence[str] = ()) -> BiasReport:
        """Gather measures; p values are adjusted over the contrasts of one measure."""
        adjusted: dict[tuple[str, str], float] = {}
        for name in dict.fromkeys(m.measure for m in measures):
            tested = [(m.contrast, m.p) for m in measures if m.measure == name and m.p is not None]
            for (contrast, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
                adjusted[name, contrast] = p
        return cls(tuple(measures), adjusted, (*notes, *CAVEATS))

    @classmethod
    def run(
        cls,
        subject: Any,
        contrasts: Sequence[Contrast],
        *,
        families: Sequence[str] | Literal["auto"] = "auto",
        templates: Sequence[str] = ("{term} works with the {attribute}.",),
        n: int = 10,
        seed: int = 0,
        max_calls: int | None = None,
    ) -> BiasReport:
        """Measure everything that the subject can serve.

        Args:
            subject: an encoder (a function, or an object with `encode`, from a list of texts to vectors); a pair
                (model, tokenizer) of transformers or the path of its folder; or what answers questions: an Inspect
                model, its name ("openai/..."), or an `async (messages) -> str`.
            contrasts: which groups are compared.
            families: "auto", or some of "association", "generation", "decision", "explicit".
            templates: of the log-probability measures.
            n: answers for each question.
            seed: of everything random.
            max_calls: hard cap on calls to a model that answers.

        Raises:
            ValueError: nothing that can be measured, or an unknown family.
        """
        known = ("association", "generation", "decision", "explicit")
        wanted = known if families == "auto" else tuple(families)
        if unknown := [f for f in wanted if f not in known]:
            raise ValueError(f"there is no family {unknown[0]!r}; there are {', '.join(known)}")
        if not contrasts:
            raise ValueError("at least one contrast is needed")
        serves, held = _serves(subject)
        if serves == "answers":
            return cls.of(_answers(held, contrasts, wanted, n, seed, max_calls))
        if "association" not in wanted:
            raise ValueError(f"a subject of {serves} serves the family association only, got {', '.join(wanted)}")
        if serves == "vectors":
            return cls.of([m for c in contrasts for m in _vectors(held, c, seed)])
        return _probabilities(held, contrasts, templates, seed)

    def __getitem__(self, key: tuple[str, str]) -> Bias:
        """The measure of a contrast: `report["weat", "sea-sky"]`."""
        for found in self.measures:
            if (found.measure, found.contrast) == key:
                return found
        raise KeyError(f"{key[0]} of {key[1]} was not measured")

    def agreement(self, first: str, second: str) -> dict[str, float]:
        """How far two measures agree over contrasts: share of equal signs about their nulls, and Spearman's rank
        correlation.

        Returns:
            {"contrasts", "same_sign"} and, from three contrasts on that differ, {"rank_correlation"}.
        """
        pairs = []
        for name in dict.fromkeys(m.contrast for m in self.measures):
            held = [
                m for m in self.measures if m.contrast == name and m.measure in (first, second) and m.value is not None
            ]
            if {m.measure for m in held} == {first, second}:
                by_name = {m.measure: (m.value or 0.0) - m.null for m in held}
                pairs.append((by_name[first], by_name[second]))
        found = {"contrasts": float(len(pairs))}
        if pairs:
            found["same_sign"] = float(np.mean([np.sign(a) == np.sign(b) for a, b in pairs]))
        x, y = ([p[i] for p in pairs] for i in (0, 1))
        if len(pairs) >= 3 and len(set(x)) > 1 and len(set(y)) > 1:
            found["rank_correlation"] = float(stats.spearmanr(x, y).statistic)
        return found

    def table(self) -> str:
        """The measures as text, one a line, with the notes below."""
        form = "{:<18} {:<26} {:<12} {:>8} {:>6} {:>18} {:>9} {:>6} {:>8}{}"
        head = form.format(
            "contrast", "measure", "family", "value", "null", "95 % interval", "p (Holm)", "n", "refused", ""
        )
        lines = [head, "-" * len(head)]
        for m in self.measures:
            p = self.adjusted.get((m.measure, m.contrast))
            lines.append(
                form.format(
                    plain(m.contrast, longest=18),
                    m.measure,
                    m.family,
                    "-" if m.value is None else f"{m.value:.3f}",
                    f"{m.null:.2f}",
                    "-" if m.interval is None else f"[{m.interval[0]:.3f}, {m.interval[1]:.3f}]",
                    "-" if p is None else f"{p:.4f}",
                    m.n,
                    m.refusals,
                    f"  withheld: {m.withheld}" if m.withheld else _beside(m),
                )
            )
        return "\n".join([*lines, *(f"* {plain(note)}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Texts that a model wrote are not among them."""
        return {
            "measures": [m.to_dict() | {"p_holm": self.adjusted.get((m.measure, m.contrast))} for m in self.measures],
            "notes": list(self.notes),
        }


def _beside(m: Bias) -> str:
    """What should be read beside an answer's value: the published formula, which counts refusals as 0, and both orders."""
    told = {"official": "published formula", "x_first": "X named first", "y_first": "Y named first"}
    found = [f"{words} {m.details[name]:.3f}" for name, words in told.items() if name in m.details]
    return f"  {', '.join(found)}" if found else ""


def _serves(subject: Any) -> tuple[Serves, Any]:
    if isinstance(subject, tuple) and len(subject) == 2:
        return "probabilities", subject
    if isinstance(subject, Path) or (isinstance(subject, str) and Path(subject).expanduser().is_dir()):
        if (Path(subject).expanduser() / "modules.json").is_file():
            raise ValueError(
                f"{subject} is a folder of sentence-transformers; open it yourself and pass SentenceTransformer({str(subject)!r})"
            )
        model, tokenizer = models.causal_lm(models.look_at(subject))
        if tokenizer is None:
            raise ValueError(f"{subject} has no tokenizer, so no text can be given to it")
        return "probabilities", (model, tokenizer)
    if isinstance(subject, str):
        if "/" not in subject or subject.startswith((".", "/", "~")):
            raise ValueError(f"{subject!r} is neither a folder nor a model name like openai/gpt-4o-mini")
        return "answers", subject
    if callable(getattr(subject, "encode", None)):
        return "vectors", subject.encode
    if callable(getattr(subject, "generate", None)) and hasattr(subject, "api"):  # an Inspect model
        return "answers", subject
    if callable(subject):
        waits = inspect.iscoroutinefunction(subject) or inspect.iscoroutinefunction(getattr(subject, "__call__", None))  # noqa: B004  the method itself is looked at
        return ("answers", subject) if waits else ("vectors", subject)
    raise ValueError(
        f"nothing can be measured on a {type(subject).__name__}; pass an encoder, (model, tokenizer), or a model name"
    )


def _vectors(encode: Callable[[list[str]], Any], contrast: Contrast, seed: int) -> list[Bias]:
    if len(contrast.x) != len(contrast.y):
        reason = f"the permutation test needs as many terms in X as in Y, got {len(contrast.x)} and {len(contrast.y)}"
        return [
            Bias(m, contrast.name, "association", "comparison", None, 0.0, withheld=reason) for m in ("weat", "seat")
        ]
    sets = (contrast.x, contrast.y, contrast.a, contrast.b)
    return [f(*sets, encode=encode, seed=seed, name=contrast.name) for f in (weat, seat)]


def _probabilities(
    pair: tuple[Any, Any], contrasts: Sequence[Contrast], templates: Sequence[str], seed: int
) -> BiasReport:
    from tameshi.evaluation.implicit_bias.encoder import HiddenStateEncoder, token_counts
    from tameshi.evaluation.implicit_bias.language import logprob_association

    model, tokenizer = pair
    embeddings = HiddenStateEncoder(model, tokenizer, layer=0)
    hidden = HiddenStateEncoder(model, tokenizer)
    measures, notes = [], []
    for contrast in contrasts:
        *_, warning = token_counts(tokenizer, contrast)
        if warning:
            notes.append(f"{contrast.name}: {warning}")
        measures += [_vectors(embeddings, contrast, seed)[0], _vectors(hidden, contrast, seed)[1]]
        found = logprob_association(model, tokenizer, contrast, templates)
        measures += [found.association(seed=seed), found.gap(seed=seed), found.forced_choice(seed=seed)]
    return BiasReport.of(measures, notes)


def _answers(
    subject: Any, contrasts: Sequence[Contrast], families: Sequence[str], n: int, seed: int, max_calls: int | None
) -> list[Bias]:
    from tameshi.evaluation.accounting import Estimate, Ledger
    from tameshi.evaluation.asking import Asker, wait
    from tameshi.evaluation.implicit_bias import asked
    from tameshi.evaluation.implicit_bias.explicit import dissociation
    from tameshi.evaluation.implicit_bias.generation import PROMPTS

    variants = 2
    cost = {"association": 0, "decision": 0, "explicit": 0, "generation": 0}
    for c in contrasts:
        cost["association"] += variants * n
        cost["decision"] += 2 * n
        cost["explicit"] += n * len(c.statements)
        cost["generation"] += len(PROMPTS) * (len(c.x) + len(c.y))
    Estimate({f: count for f, count in cost.items() if f in families}).check(max_calls).announce()
    ask = Asker(subject, ledger=Ledger(max_calls), temperature=0.7)

    async def measure() -> list[Bias]:
        found: list[Bias] = []
        for c in contrasts:
            by_family: dict[str, Callable[[], Any]] = {
                "association": partial(asked.ask_iat, ask, c, n=n, variants=variants, seed=seed),
                "decision": partial(asked.ask_decision, ask, c, n=2 * n, seed=seed),
                "explicit": partial(asked.ask_explicit, ask, c, n=n, seed=seed),
                "generation": partial(asked.ask_generation, ask, c, seed=seed),
            }
            own: list[Bias] = []
            for family, work in by_family.items():
                if family not in families or (family == "explicit" and not c.statements):
                    continue
                result = await work()
                own.extend(result if isinstance(result, list) else [result])
            by_name = {m.measure: m for m in own}
            if "iat" in by_name and "explicit" in by_name:
                own.append(dissociation(by_name["iat"], by_name["explicit"]))
            found.extend(own)
        return found

    return wait(measure())
