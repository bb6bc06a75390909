"""Which layer a parameter belongs to, and settings that change from layer to layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Granularity = Literal["block", "module", "tensor"]
GRANULARITIES = ("block", "module", "tensor")
_BLOCK = re.compile(r"^(.*?\.)?(\d+)\.")


def layer_of(name: str, granularity: Granularity = "block") -> str:
    """The layer that a parameter belongs to.

    A block is everything below the first number of the name (`model.layers.3`), experts and routers included;
    embeddings, the final norm and the head are layers of their own. A module is the part of a block below that
    (`model.layers.3.self_attn`).

    Raises:
        ValueError: no such granularity.
    """
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity must be block, module or tensor, got {granularity!r}")
    if granularity == "tensor":
        return name
    found = _BLOCK.match(name)
    if not found:
        return name.rsplit(".", 1)[0]
    block = name[: found.end() - 1]
    if granularity == "block":
        return block
    rest = name[found.end() :].split(".")
    return f"{block}.{rest[0]}" if len(rest) > 1 else block


def layers(names: Iterable[str], granularity: Granularity = "block") -> dict[str, list[str]]:
    """Layer -> its parameters, in the order in which data passes: embeddings, blocks by number, norm, head."""
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=_depth_first):
        found.setdefault(layer_of(name, granularity), []).append(name)
    return found


def is_block(layer: str) -> bool:
    """Whether a layer is a transformer block or part of one, rather than embedding, norm or head."""
    return bool(_BLOCK.match(f"{layer}."))


def is_embedding(name: str) -> bool:
    """Whether a parameter outside the blocks comes before them."""
    return any(word in name for word in ("embed", "wte", "wpe"))


def _depth_first(name: str) -> tuple[int, str, int, str]:
    found = _BLOCK.match(name)
    if found:
        return (1, found[1] or "", int(found[2]), name)
    if is_embedding(name):
        return (0, "", 0, name)
    return (3 if "head" in name else 2, "", 0, name)


def depth(name: str, blocks: int) -> float:
    """Where a parameter lies between the first block (0) and the last (1); embeddings 0, final norm and head 1."""
    found = _BLOCK.match(name)
    if found:
        return int(found[2]) / (blocks - 1) if blocks > 1 else 0.0
    return 0.0 if is_embedding(name) else 1.0


def count_blocks(names: Iterable[str]) -> int:
    """One more than the highest block number."""
    return 1 + max((int(found[2]) for name in names if (found := _BLOCK.match(name))), default=-1)


def gradient(anchors: Sequence[float], position: float) -> float:
    """The value at a position in [0, 1] between anchors that are spread evenly over the depth.

    [0, 0.5, 1] over five blocks gives 0, 0.25, 0.5, 0.75, 1 (the gradient weighting of arXiv:2410.10801).

    Raises:
        ValueError: no anchors.
    """
    if not anchors:
        raise ValueError("a gradient needs at least one number")
    at = position * (len(anchors) - 1)
    below = min(int(at), len(anchors) - 1)
    above = min(below + 1, len(anchors) - 1)
    share = at - below
    return (1 - share) * anchors[below] + share * anchors[above]


def resolve(setting: Any, name: str, position: float) -> Any:
    """The value of a setting for one parameter.

    Args:
        setting: a plain value; a list of numbers, which is a gradient; or a list of {"filter": part of a name,
            "value": ...}, of which the first that fits the name counts.
        name: of the parameter.
        position: its depth, in [0, 1].

    Raises:
        ValueError: no filter fits, or the list is of another kind.
    """
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, (list, tuple)):
        return setting
    if all(isinstance(part, (int, float)) for part in setting):
        return gradient(list(setting), position)
    for part in setting:
        if not isinstance(part, Mapping) or not set(part) <= {"filter", "value"} or "value" not in part:
            raise ValueError(f"a setting is a number, a list of numbers or a list of filter and value, got {setting!r}")
        wanted = part.get("filter")
        if wanted in (None, "*") or str(wanted) in name:
            return resolve(part["value"], name, position)
    raise ValueError(f"no filter of {setting!r} fits the parameter {name}; add one without a filter for the rest")
