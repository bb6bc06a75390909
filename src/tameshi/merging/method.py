"""A merge method: a plain function on the aligned tensors of one parameter.

    @merge_method("task-arithmetic", title="Task arithmetic", papers=("2212.04089",))
    def task_arithmetic(models: Sequence[Tensor], base: Tensor, *, weights: Sequence[float], scale: float = 1.0) ->
    Tensor: ...

Its signature says everything that the recipe and the command line need: a method that takes `base` is merged around
one, a keyword-only `Sequence[float]` is a setting per model, any other keyword a setting of the merge, and `draws`
asks for one random generator per model. Every number may also be a gradient, a list that is spread over the depth of
the model.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

METHODS: dict[str, MergeMethod] = {}


@dataclass(frozen=True)
class Setting:
    """One keyword of a method: per model or for the whole merge, with its default (None: must be given)."""

    name: str
    per_model: bool
    default: Any
    required: bool
    kind: str = ""

    def checked(self, value: Any) -> Any:
        """A value for one parameter.

        Raises:
            ValueError: no finite number where one is needed, or neither true nor false.
        """
        if "float" in self.kind:
            return number(self.name, value)
        if self.kind == "bool" and not isinstance(value, bool):
            raise ValueError(f"{self.name} must be true or false, got {value!r}")
        return value


@dataclass(frozen=True)
class MergeMethod:
    """A merge function with what its signature says; call it like the function."""

    name: str
    title: str
    papers: tuple[str, ...]
    function: Callable[..., Tensor]
    count: int | None = None

    def __call__(self, *args: Any, **settings: Any) -> Tensor:
        return self.function(*args, **settings)

    @cached_property
    def needs_base(self) -> bool:
        """Whether the models are merged around a common ancestor."""
        return "base" in inspect.signature(self.function).parameters

    @cached_property
    def needs_target(self) -> bool:
        """Whether the changes are put on another model than the base."""
        return "target" in inspect.signature(self.function).parameters

    @cached_property
    def draws(self) -> bool:
        """Whether the method is random."""
        return "draws" in inspect.signature(self.function).parameters

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """What can be set, by name."""
        found = {}
        for name, parameter in inspect.signature(self.function, eval_str=False).parameters.items():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or name == "draws":
                continue
            required = parameter.default is inspect.Parameter.empty
            per_model = str(parameter.annotation).startswith("Sequence")
            default = None if required else parameter.default
            found[name] = Setting(name, per_model, default, required, str(parameter.annotation))
        return found


def merge_method(
    name: str, *, title: str, papers: tuple[str, ...] = (), count: int | None = None
) -> Callable[[Callable[..., Tensor]], MergeMethod]:
    """Make a function a merge method that recipes know by `name`; `count` where it takes exactly so many models."""

    def decorate(function: Callable[..., Tensor]) -> MergeMethod:
        METHODS[name] = MergeMethod(name, title, papers, function, count)
        METHODS[name].__dict__["__doc__"] = function.__doc__
        return METHODS[name]

    return decorate


def number(name: str, value: Any) -> float:
    """A number that may multiply weights.

    Raises:
        ValueError: not a number, NaN or infinite: the whole result would be.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def method_named(name: str) -> MergeMethod:
    """The method of that name; dashes may be underscores, as the papers' code has them.

    Raises:
        ValueError: there is none; names all that there are.
    """
    found = METHODS.get(name.replace("_", "-"))
    if found is None:
        raise ValueError(f"there is no merge method {name!r}; the methods are {', '.join(sorted(METHODS))}")
    return found
