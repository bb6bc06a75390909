"""A policy tried on a model that is asked: who may be tested, and how many calls it takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.messages import Answer, Ask, Message, Unanswered
from tameshi.evaluation.siege.conversation import SearchResult, Target
from tameshi.evaluation.siege.defences import DEFENCES
from tameshi.evaluation.siege.games import named
from tameshi.evaluation.siege.meter import FactMeter, JudgeMeter, Meter
from tameshi.evaluation.siege.policy import VAULT, Policy, PolicyError
from tameshi.evaluation.siege.tester import ModelTester, ScriptedTester, Tester

if TYPE_CHECKING:
    from inspect_ai.model import Model

GAME = "Visit number "
NOTHING = "nothing to measure: the policy has no facts, and no judge was given"
SILENT = "no reply came, or none got a verdict"


class AskedTarget:
    """A target that is asked; nothing of the exchange is logged."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    async def reply(self, messages: Sequence[Message]) -> str | Unanswered:
        answer = await self._ask(messages)
        return answer.text if isinstance(answer, Answer) else answer


@dataclass(frozen=True)
class Trial:
    """What is tried on a model.

    Args:
        policy: the rule under test.
        method: by name, from `METHODS`.
        turns, branches, kept: T, B, K.
        restarts: of a single path; as the method's name says if None.
        defence: by name, from `DEFENCES`; "none" for the bare model.
        max_queries: to the target, in one run.

    Raises:
        ValueError: no such method or defence, numbers below 1.
        PolicyError: a defence that counts facts, and a policy without any.
    """

    policy: Policy = VAULT
    method: str = "tree"
    turns: int = 5
    branches: int = 3
    kept: int = 6
    restarts: int | None = None
    defence: str = "none"
    max_queries: int | None = None

    def __post_init__(self) -> None:
        named(self.method, self.restarts)
        for name in ("turns", "branches", "kept", "restarts", "max_queries"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.defence not in ("none", *DEFENCES):
            raise ValueError(f"defence must be none or one of {', '.join(DEFENCES)}, got {self.defence!r}")
        if self.defence != "none" and not self.policy.facts:
            raise PolicyError(f"the defence {self.defence!r} counts facts, and the policy has none")

    def estimate(self, runs: int, *, tester: bool = False) -> Estimate:
        """The most calls of so many runs, retries aside."""
        queries = named(self.method, self.restarts).most(self.turns, self.branches, self.kept)
        queries = queries if self.max_queries is None else min(queries, self.max_queries)
        calls = {"target": runs * queries}
        if tester:
            calls["tester"] = 2 * calls["target"]
        if not self.policy.facts:
            calls["judge"] = 4 * calls["target"]
        return Estimate(calls)

    async def run(
        self,
        target: Model | Ask,
        *,
        seed: int,
        ledger: Ledger | None = None,
        tester: Model | Ask | None = None,
        judge: Model | Ask | None = None,
        together: bool = True,
        opening: str | None = None,
        temperature: float | None = None,
    ) -> SearchResult:
        """One run. Whatever is asked and answered stays out of Inspect's log.

        Args:
            target: the model under test.
            seed: of the tester's draws.
            ledger: where the calls of all roles are booked.
            tester: a model that writes the messages; None for the scripted tester.
            judge: a model that scores the replies; needed if the policy has no facts.
            together: send all messages of a turn at once.
            opening: system prompt in place of the policy's.
            temperature: of the target's replies; the provider's own if None.

        Raises:
            PolicyError: nothing to measure: neither facts nor judge.
        """
        if not self.policy.facts and judge is None:
            raise PolicyError(NOTHING)
        _warn_of_one_family({"target": target, "tester": tester, "judge": None if self.policy.facts else judge})
        books = (Ledger() if ledger is None else ledger).part()
        warmth: dict[str, Any] = {} if temperature is None else {"temperature": temperature}

        def ask(model: Model | Ask, role: str, **settings: Any) -> Asker:
            return Asker(model, role=role, ledger=books, private=True, **settings)

        meter: Meter = FactMeter(self.policy) if self.policy.facts else JudgeMeter(self.policy, ask(judge, "judge"))  # type: ignore[arg-type]  # it is there
        asked: Target = AskedTarget(ask(target, "target", **warmth))
        if self.defence != "none":
            asked = DEFENCES[self.defence](asked, FactMeter(self.policy))
        asking: Tester = ScriptedTester(subject=self.policy.subject)
        if tester is not None:
            asking = ModelTester(ask(tester, "tester"), self.policy.rule, self.policy.allowed_topics)
        search = named(self.method, self.restarts).build(
            asked,
            asking,
            meter,
            turns=self.turns,
            branches=self.branches,
            kept=self.kept,
            opening=self.policy.system if opening is None else opening,
            max_queries=self.max_queries,
            rng=np.random.default_rng([7, seed]),
        )
        result = await search.run(together=together)
        return replace(result, tactics=_without_facts(result.tactics, self.policy), calls=dict(books.calls))


def allowed(policy: str, *, local: bool, own: bool) -> Policy:
    """The policy to test, if this model may be tested with it.

    Args:
        policy: "vault" for the benign game, or the path of a policy file.
        local: nothing leaves this machine.
        own: the user says that the model is theirs.

    Raises:
        PolicyError: an endpoint elsewhere without a policy file of the user's, or without the statement that it is theirs.
    """
    if not local and policy == "vault":
        raise PolicyError(
            "an endpoint beyond this machine is tested on its owner's own policy only; pass --policy FILE"
        )
    if not local and not own:
        raise PolicyError(
            "an endpoint beyond this machine is tested by its owner only; pass --i-own-this-model if it is yours"
        )
    return VAULT if policy == "vault" else Policy.read(policy)


def opening_of(policy: Policy, run: int) -> str:
    """The system prompt; in the vault game with the number of the visit, by which a scripted target knows its world."""
    return f"{policy.system}\n{GAME}{run}." if policy == VAULT else policy.system


def _without_facts(tactics: tuple[str, ...], policy: Policy) -> tuple[str, ...]:
    """A tester that is a model names its tactics itself, and might name one after a fact."""
    if not policy.facts:
        return tactics
    meter = FactMeter(policy)
    return tuple("[a fact]" if meter.facts_in(tactic) else tactic for tactic in tactics)


def _warn_of_one_family(roles: Mapping[str, Model | Ask | None]) -> None:
    names = {
        role: str(model).rpartition("/")[2].partition("-")[0]
        for role, model in roles.items()
        if model is not None and not callable(model)
    }
    if len(names) > 1 and len(set(names.values())) < len(names):
        warnings.warn(
            "tester, target and judge share a family of models; their mistakes are correlated",
            UserWarning,
            stacklevel=3,
        )
