"""Parts of a claim put together, and claims of a run held against each other.

A rule of several parts holds if as many parts hold as are needed, and fails if so many fail that this is out of the
question. Their p-values are combined as partial conjunctions, so that the whole is not easier to decide than it
should be: that all parts hold needs each of them shown, that one of three holds needs the best of them shown after
Bonferroni.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tameshi.bench import wording
from tameshi.bench.statistics import LEVEL, TAIL, at_least, holm
from tameshi.bench.verdicts import OUTCOMES, Outcome, Verdict
from tameshi.bench.wording import Words


@dataclass(frozen=True)
class Judged:
    """A verdict with the one-sided p-values that decide it: against "does not hold" and against "does not fail"."""

    verdict: Verdict
    above: float = 1.0
    below: float = 1.0
    settled: bool = False  # by something else than an interval: no rows, not finite, nothing to pair


def compose(claim: str, parts: Sequence[Judged], labels: Sequence[Words], needed: int) -> Judged:
    """Put parts together, of which `needed` must hold.

    Args:
        claim: whose parts they are.
        parts: at least one.
        labels: what each part is called.
        needed: if there are fewer parts than that, those that were not measured hold the claim open.
    """
    if len(parts) == needed == 1:
        return replace(parts[0], verdict=replace(parts[0].verdict, claim=claim))
    verdicts = [part.verdict for part in parts]
    count = Counter(verdict.outcome for verdict in verdicts)
    unseen = [1.0] * (needed - len(parts))
    to_refute = max(len(parts), needed) - needed + 1
    above = at_least(needed, [part.above for part in parts] + unseen)
    below = at_least(to_refute, [part.below for part in parts] + unseen)
    outcome: Outcome = "inconclusive"
    if count["holds"] >= needed and above <= TAIL:
        outcome = "holds"
    elif count["fails"] >= to_refute and below <= TAIL:
        outcome = "fails"
    elif count["blind"] and count["holds"] + count["blind"] >= needed:
        outcome = "blind"
    elif count["out of reach here"] and count["holds"] + count["blind"] + count["out of reach here"] >= needed:
        outcome = "out of reach here"
    if outcome == "fails":
        decisive = sorted(range(len(parts)), key=lambda i: parts[i].below)[to_refute - 1]
    else:
        decisive = sorted(range(len(parts)), key=lambda i: parts[i].above)[min(needed, len(parts)) - 1]
    chosen, label = verdicts[decisive], labels[decisive]
    open_parts = count["holds"] >= needed or count["fails"] >= to_refute
    p = min(1.0, 2 * min(above, below))
    verdict = replace(
        chosen,
        claim=claim,
        outcome=outcome,
        why=wording.join(
            wording.composed({o: count[o] for o in OUTCOMES}, needed, len(parts)),
            wording.which_parts(labels, [verdict.outcome for verdict in verdicts]),
            wording.parts_together() if outcome == "inconclusive" and open_parts else None,
            wording.within_part(label, chosen.why),
        ),
        p=None if p == 0 or all(v.p is None for v in verdicts) else p,
        parts=tuple(verdicts),
    )
    return Judged(verdict, above, below, settled=all(part.settled for part in parts))


def named(part: Judged, label: Words) -> Judged:
    """The part, its figure named with the condition it was taken under."""
    return replace(part, verdict=replace(part.verdict, reads=wording.within_part(label, part.verdict.reads)))


def corrected(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Holm over all claims of the run that have a p."""
    adjusted = holm({claim: verdict.p for claim, verdict in verdicts.items() if verdict.p is not None})
    made = dict(verdicts)
    for claim, p_holm in adjusted.items():
        verdict = replace(verdicts[claim], p_holm=p_holm)
        if verdict.outcome in ("holds", "fails") and p_holm > 1 - LEVEL:
            assert verdict.p is not None
            verdict = turned(verdict, "inconclusive", wording.after_holm(verdict.p, p_holm, len(adjusted)))
        made[claim] = verdict
    return made


def turned(verdict: Verdict, outcome: Outcome, sentence: Words) -> Verdict:
    return replace(verdict, outcome=outcome, why=wording.join(sentence, verdict.why))
