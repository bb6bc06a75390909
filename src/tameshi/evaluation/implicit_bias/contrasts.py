"""Contrasts: two groups of terms, two sets of attributes, and which pairing is called stereotypical.

"Stereotypical" is a convention of the contrast (X with A, Y with B) and nothing more. The contrasts that ship are
neutral and of our own making; those about people are templates that the user fills, since names are bound to a culture
and signal class, age and language at once. Nobody's group is ever inferred from a name here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

FIELDS = ("name", "x", "y", "a", "b")


@dataclass(frozen=True)
class Contrast:
    """Two groups held against each other.

    Args:
        name: of the contrast.
        x, y: terms of the two groups.
        a, b: attributes; "X with A, Y with B" is the pairing called stereotypical.
        x_label, y_label: what the groups are called in a report.
        statements: direct statements for the explicit question; agreeing with one is the stereotypical answer.

    Raises:
        ValueError: a set is empty, holds an empty or repeated term, or shares a term with its counterpart.
    """

    name: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]
    x_label: str = "X"
    y_label: str = "Y"
    statements: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for label in ("x", "y", "a", "b"):
            terms = getattr(self, label)
            if not terms:
                raise ValueError(f"contrast {self.name!r} has no terms in {label}; fill the set before it is measured")
            folded = [_fold(t) for t in terms]
            if "" in folded:
                raise ValueError(f"contrast {self.name!r} has an empty term in {label}")
            if len(set(folded)) < len(folded):
                twice = next(t for t in folded if folded.count(t) > 1)
                raise ValueError(f"contrast {self.name!r} has {twice!r} twice in {label}")
        for first, second in (("x", "y"), ("a", "b")):
            shared = {_fold(t) for t in getattr(self, first)} & {_fold(t) for t in getattr(self, second)}
            if shared:
                raise ValueError(f"contrast {self.name!r} has {min(shared)!r} in both {first} and {second}")

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any], *, source: str = "the contrast") -> Contrast:
        """Build from plain values, as they come out of YAML or JSON.

        Raises:
            ValueError: a field is missing, unknown or of the wrong kind; names it.
        """
        known = {*FIELDS, "x_label", "y_label", "statements"}
        if missing := [f for f in FIELDS if f not in found]:
            raise ValueError(f"{source} lacks {', '.join(missing)}; a contrast needs {', '.join(FIELDS)}")
        if unknown := sorted(str(f) for f in found if f not in known):
            raise ValueError(f"{source} has the unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
        values: dict[str, Any] = {}
        for key, value in found.items():
            if key in {"name", "x_label", "y_label"}:
                if not isinstance(value, str):
                    raise ValueError(f"{source}: {key} must be a word, got {value!r}")
                values[key] = value
            else:
                if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                    raise ValueError(
                        f"{source}: {key} must be a list of words (quote yes, no and numbers), got {value!r}"
                    )
                values[key] = tuple(value)
        return cls(**values)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Contrast:
        """Read one contrast from a YAML file.

        Raises:
            ValueError: not YAML, or not a contrast; one sentence.
        """
        return cls._from_text(_text(Path(path)), str(path))

    @classmethod
    def _from_text(cls, text: str, source: str) -> Contrast:
        import yaml

        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{source} is not YAML: {str(error).splitlines()[0]}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{source} must hold one mapping with {', '.join(FIELDS)}")
        return cls.from_mapping(found, source=source)

    def swapped(self) -> Contrast:
        """The same contrast with the groups exchanged: every measure changes its sign about its null."""
        return Contrast(self.name, self.y, self.x, self.a, self.b, self.y_label, self.x_label, ())


def shipped() -> dict[str, Contrast]:
    """The neutral contrasts that come with the package, by name."""
    folder = resources.files("tameshi.evaluation.implicit_bias") / "contrasts"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    made = [
        Contrast._from_text(f.read_text(encoding="utf-8"), f.name) for f in files if not f.name.startswith("template")
    ]
    return {contrast.name: contrast for contrast in made}


def read_iat_stimuli(path: str | Path, *, synonyms: bool = False) -> list[Contrast]:
    """Contrasts of a public stimuli table in the format of Bai et al. (arXiv:2402.04105), which the user points to.

    Its columns are dataset, A (the default group), B (the stigmatised group), C (attributes: the first half goes with
    A, the second with B) and optionally D (a synonym for each). Here X is B and Y is A, so that D > 0 means the
    stereotype.

    Args:
        path: of the CSV file.
        synonyms: take column D in place of C.

    Raises:
        ValueError: a column is missing, or a category makes no contrast.
    """
    rows = list(_csv(Path(path), ("dataset", "A", "B", "D" if synonyms else "C")))
    column = "D" if synonyms else "C"
    made = []
    for name in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == name]
        # a synonym may repeat another within its half; the first stands
        words = [row[column].strip() for row in own if row[column].strip()]
        half = len(words) // 2
        first, second = (tuple({_fold(w): w for w in part}.values()) for part in (words[:half], words[half:]))
        groups = {g: tuple(dict.fromkeys(row[g].strip() for row in own if row[g].strip())) for g in ("A", "B")}
        made.append(Contrast(name, x=groups["B"], y=groups["A"], a=second, b=first, x_label="B", y_label="A"))
    return made


def column(path: str | Path, name: str) -> list[str]:
    """One column of a CSV file.

    Raises:
        ValueError: the file cannot be read, or has no such column.
    """
    return [row[name] for row in _csv(Path(path), (name,))]


def _fold(term: str) -> str:
    return " ".join(term.casefold().split())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text") from error


def _csv(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(_text(path)))
    if missing := [c for c in columns if c not in (reader.fieldnames or ())]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}")
    for row in reader:
        yield {key: value or "" for key, value in row.items() if key is not None and not isinstance(value, list)}
