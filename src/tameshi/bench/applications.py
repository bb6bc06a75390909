"""What `tameshi apply` can do, told without importing anything heavy."""

from __future__ import annotations

import ast
from pathlib import Path

import tameshi.checks


def names(slug: str) -> list[str]:
    """ "SLUG" and "SLUG NAME" for each `@apply` in a paper's file, read from its source without running it."""
    places = (Path(folder) / f"{slug.replace('-', '_')}.py" for folder in tameshi.checks.__path__)
    file = next(place for place in places if place.is_file())
    found = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "apply":
                words = [a.value for a in call.args if isinstance(a, ast.Constant)]
                words += [k.value.value for k in call.keywords if k.arg == "name" and isinstance(k.value, ast.Constant)]
                found.append(" ".join(str(w) for w in words))
    return found
