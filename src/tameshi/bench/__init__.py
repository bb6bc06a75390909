"""How a check is run, stored, judged and reported. Knows no paper."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tameshi.bench.result import Result
    from tameshi.bench.run import run_check

__all__ = ["Result", "run_check"]


def __getattr__(name: str) -> Any:
    if name == "run_check":
        from tameshi.bench.run import run_check

        return run_check
    if name == "Result":
        from tameshi.bench.result import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
