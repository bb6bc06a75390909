"""Natural text and code that every Python installation carries: the standard library's own documentation and sources.

`prose` is its docstrings and the language reference that `help()` shows; `code` is its functions. Split by file, so that
no file lies in two parts, and drawn in a seeded order that does not depend on the machine.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

Kind = Literal["prose", "code"]
Part = Literal["train", "validation", "test"]
SHARES: dict[Part, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
WORDS_AT_LEAST = 20  # a docstring of fewer says too little to be a document


@dataclass(frozen=True)
class Document:
    """One text and the file it comes from."""

    text: str
    file: str


def corpus(kind: Kind, *, part: Part | None = None, seed: int = 0, limit: int | None = None) -> list[Document]:
    """Documents of the standard library in a seeded order.

    Args:
        kind: "prose" or "code".
        part: "train" (8 of 10 files), "validation", "test"; None for all. Which file is in which part does not depend on the seed.
        seed: of the order.
        limit: at most so many.

    Raises:
        ValueError: an unknown kind or part.
    """
    if kind not in ("prose", "code"):
        raise ValueError(f"the corpora are prose and code, got {kind!r}")
    if part is not None and part not in SHARES:
        raise ValueError(f"the parts are {', '.join(SHARES)}, got {part!r}")
    held = [d for d in _all(kind) if part is None or part_of(d.file) == part]
    order = np.random.default_rng(seed).permutation(len(held))
    return [held[i] for i in order[:limit]]


def part_of(file: str) -> Part:
    """Which part a file belongs to, by the hash of its name."""
    place = int.from_bytes(hashlib.sha256(file.encode()).digest()[:8]) / 2**64
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    return "test"


def texts(name: str, *, seed: int = 0, limit: int | None = None) -> list[str]:
    """The texts of "prose", "code", or "prose/train" and the like."""
    kind, _, part = name.partition("/")
    return [d.text for d in corpus(kind, part=part or None, seed=seed, limit=limit)]  # type: ignore[arg-type]  # refused there


@cache
def _all(kind: Kind) -> tuple[Document, ...]:
    root = Path(sysconfig.get_path("stdlib"))
    found = list(_topics()) if kind == "prose" else []
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if (
            name.split("/")[0] in {"site-packages", "test", "idlelib", "lib2to3", "ensurepip"}
            or "/test" in name
            or "pydoc_data" in name
        ):
            continue
        found += _documents(kind, file, name)
    return tuple({d.text: d for d in reversed(found)}.values())[
        ::-1
    ]  # a text that stands twice is kept where it stood first


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield Document(text.strip(), f"topics/{name}")


def _documents(kind: Kind, file: Path, name: str) -> Iterator[Document]:
    try:
        source = file.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (UnicodeDecodeError, SyntaxError):
        return  # a few files hold examples of bad source on purpose
    lines = source.splitlines()
    for node in ast.walk(tree):
        if kind == "code" and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield Document(inspect.cleandoc("\n".join(["", *lines[first - 1 : node.end_lineno]])), name)
        elif kind == "prose" and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            told = ast.get_docstring(node)
            if told and len(told.split()) >= WORDS_AT_LEAST:
                yield Document(told, name)
