"""Methods at equal cost: success over queries spent, the view that the paper lacks.

One tree costs many times what one path does, so that their success rates alone compare two budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tameshi.evaluation.siege.conversation import SearchResult
from tameshi.evaluation.siege.search import Search


async def until(search: Callable[[int], Search], max_queries: int, *, together: bool = False) -> int | None:
    """Repeat a method until it succeeds or has spent its queries.

    Args:
        search: makes the n-th attempt.
        max_queries: of all attempts together.

    Returns:
        Queries spent when it first succeeded; None if it never did.
    """
    spent = attempt = 0
    while spent < max_queries:
        method = search(attempt)
        method.max_queries = max_queries - spent
        result = await method.run(together=together)
        spent, attempt = spent + result.queries, attempt + 1
        if result.success:
            return spent
        if result.queries == 0:
            return None
    return None


def until_success(results: Sequence[SearchResult]) -> list[int | None]:
    """The same, read off runs that were made anyway: nothing more is asked.

    Returns:
        For every run, the queries of it and of the runs after it (the first follows the last), up to the first success; None if
        no run succeeded.
    """
    spent: list[int | None] = []
    for first in range(len(results)):
        queries, found = 0, None
        for result in (*results[first:], *results[:first]):
            queries += result.queries
            if result.success:
                found = queries
                break
        spent.append(found)
    return spent


def equal_budget_curve(spent: Iterable[int | None], budgets: Sequence[int]) -> list[float]:
    """Share of games won within each budget of queries; it never falls.

    Args:
        spent: of every game, the queries at its first success, or None.
        budgets: in queries.
    """
    games = list(spent)
    return [sum(s is not None and s <= budget for s in games) / max(len(games), 1) for budget in budgets]
