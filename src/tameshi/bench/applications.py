"""What `tameshi apply` can do, told without importing anything heavy."""

from __future__ import annotations

import ast
from pathlib import Path

import tameshi.checks


def names(slug: str) -> list[str]:
    """ "SLUG" and "SLUG NAME" for each `@apply` of a paper, read from its sources without running them."""
    found = []
    for node in (node for source in _sources(slug) for node in ast.parse(source.read_text(encoding="utf-8")).body):
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "apply":
                words = [a.value for a in call.args if isinstance(a, ast.Constant)]
                words += [k.value.value for k in call.keywords if k.arg == "name" and isinstance(k.value, ast.Constant)]
                found.append(" ".join(str(w) for w in words))
    return found


def _sources(slug: str) -> list[Path]:
    """The file of a paper's checks, or the files of its folder."""
    name = slug.replace("-", "_")
    folders = map(Path, tameshi.checks.__path__)
    found = ([*folder.glob(f"{name}.py"), *sorted((folder / name).glob("*.py"))] for folder in folders)
    return next(files for files in found if files)
