"""Mix data or merge models: the experiment of arXiv:2410.10801 on objectives and scorers of your own.

    scores = {"general": ExactMatch(tokenizer, questions), "safety": RefusalRate(tokenizer, requests)}
    MixVsMerge("path/base", {"general": examples, "safety": refusals}).run(scores=scores).table()

One model is trained on a mix, one per objective on its data alone; the latter are merged by every method at every setting of a
grid. Settings are chosen on the validation scores and reported on the test scores, the mix's share like the merges' weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tameshi.merging.merge import merge
from tameshi.merging.method import method_named
from tameshi.merging.scorers import Half
from tameshi.merging.tuning import TRLTuning

Train = Callable[[Any, Sequence[Any]], Any]
Score = Callable[[Any, Half], float]


def mixture(objectives: Mapping[str, Sequence[Any]], shares: Mapping[str, float], seed: int = 0) -> list[Any]:
    """Examples of several objectives in one shuffled list, none of them twice.

    As many as the first objective has (the mix sees no more than the model of that objective alone), or fewer where another
    has too few for its share; both are our choice.

    Args:
        objectives: name -> examples.
        shares: name -> share of the mixture; 1 in sum.
        seed: of the draw and of the order.
    """
    first = next(iter(objectives.values()))
    count = min([len(first), *(int(len(objectives[name]) / share) for name, share in shares.items() if share > 0)])
    draw = torch.Generator().manual_seed(seed)
    drawn = [
        held[i]
        for name, held in objectives.items()
        for i in torch.randperm(len(held), generator=draw)[: round(count * shares[name])].tolist()
    ]
    return [drawn[i] for i in torch.randperm(len(drawn), generator=draw).tolist()]


@dataclass(frozen=True)
class Entry:
    """One trained or merged model.

    Args:
        kind: "alone", "mix" or the name of a merge method.
        setting: of the mix or merge, for people.
        validation, test: objective -> score.
    """

    kind: str
    setting: str
    validation: Mapping[str, float]
    test: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """What the experiment found."""

    entries: tuple[Entry, ...]

    def best(self, kind: str) -> Entry:
        """The entry of a kind with the highest sum of validation scores; the first of several."""
        own = [entry for entry in self.entries if entry.kind == kind]
        if not own:
            raise ValueError(f"there is no {kind!r} among {', '.join(sorted({e.kind for e in self.entries}))}")
        return max(own, key=lambda entry: sum(entry.validation.values()))

    def pareto(self) -> tuple[Entry, ...]:
        """The entries whose test scores no other entry reaches in every objective and beats in one."""
        return tuple(e for e in self.entries if not any(_dominates(other, e) for other in self.entries))

    def table(self) -> str:
        """One line per kind at its best setting, with the test score of every objective and their sum."""
        objectives = list(self.entries[0].test)
        lines = ["  ".join([f"{'':<28}", *(f"{name:>10}" for name in objectives), f"{'sum':>10}"])]
        for kind in dict.fromkeys(entry.kind for entry in self.entries):
            own = [e for e in self.entries if e.kind == kind] if kind == "alone" else [self.best(kind)]
            for entry in own:
                scores = [*(entry.test[name] for name in objectives), sum(entry.test.values())]
                lines.append("  ".join([f"{kind + ' ' + entry.setting:<28}", *(f"{s:>10.3f}" for s in scores)]))
        return "\n".join(lines)


def _dominates(one: Entry, two: Entry) -> bool:
    pairs = [(one.test[name], two.test[name]) for name in two.test]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@dataclass(frozen=True)
class MixVsMerge:
    """The experiment, for two or more objectives.

    Args:
        base: what every model is trained from, as `train` takes it and `merge` opens it.
        objectives: name -> examples; the first is the general one, the others take `mix` of the mixture, in equal parts.
        mix: share of the other objectives' examples in the mixture, in (0, 1), or several to try; the paper has 0.15.
        methods: names of merge methods.
        grid: weights that each objective may have in a merge; the paper's.
        settings: method -> further settings of `merge`.
        seed: of the mixture and of random methods.

    Raises:
        ValueError: fewer than two objectives, an unknown method, or a share outside (0, 1).
    """

    base: Any
    objectives: Mapping[str, Sequence[Any]]
    mix: float | Sequence[float] = 0.15
    methods: Sequence[str] = ("linear", "slerp", "ties", "dare-ties")
    grid: Sequence[float] = (0, 0.3, 0.5, 0.7, 1)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.objectives) < 2:
            raise ValueError(f"two objectives are the least to mix or merge, got {len(self.objectives)}")
        for share in self._shares():
            if not 0 < share < 1:
                raise ValueError(f"a share of the mix must be between 0 and 1, got {share}")
        for name in self.methods:
            method = method_named(name)
            if method.count is not None and method.count != len(self.objectives):
                raise ValueError(f"{method.title} merges exactly {method.count} models, not {len(self.objectives)}")

    def run(self, train: Train | None = None, scores: Mapping[str, Score] | None = None) -> Comparison:
        """Train, merge and score.

        Args:
            train: (base, examples) -> a new model; it must leave the base as it is. None for TRL: `SFTTrainer`, or
                `DPOTrainer` where examples are preferences, as `TRLTuning` sets them up.
            scores: objective -> scorer of (model, "validation" or "test"), like `ExactMatch` and `RefusalRate`; higher
                is better.

        Raises:
            ValueError: there are no scorers.
        """
        if not scores:
            raise ValueError("scores must name at least one objective with its scorer, got none")
        tune = TRLTuning(seed=self.seed) if train is None else train

        def entry(kind: str, setting: str, model: Any) -> Entry:
            halves = {
                half: {name: score(model, half) for name, score in scores.items()} for half in ("validation", "test")
            }
            return Entry(kind, setting, halves["validation"], halves["test"])

        first, *others = self.objectives
        alone = {name: tune(self.base, examples) for name, examples in self.objectives.items()}
        found = [entry("alone", name, model) for name, model in alone.items()]
        for share in self._shares():
            shares = {first: 1 - share} | dict.fromkeys(others, share / len(others))
            found.append(entry("mix", f"{share:g}", tune(self.base, mixture(self.objectives, shares, self.seed))))
        for name in self.methods:
            found += [entry(name, shown, model) for shown, model in self._merges(name, alone)]
        return Comparison(tuple(found))

    def _shares(self) -> Sequence[float]:
        return (self.mix,) if isinstance(self.mix, (int, float)) else self.mix

    def _merges(self, name: str, alone: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        method = method_named(name)
        more = {**self.settings.get(name, {}), **({"base": self.base} if method.needs_base else {})}
        if "weights" not in method.settings:
            for t in self.grid:
                yield f"t {t:g}", merge(alone, method=method, seed=self.seed, t=t, **more).model()
            return
        for weights in itertools.product(self.grid, repeat=len(alone)):
            if sum(weights) == 0 or (name == "linear" and abs(sum(weights) - 1) > 1e-9):
                continue  # a linear merge only depends on the shares
            shown = "/".join(f"{w:g}" for w in weights)
            yield shown, merge(alone, method=method, seed=self.seed, weights=list(weights), **more).model()
