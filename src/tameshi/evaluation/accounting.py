"""Calls and tokens: what a run will cost, what it has cost, and the line that it does not cross."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf


class TooManyCalls(ValueError):
    """The estimate of a run is above the calls it may make, so it does not start."""


@dataclass(frozen=True)
class Estimate:
    """The most calls that a run can make, by role ({"target": 75, "judge": 75}), retries aside."""

    calls: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{count:,} {role}" for role, count in self.calls.items())
        return f"at most {self.total:,} calls ({parts})"

    def check(self, max_calls: int | None) -> Estimate:
        """Return itself if the run fits.

        Raises:
            TooManyCalls: with both numbers, and what to do.
        """
        if max_calls is not None and self.total > max_calls:
            raise TooManyCalls(
                f"this would take {self}, but --max-calls allows {max_calls:,}; raise it, or ask for less"
            )
        return self

    def shares(self, max_calls: int | None) -> dict[str, int | None]:
        """What each role may spend so that, retries included, all together stay within the limit; None without one."""
        if max_calls is None:
            return dict.fromkeys(self.calls)
        return {role: count * max_calls // max(1, self.total) for role, count in self.calls.items()}

    def announce(self) -> None:
        """Tell the reader on standard error, before anything is sent."""
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text(f"This run will make {self}."))


@dataclass
class Ledger:
    """Counts calls and tokens by role, and refuses the call after the last one allowed.

    Every attempt counts, also one that failed: that is what an endpoint bills and what a rate limit sees.

    Args:
        max_calls: of all roles together; None for no limit.
    """

    max_calls: int | None = None
    calls: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    whole: Ledger | None = None

    def __post_init__(self) -> None:
        if self.max_calls is not None and self.max_calls < 0:
            raise ValueError(f"max_calls must be at least 0, got {self.max_calls}")

    @property
    def left(self) -> float:
        """Calls that may still be made; infinite without a limit."""
        own = inf if self.max_calls is None else self.max_calls - self.calls.total()
        return own if self.whole is None else min(own, self.whole.left)

    def charge(self, role: str) -> bool:
        """Book one attempt before it is made; False, and nothing is booked, when none is left."""
        if self.left < 1:
            return False
        if self.whole is not None:
            self.whole.charge(role)
        self.calls[role] += 1
        return True

    def part(self) -> Ledger:
        """A ledger that counts its calls apart; they are booked here as well, with their tokens and silences."""
        return Ledger(tokens=self.tokens, unanswered=self.unanswered, whole=self)

    def __str__(self) -> str:
        spent = ", ".join(f"{role} {count:,}" for role, count in sorted(self.calls.items())) or "none"
        limit = "" if self.max_calls is None else f" of {self.max_calls:,}"
        return f"{self.calls.total():,}{limit} calls ({spent}), {self.tokens.total():,} tokens"
