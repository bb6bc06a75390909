"""What the shelf holds for a paper: its checks, rules, figures and applications, found by the name of its file."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
from dataclasses import dataclass

import tameshi.checks
from tameshi.nouns import Apply, Check, Figure, Rule


@dataclass(frozen=True)
class Stand:
    """Everything that `checks/SLUG.py`, or the `__init__` of a folder in its place, holds, in the order in which it stands there."""

    slug: str
    checks: tuple[Check, ...]
    rules: tuple[Rule, ...]
    figures: tuple[Figure, ...]
    applications: tuple[Apply, ...]

    def check(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise ValueError(f"{self.slug} has no check {name!r}; it has {', '.join(c.name for c in self.checks)}")


def built() -> list[str]:
    """Slugs of the papers whose check is built, without importing any of them."""
    return sorted(name.replace("_", "-") for _, name, _ in pkgutil.iter_modules(tameshi.checks.__path__))


def stand(slug: str) -> Stand:
    """Import a paper's file and collect what is in it.

    Raises:
        ValueError: no paper of that name has a check.
        ImportError: a library of its wing is missing; the sentence names the command that installs it.
    """
    if slug not in built():
        raise ValueError(f"the check of {slug} is not built yet; built are: {', '.join(built())}")
    module = importlib.import_module(f"tameshi.checks.{slug.replace('-', '_')}")
    held = list(vars(module).values())
    return Stand(
        slug,
        tuple(x for x in held if isinstance(x, Check)),
        tuple(getattr(module, "RULES", ())),
        tuple(x for x in held if isinstance(x, Figure)),
        tuple(x for x in held if isinstance(x, Apply)),
    )


def resolve(text: str) -> str:
    """The slug that a slug, an arXiv id or an arXiv address means.

    Raises:
        ValueError: none fits; names the nearest.
    """
    from tameshi.catalogue import papers

    shelf = papers()
    if text in shelf:
        return text
    number = re.search(r"(\d{4}\.\d{4,5})(v\d+)?", text)
    if number:
        found = next((paper.slug for paper in shelf.values() if paper.arxiv == number[1]), None)
        if found is None:
            raise ValueError(f"arXiv {number[1]} is not on the shelf; `tameshi papers` lists what is")
        return found
    near = difflib.get_close_matches(text, list(shelf), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`tameshi papers` lists all"
    raise ValueError(f"there is no paper {text!r} on the shelf; {hint}")
