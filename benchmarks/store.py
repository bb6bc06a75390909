"""A store of a million rows: how long the list of runs and the report of one run take, and how large the page is.

python benchmarks/store.py [--rows 1000000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from tameshi.bench.report import render
from tameshi.bench.result import Result
from tameshi.bench.store import Store
from tameshi.nouns import Cost, Row

METHODS = 23


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    count = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TAMESHI_HOME"] = folder
        with Store() as store:
            run = store.begin("q-filters", "benchmark", {"command": ["benchmarks/store.py"]})
            began = time.perf_counter()
            for start in range(0, count, 10_000):
                store.adopt_rows(run.id, (row(i) for i in range(start, min(start + 10_000, count))))
            print(f"{count:,} rows written in {time.perf_counter() - began:.1f} s")
            store.finish(run.id, {})
            began = time.perf_counter()
            store.runs(limit=20)
            print(f"runs listed in {time.perf_counter() - began:.3f} s")
            began = time.perf_counter()
            page = render(Result.of(store, run.id))
            print(f"report in {time.perf_counter() - began:.2f} s, {len(page.encode()) / 1e6:.2f} MB")


def row(i: int) -> Row:
    conditions = {"scale": i // METHODS % 10}
    return Row(
        "adding",
        f"method {i % METHODS}",
        conditions,
        i // METHODS // 10,
        values={"value": float(i % 97)},
        cost=Cost(0.1, 0.1),
    )


if __name__ == "__main__":
    main()
