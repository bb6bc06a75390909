from __future__ import annotations

import pytest
import torch

from tameshi.specimens.spectra import MATRICES


def made(name: str, seed: int = 3) -> torch.Tensor:
    return MATRICES[name](torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [name for name in MATRICES if not name.endswith("rotated") and "iid" not in name])
def test_a_rotation_changes_no_singular_value_and_every_column(name: str) -> None:
    plain, turned = made(name), made(f"{name}, rotated")
    values, same = (torch.linalg.svdvals(matrix) for matrix in (plain, turned))
    assert torch.allclose(values, same, atol=1e-9 * float(values[0]))
    assert not torch.allclose(plain.norm(dim=0), turned.norm(dim=0))


def test_the_spectra_are_those_of_the_names() -> None:
    assert [int(torch.linalg.matrix_rank(made(f"rank {rank}, rotated"))) for rank in (4, 16, 64)] == [4, 16, 64]
    lengths = made("power 2.0").norm(dim=0)
    assert float(lengths[9] / lengths[0]) == pytest.approx(0.01, rel=0.3)
    assert made("iid, 64 tokens of width 1024").shape == (64, 1024)
