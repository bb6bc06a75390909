"""How fast the arithmetic of the evaluation wing is, with the routes that it replaces beside it.

    OMP_NUM_THREADS=1 python benchmarks/evaluation_core.py

Prints one JSON object; all times are CPU milliseconds of one thread, best of several. Goals: matrix entropy by the Gram side at
least 20 times (512 tokens, width 1,024) and 100 times (width 2,048) faster than through the (d, d) matrix, equal to 1e-6; the
matrix nuclear norm of X within 2 passes over X, where X is larger than the processor's cache; 1,500 puzzle labels under 1 s; a
hostile clue refused within 10 ms.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable

import torch

from tameshi.evaluation.finereason import UnsafeClueError, build_items, parse_clue
from tameshi.evaluation.finereason.game24 import reaches, shape, value, values
from tameshi.evaluation.matrix_nuclear_norm import (
    column_norms,
    matrix_entropy,
    matrix_nuclear_norm,
    normalised,
    nuclear_norm,
)

SIZES = ((512, 512), (512, 1024), (1024, 1024), (512, 2048))


def milliseconds(work: Callable[[], object], times: int = 20) -> float:
    """Least CPU time of this thread."""
    found = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        found.append(time.thread_time() - begun)
    return round(1e3 * min(found), 3)


def scores(tokens: int, width: int) -> dict[str, float]:
    """Every score on the same hidden states, centred and scaled beforehand ("metric alone") and not ("from raw")."""
    raw = torch.randn(tokens, width, generator=torch.Generator().manual_seed(0))
    x = normalised(raw)
    gram = milliseconds(lambda: matrix_entropy(x, normalize=False))
    official = milliseconds(lambda: matrix_entropy(x, normalize=False, method="official"), 3)
    apart = abs(float(matrix_entropy(raw)) - float(matrix_entropy(raw, method="official")))
    single_pass = milliseconds(x.sum, 100)
    mnn = milliseconds(lambda: matrix_nuclear_norm(x, normalize=False), 100)
    return {
        "one pass over X": single_pass,
        "column norms": milliseconds(lambda: column_norms(x), 100),
        "mnn of X": mnn,
        "mnn of X, in passes": round(mnn / single_pass, 2),
        "mnn, from raw": milliseconds(lambda: matrix_nuclear_norm(raw)),
        "gram nuclear norm": milliseconds(lambda: nuclear_norm(x, normalize=False)),
        "svd nuclear norm": milliseconds(lambda: nuclear_norm(x, normalize=False, method="svd"), 2),
        "gram entropy": gram,
        "gram entropy, from raw": milliseconds(lambda: matrix_entropy(raw)),
        "official entropy": official,
        "times faster": round(official / gram, 1),
        "difference": apart,
    }


def labels() -> dict[str, float]:
    """CPU seconds for 500 labels of each kind, no cache warm."""
    found = {}
    for kind in ("sudoku", "graph_coloring", "game24"):
        items = build_items(kind, 500, seed=1)
        for cached in (reaches, shape, value, values):
            cached.cache_clear()
        begun = time.process_time()
        wrong = sum(item.puzzle.solvable(item.current) is not (item.status == "Solvable") for item in items)
        found[f"500 {kind}"] = round(time.process_time() - begun, 4)
        assert wrong == 0
    return found | {"1,500 together": round(sum(found.values()), 4)}


def refusals() -> dict[str, float]:
    """Milliseconds to refuse one hostile clue: the slowest of a few kinds."""
    hostile = [
        "().__class__.__bases__[0].__subclasses__()",
        "9**9**9**9 == 1",
        "(" * 900,
        "+".join("1" * 900),
        "import os",
    ]

    def refuse(text: str) -> None:
        with contextlib.suppress(UnsafeClueError):
            parse_clue(text)

    return {"slowest refusal": max(milliseconds(lambda text=text: refuse(text)) for text in hostile)}  # type: ignore[misc]  # a default in a lambda


def main() -> None:
    torch.set_num_threads(1)
    made = {f"{n} tokens, width {d}": scores(n, d) for n, d in SIZES}
    json.dump({"milliseconds": made, "seconds": labels(), **refusals()}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
