from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pytest

from tameshi.bench.signature import parameters, summary


class Stone:
    name = "stone"
    fingerprint = "0"

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        return cls()


def example(
    data: Stone = "specimen:stone",
    *,
    experts: dict[str, Stone] | None = None,
    many: tuple[Stone, ...] = (),
    caps: tuple[int, ...] = (64, 128),
    rate: float = 0.5,
    how: Literal["fast", "slow"] = "fast",
    place: Path | None = None,
    loud: bool = False,
    seed: int = 0,
):
    """What it does,
    in two lines.

    Args:
        caps: how much
            may be kept.
        rate, place: shared words.
    """


FOUND = {p.name: p for p in parameters(example)}


def test_every_parameter_but_the_seed_is_an_option():
    assert list(FOUND) == ["data", "experts", "many", "caps", "rate", "how", "place", "loud"]
    assert summary(example) == "What it does, in two lines."


def test_help_comes_from_the_docstring():
    assert FOUND["caps"].help == "how much may be kept."
    assert FOUND["rate"].help == FOUND["place"].help == "shared words."


def test_subjects_are_told_from_paths():
    assert [p.name for p in FOUND.values() if p.is_subject] == ["data", "experts", "many"]
    assert FOUND["experts"].metavar == "NAME=ADDRESS"


def test_values_are_read_into_their_types():
    assert FOUND["caps"].read(["32, 64", "128"]) == (32, 64, 128)
    assert FOUND["experts"].read(["math=./a", "code=./b"]) == {"math": "./a", "code": "./b"}
    assert FOUND["many"].read(["./a,b", "./c"]) == ("./a,b", "./c")
    assert FOUND["place"].read(["x"]) == Path("x")
    assert FOUND["how"].read(["slow"]) == "slow"


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("caps", "64,x", "--caps takes a whole number, got 'x'"),
        ("rate", "much", "--rate takes a number, got 'much'"),
        ("how", "often", "--how takes one of fast, slow, got 'often'"),
        ("experts", "./a", "--experts takes NAME=ADDRESS, got './a'"),
    ],
)
def test_a_wrong_value_says_what_the_option_takes(name, typed, said):
    with pytest.raises(ValueError, match=said):
        FOUND[name].read([typed])


def test_a_parameter_of_no_known_kind_is_a_mistake_of_the_check():
    def wrong(*, when: complex = 0):
        """Nothing."""

    with pytest.raises(TypeError, match=r"parameter when of .* is a <class 'complex'>"):
        parameters(wrong)
