"""A member of a family, read under every control, against what each control says it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm import Member, matrix_nuclear_norm, null_score, untrained_twin
from tameshi.specimens import width_family

TEXTS = width_family.texts(3, seed=9, length=16)


@pytest.fixture(scope="module")
def member() -> Member:
    return Member(32, lambda: width_family.untrained(32, seed=1), lambda: TEXTS, seed=1)


def score(model: torch.nn.Module, text: Tensor) -> float:
    with torch.no_grad():
        return float(matrix_nuclear_norm(model.model(text[None]).last_hidden_state[0], per_token=True))


def test_every_control_is_what_it_says(member: Member) -> None:
    model = member.load()
    assert member.read("mnn")["mnn"] == pytest.approx([score(model, t) for t in TEXTS], rel=1e-6)
    assert member.read("reversed")["mnn"] == pytest.approx([score(model, t.flip(0)) for t in TEXTS], rel=1e-6)
    twin = untrained_twin(model, seed=1_001)
    assert member.read("untrained")["mnn"] == pytest.approx([score(twin, t) for t in TEXTS], rel=1e-6)
    assert member.read("null")["mnn"] == (null_score(16, 32),) * 3
    assert member.read("rotated")["nuclear"] == pytest.approx(member.read("mnn")["nuclear"], rel=1e-6)
    assert member.read("rotated")["mnn"] != pytest.approx(member.read("mnn")["mnn"], rel=1e-4)
    assert member.read("shuffled")["loss"] != member.read("mnn")["loss"]


def test_a_share_is_read_from_the_beginning_and_nothing_is_read_twice(member: Member) -> None:
    half = member.read("mnn", 0.5)
    assert half["mnn"] == pytest.approx([score(member.load(), t[:8]) for t in TEXTS], rel=1e-6)
    assert member.read("mnn", 0.5) is half
    assert member.read("null", 0.01)["mnn"] == (null_score(2, 32),) * 3  # two tokens at least
