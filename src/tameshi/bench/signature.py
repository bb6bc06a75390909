"""A function's signature is its command line: which options it has, of what type, with which words of help.

A parameter annotated with a kind of subject takes an address; `tuple[Kind, ...]` takes several; `dict[str, Kind]` takes
NAME=ADDRESS several times. All others are numbers, words, flags, paths or tuples of these.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable


@runtime_checkable
class Subject(Protocol):
    """What a check runs on. `name` is for people, `fingerprint` is the hash of the content."""

    name: str
    fingerprint: str

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self: ...


GIVEN = {"seed"}  # by the runner, never by an option


@dataclass(frozen=True)
class Parameter:
    """One option.

    Args:
        name: of the parameter; the option is the same with dashes.
        type: the innermost type: a subject class, int, float, str, bool, Path.
        shape: "one", "tuple" (several values) or "dict" (NAME=VALUE several times).
        choices: the words of a Literal; empty if free.
        optional: None is allowed.
        default: as in the signature; `inspect.Parameter.empty` if it must be given.
        help: from the docstring's Args section.
        positional: an argument rather than an option (only for `apply`: parameters before the `*`).
    """

    name: str
    type: Any
    shape: Literal["one", "tuple", "dict"] = "one"
    choices: tuple[str, ...] = ()
    optional: bool = False
    default: Any = inspect.Parameter.empty
    help: str = ""
    positional: bool = False

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_subject(self) -> bool:
        # `Path.open` is a plain function on the class; a subject's `open` is a classmethod
        return isinstance(self.type, type) and inspect.ismethod(getattr(self.type, "open", None))

    @property
    def metavar(self) -> str:
        """What stands behind the option in the help."""
        if self.choices:
            return "|".join(self.choices)
        word = "ADDRESS" if self.is_subject else str(getattr(self.type, "__name__", "text")).upper()
        word = {"INT": "N", "STR": "TEXT", "FLOAT": "X"}.get(word, word)
        return {"one": word, "tuple": f"{word},...", "dict": f"NAME={word}"}[self.shape]

    def read(self, given: Sequence[str]) -> Any:
        """The value of what was typed, one string for each time the option was given.

        Raises:
            ValueError: saying what the option takes and what came.
        """
        if self.shape == "dict":
            pairs = [text.partition("=") for text in given]
            if any(not name or not mark or not value for name, mark, value in pairs):
                raise ValueError(
                    f"{self.option} takes NAME={'ADDRESS' if self.is_subject else self._word()}, got {given[0]!r}"
                )
            return {name: self._one(value) for name, _, value in pairs}
        if self.shape == "tuple":
            split = given if self.is_subject else [part for text in given for part in text.split(",") if part.strip()]
            return tuple(self._one(part.strip()) for part in split)
        return self._one(given[-1])

    def _one(self, text: str) -> Any:
        if self.choices and text not in self.choices:
            raise ValueError(f"{self.option} takes one of {', '.join(self.choices)}, got {text!r}")
        if self.type is bool:
            if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
                raise ValueError(f"{self.option} takes true or false, got {text!r}")
            return text.lower() in {"true", "1", "yes"}
        if self.type in (int, float, Path):
            try:
                return self.type(text)
            except ValueError:
                raise ValueError(f"{self.option} takes {self._word()}, got {text!r}") from None
        return text

    def _word(self) -> str:
        return {int: "a whole number", float: "a number", Path: "a path"}.get(self.type, "a text")


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The options of a check or apply function, in the order of its signature.

    Raises:
        TypeError: a parameter's annotation is missing or of no known kind (a mistake in the function, not of the user).
    """
    hints = typing.get_type_hints(function)
    told = argument_help(function)
    found: list[Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in GIVEN:
            continue
        if name not in hints:
            raise TypeError(f"parameter {name} of {function.__qualname__} needs an annotation; it becomes an option")
        found.append(_parameter(name, hints[name], parameter, told.get(name, ""), function.__qualname__))
    return found


def _parameter(name: str, hint: Any, parameter: inspect.Parameter, told: str, owner: str) -> Parameter:
    shape: Literal["one", "tuple", "dict"] = "one"
    optional = False
    choices: tuple[str, ...] = ()
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        optional = len(inner) < len(typing.get_args(hint))
        if len(inner) > 1:
            inner = [arg for arg in inner if arg is not str]
        hint = inner[0]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (tuple, list, Sequence):
        shape, hint = "tuple", args[0]
    elif origin in (dict, Mapping):
        shape, hint = "dict", args[1]
    if typing.get_origin(hint) is Literal:
        choices, hint = tuple(str(arg) for arg in typing.get_args(hint)), type(typing.get_args(hint)[0])
    positional = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    made = Parameter(name, hint, shape, choices, optional, parameter.default, told, positional)
    if not made.is_subject and hint not in (int, float, str, bool, Path):
        raise TypeError(f"parameter {name} of {owner} is a {hint}, which is no subject and no plain option")
    return made


def summary(function: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """What the Args section of a docstring says of each parameter."""
    lines = (inspect.getdoc(function) or "").splitlines()
    if "Args:" not in lines:
        return {}
    told: dict[str, str] = {}
    current: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = re.match(r"    (\w[\w, ]*): (.*)", line)
        if entry and not line.startswith("     "):
            current = [name.strip() for name in entry[1].split(",")]
            told.update(dict.fromkeys(current, entry[2].strip()))
        elif current and line.strip():
            told.update({name: f"{told[name]} {line.strip()}" for name in current})
    return told
