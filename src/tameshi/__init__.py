"""Machine-learning papers as working parts, each with a test report attached.

>>> import tameshi
>>> result = tameshi.check("q-filters", model="./my-llama")  # doctest: +SKIP
>>> result.table()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tameshi.bench.result import Result

__all__ = ["__version__", "check"]
__version__ = "0.1.0"


def check(slug: str, **options: Any) -> Result:
    """Check a paper's claims; the options are those of `tameshi check SLUG --help`, and a subject may be given as an object.

    Args:
        slug: a paper's slug, arXiv id or address.
        options: `seeds=3`, `device="cuda"`, `model="./my-llama"`, ...; see `tameshi.bench.run.run_check`.

    Returns:
        The stored run: `.verdicts`, `.rows`, `.table()`, `.to_pandas()`, `.report(path)`.
    """
    from tameshi.bench.run import run_check
    from tameshi.bench.shelf import resolve

    return run_check(resolve(slug), **options)
