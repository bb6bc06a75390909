"""Mix data or merge models: the experiment of arXiv:2410.10801 on objectives, a trainer and scorers of your own.

    MixVsMerge(base, {"general": ds0, "safety": ds1}).run(train, {"general": score0, "safety": score1}).table()

One model is trained on a mix, one per objective on its data alone; the latter are merged by every method at every setting of a
grid. Settings are chosen on the validation scores and reported on the test scores, the mix's share like the merges' weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tameshi.merging.merge import merge
from tameshi.merging.method import method_named

Half = Literal["validation", "test"]
Train = Callable[[Any, Mapping[str, tuple[Any, float]]], Any]
Score = Callable[[Any, Half], float]


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
        objectives: name -> data, handed to `train`; the first is the general one, the others take `mix` of the mixture.
        mix: shares of the other objectives' data to try in the mixture, each in (0, 1); the paper has 0.15 only.
        methods: names of merge methods.
        grid: weights that each objective may have in a merge; the paper's.
        settings: method -> further settings of `merge`.
        seed: of random methods.

    Raises:
        ValueError: fewer than two objectives, an unknown method, or a share outside (0, 1).
    """

    base: Any
    objectives: Mapping[str, Any]
    mix: Sequence[float] = (0.15,)
    methods: Sequence[str] = ("linear", "slerp", "ties", "dare-ties")
    grid: Sequence[float] = (0, 0.3, 0.5, 0.7, 1)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.objectives) < 2:
            raise ValueError(f"two objectives are the least to mix or merge, got {len(self.objectives)}")
        for share in self.mix:
            if not 0 < share < 1:
                raise ValueError(f"a share of the mix must be between 0 and 1, got {share}")
        for name in self.methods:
            method = method_named(name)
            if method.count is not None and method.count != len(self.objectives):
                raise ValueError(f"{method.title} merges exactly {method.count} models, not {len(self.objectives)}")

    def run(self, train: Train, scores: Mapping[str, Score]) -> Comparison:
        """Train, merge and score.

        Args:
            train: (base, {objective: (data, share of the batch)}) -> a new model; it must leave the base as it is.
            scores: objective -> scorer of (model, "validation" or "test"); higher is better.
        """

        def entry(kind: str, setting: str, model: Any) -> Entry:
            halves = {
                half: {name: score(model, half) for name, score in scores.items()} for half in ("validation", "test")
            }
            return Entry(kind, setting, halves["validation"], halves["test"])

        first, *others = self.objectives
        alone = {name: train(self.base, {name: (data, 1.0)}) for name, data in self.objectives.items()}
        found = [entry("alone", name, model) for name, model in alone.items()]
        for share in self.mix:
            portions = {first: (self.objectives[first], 1 - share)}
            portions |= {name: (self.objectives[name], share / len(others)) for name in others}
            found.append(entry("mix", f"{share:g}", train(self.base, portions)))
        for name in self.methods:
            found += [entry(name, shown, model) for shown, model in self._merges(name, alone)]
        return Comparison(tuple(found))

    def _merges(self, name: str, alone: Mapping[str, Any]) -> Any:
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
