"""A policy tried on a model that is asked: who may be tested, and how many calls it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tameshi.evaluation.accounting import Estimate
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.messages import Answer, Message, Unanswered
from tameshi.evaluation.siege.defences import DEFENCES
from tameshi.evaluation.siege.games import METHODS
from tameshi.evaluation.siege.meter import FactMeter, JudgeMeter, Meter
from tameshi.evaluation.siege.policy import VAULT, Policy, PolicyError
from tameshi.evaluation.siege.search import SearchResult, Target
from tameshi.evaluation.siege.tester import ModelTester, ScriptedTester, Tester

GAME = "Visit number "


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
        defence: by name, from `DEFENCES`; "none" for the bare model.
        max_queries: to the target, in one run.
    """

    policy: Policy = VAULT
    method: str = "tree"
    turns: int = 5
    branches: int = 3
    kept: int = 6
    defence: str = "none"
    max_queries: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.defence not in ("none", *DEFENCES):
            raise ValueError(f"defence must be none or one of {', '.join(DEFENCES)}, got {self.defence!r}")
        if self.defence != "none" and not self.policy.facts:
            raise PolicyError(f"the defence {self.defence!r} counts facts, and the policy has none")

    def estimate(self, runs: int, *, tester: bool = False) -> Estimate:
        """The most calls of so many runs, retries aside."""
        queries = METHODS[self.method].most(self.turns, self.branches, self.kept)
        queries = queries if self.max_queries is None else min(queries, self.max_queries)
        calls = {"target": runs * queries}
        if tester:
            calls["tester"] = 2 * calls["target"]
        if not self.policy.facts:
            calls["judge"] = 4 * calls["target"]
        return Estimate(calls)

    async def run(
        self,
        target: Asker,
        *,
        seed: int,
        tester: Asker | None = None,
        judge: Asker | None = None,
        together: bool = True,
        opening: str | None = None,
    ) -> SearchResult:
        """One run.

        Args:
            target: the model, privately asked.
            seed: of the tester's draws.
            tester: a model that writes the messages; None for the scripted tester.
            judge: a model that scores the replies; needed if the policy has no facts.
            together: send all messages of a turn at once.
            opening: system prompt in place of the policy's.

        Raises:
            PolicyError: nothing to measure: neither facts nor judge.
        """
        meter: Meter
        if self.policy.facts:
            meter = FactMeter(self.policy)
        elif judge is not None:
            meter = JudgeMeter(self.policy, judge)
        else:
            raise PolicyError("nothing to measure: the policy has no facts, and no judge was given")
        asked: Target = AskedTarget(target)
        if self.defence != "none":
            asked = DEFENCES[self.defence](asked, FactMeter(self.policy))
        asking: Tester = ScriptedTester()
        if tester is not None:
            asking = ModelTester(tester, self.policy.rule, self.policy.allowed_topics)
        search = METHODS[self.method].build(
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
        return await search.run(together=together)


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
