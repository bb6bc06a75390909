from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_table_on_the_page_is_that_of_the_stored_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script sets its own
    spec = importlib.util.spec_from_file_location("benchmarks_kv", BENCHMARKS / "kv.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    results = json.loads((BENCHMARKS / "kv.json").read_text(encoding="utf-8"))
    assert benchmark.as_markdown(results) in (BENCHMARKS / "README.md").read_text(encoding="utf-8")
