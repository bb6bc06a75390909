"""The score and its exact siblings: values worked out by hand, identities, bounds, and independent two-liners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm import (
    column_norms,
    diff_erank,
    effective_rank,
    gram_spectrum,
    haar_rotation,
    matrix_entropy,
    matrix_nuclear_norm,
    normalised,
    nuclear_norm,
    null_score,
)


def matrix(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


shapes = st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(0, 10_000))


@pytest.mark.parametrize(
    ("x", "mnn", "nuclear"),
    [
        (matrix((3, 0), (0, 4)), 7, 7),
        (matrix((1, 1), (1, 1)), 2 * math.sqrt(2), 2),
        (matrix((1, 0, 0), (0, 1, 0)), 2, 2),
        (torch.eye(4, dtype=torch.float64), 4, 4),
    ],
)
def test_values_worked_out_by_hand(x: Tensor, mnn: float, nuclear: float) -> None:
    assert float(matrix_nuclear_norm(x, normalize=False)) == pytest.approx(mnn, rel=1e-12)
    assert float(nuclear_norm(x, normalize=False)) == pytest.approx(nuclear, rel=1e-9)
    assert float(nuclear_norm(x, normalize=False, method="svd")) == pytest.approx(nuclear, rel=1e-12)


def test_orthogonal_rows_have_full_entropy() -> None:
    assert float(matrix_entropy(torch.eye(4), normalize=False)) == pytest.approx(1)
    assert float(effective_rank(torch.eye(4), normalize=False)) == pytest.approx(4)


def test_three_tokens_from_raw_hidden_states_to_scores() -> None:
    raw = matrix((1, 2), (3, 2), (5, 8))
    expected = matrix((-0.7071068, -0.7071068), (0, -1), (0.4472136, 0.8944272))
    assert torch.allclose(normalised(raw), expected, atol=1e-7)
    assert float(matrix_nuclear_norm(raw)) == pytest.approx(2.3532350, abs=2e-7)
    assert float(matrix_nuclear_norm(raw, per_token=True)) == pytest.approx(0.7844117, abs=1e-7)
    assert float(nuclear_norm(raw)) == pytest.approx(2.1883450, abs=2e-7)
    assert float(matrix_entropy(raw)) == pytest.approx(0.4645851, abs=1e-7)


@pytest.mark.parametrize(
    "raw", [torch.ones(1, 4), torch.ones(3, 4), matrix((0.1, 0.2), (0.3, 0.6), (0.2, 0.4)), torch.full((5, 3), 0.1)]
)
def test_a_row_without_direction_makes_the_score_undefined_and_not_zero(raw: Tensor) -> None:
    for score in (
        matrix_nuclear_norm(raw),
        nuclear_norm(raw),
        nuclear_norm(raw, method="svd"),
        matrix_entropy(raw),
        matrix_entropy(raw, method="official"),
    ):
        assert math.isnan(float(score))


def test_a_hundred_random_matrices_agree_with_two_lines_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        raw = rng.normal(size=rng.integers(2, 60, size=2))
        x = raw - raw.mean(0)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        mnn = np.sort(np.linalg.norm(x, axis=0))[::-1][: min(x.shape)].sum()
        assert float(matrix_nuclear_norm(torch.tensor(raw))) == pytest.approx(mnn, rel=1e-12)
        assert float(nuclear_norm(torch.tensor(raw))) == pytest.approx(np.linalg.norm(x, "nuc"), rel=1e-6)


@given(shapes)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_small_side_gives_what_the_large_side_gives(shape: tuple[int, int, int]) -> None:
    raw = gaussian(shape[0], shape[1], seed=shape[2])
    svd = nuclear_norm(raw, method="svd")
    assert torch.allclose(nuclear_norm(raw), svd, rtol=1e-7)
    official = matrix_entropy(raw, method="official", normalizer=None)
    assert torch.allclose(matrix_entropy(raw, normalizer=None), official, atol=1e-6)


def test_on_full_rank_matrices_the_gram_side_is_exact_to_nine_digits() -> None:
    for n, d in ((64, 256), (256, 64), (300, 310)):
        x = gaussian(n, d)
        assert torch.allclose(
            nuclear_norm(x, normalize=False), nuclear_norm(x, normalize=False, method="svd"), rtol=1e-9
        )


def test_zero_singular_values_stay_zero_on_the_gram_side() -> None:
    low = gaussian(200, 4) @ gaussian(4, 300, seed=1)
    assert int((gram_spectrum(low) > 0).sum()) == 4
    assert torch.allclose(
        nuclear_norm(low, normalize=False), nuclear_norm(low, normalize=False, method="svd"), rtol=1e-9
    )


@given(shapes)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_what_changes_the_scores_and_what_does_not(shape: tuple[int, int, int]) -> None:
    n, d, seed = shape
    raw = gaussian(n, d, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (d,), generator=generator) * 2 - 1
    same = [
        raw[torch.randperm(n, generator=generator)],
        raw[:, torch.randperm(d, generator=generator)] * signs,
        3.7 * raw + gaussian(d, seed=seed + 1),
    ]
    rotated = raw @ haar_rotation(d, seed=seed)
    for score in (matrix_nuclear_norm, nuclear_norm, matrix_entropy):
        for changed in same:
            assert torch.allclose(score(changed), score(raw), atol=1e-6)  # type: ignore[operator]
    for score in (nuclear_norm, matrix_entropy):
        assert torch.allclose(score(rotated), score(raw), atol=1e-6)  # type: ignore[operator]


@given(shapes)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_bounds(shape: tuple[int, int, int]) -> None:
    n, d, seed = shape
    raw = gaussian(n, d, seed=seed)
    mnn, nuclear = float(matrix_nuclear_norm(raw)), float(nuclear_norm(raw))
    assert mnn / n <= min(1, math.sqrt(d / n)) + 1e-6
    assert nuclear <= float(column_norms(normalised(raw)).sum()) + 1e-6
    if n >= d:
        assert nuclear <= mnn + 1e-6


def test_with_orthogonal_columns_the_score_is_the_nuclear_norm() -> None:
    q, _ = torch.linalg.qr(gaussian(40, 12))
    x = q * torch.linspace(1, 5, 12, dtype=torch.float64)
    assert float(matrix_nuclear_norm(x, normalize=False)) == pytest.approx(
        float(nuclear_norm(x, normalize=False)), rel=1e-9
    )


def test_a_rotation_turns_rank_four_into_nearly_full_and_the_nuclear_norm_does_not_move() -> None:
    low = torch.zeros(256, 256, dtype=torch.float64)
    low[:, :4] = gaussian(256, 4)
    turned = low @ haar_rotation(256)
    scores = [float(matrix_nuclear_norm(x, per_token=True)) for x in (low, turned)]
    exact = [float(nuclear_norm(x)) / 256 for x in (low, turned)]
    assert scores[0] == pytest.approx(0.125, abs=0.002)
    assert scores[1] == pytest.approx(0.938, abs=0.01)
    assert exact == pytest.approx([0.125, 0.125], abs=0.002)


def test_shorter_than_wide_the_sum_is_no_bound_at_all() -> None:
    raw = gaussian(64, 1024)
    assert float(matrix_nuclear_norm(raw, per_token=True)) == pytest.approx(0.294, abs=0.003)
    assert float(nuclear_norm(raw)) / 64 == pytest.approx(0.985, abs=0.003)


def test_a_padded_batch_is_the_loop_over_its_texts() -> None:
    texts = [gaussian(n, 12, seed=n) for n in (5, 20, 9, 12)]
    batch = torch.full((4, 20, 12), math.nan, dtype=torch.float64)  # padding may hold anything
    mask = torch.zeros(4, 20, dtype=torch.bool)
    for i, text in enumerate(texts):
        batch[i, : len(text)], mask[i, : len(text)] = text, True
    for score in (matrix_nuclear_norm, nuclear_norm, matrix_entropy, effective_rank):
        alone = torch.stack([score(text) for text in texts])  # type: ignore[operator]
        assert torch.allclose(score(batch, mask=mask), alone, atol=1e-9)  # type: ignore[operator]
    official = matrix_entropy(batch, mask=mask, method="official")
    assert torch.allclose(official, matrix_entropy(batch, mask=mask), atol=1e-6)
    by_rank = matrix_entropy(batch, mask=mask, normalizer="rank")
    assert torch.allclose(by_rank, torch.stack([matrix_entropy(t, normalizer="rank") for t in texts]))


def test_one_text_without_score_leaves_the_others_theirs() -> None:
    batch = torch.stack([gaussian(6, 4), torch.ones(6, 4, dtype=torch.float64)])
    assert matrix_nuclear_norm(batch).isnan().tolist() == [False, True]
    assert nuclear_norm(batch).isnan().tolist() == [False, True]
    assert matrix_entropy(batch, method="official").isnan().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_states_are_summed_in_full_precision(dtype: torch.dtype) -> None:
    raw = (gaussian(40, 32) * 300).to(dtype)  # squares would overflow float16
    assert torch.allclose(matrix_nuclear_norm(raw), matrix_nuclear_norm(raw.double()), rtol=1e-12)
    assert matrix_nuclear_norm(raw).dtype == torch.float64


def test_above_four_million_entries_the_arithmetic_is_float32_and_close() -> None:
    raw = torch.randn(2100, 2000, generator=torch.Generator().manual_seed(0))
    assert normalised(raw).dtype == torch.float32
    small = normalised(raw.double()[:, :1900])
    assert small.dtype == torch.float64
    x = raw.double() - raw.double().mean(0)
    x /= x.norm(dim=1, keepdim=True)
    exact = column_norms(x).topk(2000).values.sum()
    assert float(matrix_nuclear_norm(raw)) == pytest.approx(float(exact), rel=1e-5)


def test_the_inputs_are_left_as_they_were() -> None:
    raw = gaussian(5, 4)
    before = raw.clone()
    matrix_nuclear_norm(raw)
    matrix_entropy(raw)
    assert torch.equal(raw, before)


def test_the_number_of_columns_can_be_chosen() -> None:
    x = matrix((3, 0, 0), (0, 4, 0), (0, 0, 5))
    assert float(matrix_nuclear_norm(x, normalize=False, d=2)) == 9
    with pytest.raises(ValueError, match=r"d must be between 1 and 3 .*, got 4"):
        matrix_nuclear_norm(x, d=4)


def test_refusals_name_what_came() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 5\)"):
        matrix_nuclear_norm(torch.zeros(2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"the mask must be \(3,\), one entry per token, got \(2,\)"):
        matrix_nuclear_norm(torch.zeros(3, 4), mask=torch.ones(2))
    with pytest.raises(ValueError, match=r"floating point, got torch\.int64"):
        matrix_nuclear_norm(torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="token 2 holds NaN or infinity"):
        matrix_nuclear_norm(torch.tensor([[1.0, 2], [3, 4], [math.inf, 0]]))
    with pytest.raises(ValueError, match="at least 2 features"):
        matrix_entropy(gaussian(4, 1))


def test_the_null_value_is_that_of_equal_columns() -> None:
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    assert float(matrix_nuclear_norm(signs, normalize=False, per_token=True)) == pytest.approx(null_score(4, 4))
    assert float(matrix_nuclear_norm(signs[:2], normalize=False, per_token=True)) == pytest.approx(null_score(2, 4))


@pytest.mark.parametrize("shape", [(1, 3), (31, 5), (32, 5), (33, 5), (100, 1), (2, 65, 7)])
def test_columns_are_measured_block_by_block_as_in_one_piece(shape: tuple[int, ...]) -> None:
    x = gaussian(*shape)
    assert torch.allclose(column_norms(x), torch.linalg.vector_norm(x, dim=-2), rtol=1e-13)


@pytest.mark.parametrize("score", [matrix_nuclear_norm, nuclear_norm, matrix_entropy])
def test_x_as_it_is_must_be_finite_too(score: Any) -> None:
    x = torch.tensor([[1.0, 2], [math.nan, 4], [5, 6]])
    with pytest.raises(ValueError, match="token 1 holds NaN or infinity"):
        score(x, normalize=False)


def test_rotations_are_orthogonal_and_drawn_anew_by_seed() -> None:
    q = haar_rotation(20, seed=3)
    assert torch.allclose(q @ q.T, torch.eye(20, dtype=torch.float64), atol=1e-12)
    assert torch.equal(q, haar_rotation(20, seed=3))
    assert not torch.allclose(q, haar_rotation(20, seed=4))


def test_diff_erank_by_both_averages_leaves_out_what_is_undefined() -> None:
    trained = torch.tensor([1.0, 2.0, math.nan])
    untrained = torch.tensor([2.0, 2.5, 3.0])
    each = (math.exp(2) - math.exp(1) + math.exp(2.5) - math.exp(2)) / 2
    assert float(diff_erank(trained, untrained)) == pytest.approx(each, rel=1e-6)
    assert float(diff_erank(trained, untrained, average="entropy")) == pytest.approx(
        math.exp(2.25) - math.exp(1.5), rel=1e-6
    )
