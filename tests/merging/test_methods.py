"""The merge methods as plain functions: values by hand, identities, an independent implementation, invariants."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.merging import (
    METHODS,
    dare,
    dare_ties,
    linear,
    multi_slerp,
    slerp,
    slerp_delta,
    task_arithmetic,
    ties,
    transplant,
)
from tameshi.merging.method import method_named
from tameshi.merging.pieces import PIECE, elementwise, gram, is_finite, smallest_kept

quick = settings(max_examples=40, deadline=None, derandomize=True)


def t(*values):
    return torch.tensor(values, dtype=torch.float32)


def normal(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def draws(*seeds):
    return [torch.Generator().manual_seed(s) for s in seeds]


TAU = (t(3, -1, 0.5, 0.2), t(-2, -4, 0.1, 0.6))


# --- TIES -----------------------------------------------------------------------------------------------------------


def test_ties_by_hand():
    merged = ties(TAU, torch.zeros(4), weights=[1, 1], densities=[0.5])
    assert merged.tolist() == [3, -2.5, 0, 0]


def test_ties_of_one_model_with_density_one_is_task_arithmetic():
    base, model = normal((7, 5), 0), normal((7, 5), 1)
    merged = ties([model], base, weights=[1.0], densities=[1.0], scale=0.5)
    assert torch.allclose(merged, task_arithmetic([model], base, weights=[0.5]), atol=1e-6)


def test_ties_where_all_signs_agree_is_the_mean():
    base, one, two = torch.zeros(3), t(1, -2, 3), t(3, -4, 1)
    assert ties([one, two], base, weights=[1, 1], densities=[1.0]).tolist() == [2, -3, 2]


def test_a_sum_of_zero_elects_the_positive_sign():
    assert ties([t(2.0), t(-2.0)], torch.zeros(1), weights=[1, 1], densities=[1.0]).tolist() == [2]


def test_ties_agrees_with_a_plain_numpy_version():
    base, models = normal((40, 30), 0).numpy(), [normal((40, 30), i).numpy() for i in (1, 2, 3)]
    weights, density = [0.5, 1.0, 0.25], 0.3
    trimmed = []
    for model in models:
        delta = (model - base).ravel()
        kept = np.argsort(-np.abs(delta))[: int(density * delta.size)]
        mask = np.zeros(delta.size, bool)
        mask[kept] = True
        trimmed.append(np.where(mask, delta, 0).reshape(base.shape))
    weighted = np.stack([w * d for w, d in zip(weights, trimmed, strict=True)])
    sign = np.where(weighted.sum(0) >= 0, 1, -1)
    agrees = np.sign(weighted) == sign
    divisor = (np.array(weights)[:, None, None] * agrees).sum(0)
    expected = base + (weighted * agrees).sum(0) / np.where(divisor == 0, 1, divisor)
    found = ties([torch.from_numpy(m) for m in models], torch.from_numpy(base), weights=weights, densities=[density])
    assert np.abs(found.numpy() - expected).max() < 1e-6


def test_a_tensor_too_small_for_the_density_keeps_its_largest_entry():
    assert ties([t(1, -3, 2)], torch.zeros(3), weights=[1], densities=[0.1]).tolist() == [0, -3, 0]


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5])
def test_a_density_outside_its_range_is_refused(density):
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\]"):
        ties([t(1.0)], t(0.0), weights=[1], densities=[density])


@quick
@given(st.integers(1, 9), st.floats(0.01, 1.0), st.integers(0, 5), st.booleans())
def test_the_threshold_is_the_kth_largest_magnitude(size, density, seed, coarse):
    count = size * 60_000 + 1  # both sides of the length from which a sample brackets the threshold
    delta = normal((count,), seed)
    delta = (delta * 4).round() if coarse else delta  # many equal magnitudes
    wanted = max(1, int(density * count))
    assert smallest_kept(delta, torch.zeros(count), density) == float(delta.abs().kthvalue(count - wanted + 1).values)


def test_a_misleading_sample_still_gives_the_exact_threshold():
    count = 1 << 20
    delta = torch.zeros(count)
    stride = count // (1 << 16) | 1
    hidden = torch.ones(count, dtype=torch.bool)
    hidden[::stride] = False  # everything that is not zero lies where the sample does not look
    delta[hidden] = torch.arange(1, int(hidden.sum()) + 1).float()
    assert smallest_kept(delta, torch.zeros(count), 0.1) == float(delta.kthvalue(count - count // 10 + 1).values)


# --- DARE -----------------------------------------------------------------------------------------------------------


def test_dare_that_drops_nothing_is_task_arithmetic():
    base, model = normal((5, 4), 0), normal((5, 4), 1)
    merged = dare([model], base, draws=draws(0), weights=[0.7], densities=[1.0])
    assert torch.allclose(merged, task_arithmetic([model], base, weights=[0.7]), atol=1e-7)


def test_dare_ties_that_drops_nothing_is_ties_without_trimming():
    base, models = normal((5, 4), 0), [normal((5, 4), 1), normal((5, 4), 2)]
    merged = dare_ties(models, base, draws=draws(0, 1), weights=[1, 1], densities=[1.0])
    assert torch.equal(merged, ties(models, base, weights=[1, 1], densities=[1.0]))


def test_the_mean_of_dare_over_seeds_is_the_change():
    tau = t(1, -2, 3, -4).repeat(50)
    total, squares = torch.zeros(200), torch.zeros(200)
    for seed in range(2_000):
        value = dare([tau], torch.zeros(200), draws=draws(seed), weights=[1.0], densities=[0.3])
        total, squares = total + value, squares + value**2
    mean = total.view(50, 4).mean(0) / 2_000
    error = ((squares.view(50, 4).mean(0) / 2_000 - mean**2) / (2_000 * 50)).sqrt()
    assert ((mean - tau[:4]).abs() < 3 * error).all()


@pytest.mark.parametrize(("rescale", "factor"), [("density", 2.0), ("none", 1.0)])
def test_kept_entries_are_divided_by_the_density(rescale, factor):
    tau = t(1, -2, 3, -4)
    found = dare([tau], torch.zeros(4), draws=draws(5), weights=[1.0], densities=[0.5], rescale=rescale)
    kept = found != 0
    assert 0 < int(kept.sum()) < 4
    assert torch.equal(found, tau * factor * kept)


def test_l1_rescaling_restores_the_length_and_keeps_the_mask():
    tau = t(1, -2, 3, -4)
    plain = dare([tau], torch.zeros(4), draws=draws(5), weights=[1.0], densities=[0.5], rescale="none")
    found = dare([tau], torch.zeros(4), draws=draws(5), weights=[1.0], densities=[0.5], rescale="l1")
    assert torch.allclose(found, plain * (10 / plain.abs().sum()))
    assert float(found.abs().sum()) == pytest.approx(10)


@pytest.mark.parametrize(
    ("kept", "by_density", "by_l1"),
    [((0, 3), [2, 0, 0, -8], [2, 0, 0, -8]), ((0, 1), [2, -4, 0, 0], [10 / 3, -20 / 3, 0, 0])],
)
def test_both_ways_to_rescale_by_hand(kept, by_density, by_l1):
    tau, base = t(1, -2, 3, -4), torch.zeros(4)

    def thinned(seed, rescale):
        return dare([tau], base, draws=draws(seed), weights=[1.0], densities=[0.5], rescale=rescale)

    seed = next(s for s in range(1_000) if thinned(s, "none").nonzero().flatten().tolist() == list(kept))
    assert thinned(seed, "density").tolist() == by_density
    assert thinned(seed, "l1").tolist() == pytest.approx(by_l1)


def test_a_mask_does_not_depend_on_the_other_models():
    base, one, two = torch.zeros(3 * PIECE // 2), torch.ones(3 * PIECE // 2), torch.ones(3 * PIECE // 2)
    alone = dare([one], base, draws=draws(4), weights=[1.0], densities=[0.5])
    both = dare([two, one], base, draws=draws(9, 4), weights=[0.0, 1.0], densities=[0.5])
    assert torch.equal(alone, both)


# --- SLERP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "at", "expected"),
    [
        ([2, 0], [0, 1], 0.5, [1.4142, 0.7071]),
        ([1, 0], [1, 1], 0.25, [1.0616, 0.2759]),
        ([1, 0], [1, 0.01], 0.5, [1, 0.005]),  # nearly parallel: linear
    ],
)
def test_slerp_by_hand(one, two, at, expected):
    assert slerp([t(*one), t(*two)], t=at).tolist() == pytest.approx(expected, abs=5e-5)


def test_slerp_from_the_other_end_is_the_same():
    one, two = normal((6, 6), 1), normal((6, 6), 2)
    assert torch.allclose(slerp([one, two], t=0.3), slerp([two, one], t=0.7), atol=1e-6)


def test_slerp_at_zero_is_the_first_model():
    one, two = normal((6, 6), 1), normal((6, 6), 2)
    assert torch.allclose(slerp([one, two], t=0.0), one, atol=1e-7)


def test_slerp_of_equal_lengths_keeps_the_length():
    one = normal((50,), 1)
    two = normal((50,), 2)
    two = two * (one.norm() / two.norm())
    assert float(slerp([one, two], t=0.37).norm()) == pytest.approx(float(one.norm()), rel=1e-5)


def test_opposite_tensors_are_merged_linearly_with_a_warning():
    with pytest.warns(UserWarning, match="opposite directions"):
        assert slerp([t(1, 2), t(-1, -2)], t=0.25).tolist() == [0.5, 1.0]


def test_slerp_of_three_models_is_refused():
    with pytest.raises(ValueError, match="exactly two models, got 3"):
        slerp([t(1.0)] * 3)


def test_slerp_of_changes_is_slerp_around_the_base():
    base, one, two = normal((30,), 0), normal((30,), 1), normal((30,), 2)
    expected = base + slerp([one - base, two - base], t=0.4)
    assert torch.allclose(slerp_delta([one, two], base, t=0.4), expected, atol=1e-6)


def test_the_spherical_mean_of_two_equally_long_models_is_slerp():
    one, two = normal((50,), 1), normal((50,), 2)
    two = two * (one.norm() / two.norm())
    assert torch.allclose(multi_slerp([one, two], weights=[0.7, 0.3]), slerp([one, two], t=0.3), atol=1e-5)


def test_the_spherical_mean_does_not_depend_on_the_order():
    models = [normal((50,), i) for i in (1, 2, 3)]
    one = multi_slerp(models, weights=[0.5, 0.3, 0.2])
    assert torch.allclose(one, multi_slerp(models[::-1], weights=[0.2, 0.3, 0.5]), atol=1e-5)


def test_negative_weights_on_the_sphere_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        multi_slerp([t(1.0), t(2.0)], weights=[1, -1])


# --- linear and task arithmetic -------------------------------------------------------------------------------------


def test_weights_one_and_zero_give_the_first_or_the_second_model_bit_by_bit():
    one, two = normal((9, 9), 1), normal((9, 9), 2)
    assert torch.equal(linear([one, two], weights=[1, 0]), one)
    assert torch.equal(linear([one, two], weights=[0, 1]), two)


def test_weights_that_sum_to_zero_cannot_be_normalised():
    with pytest.raises(ValueError, match="must not sum to 0"):
        linear([t(1.0), t(2.0)], weights=[1, -1])


def test_linear_without_normalising_is_the_plain_sum():
    assert linear([t(1, 2), t(3, 5), t(1, 1)], weights=[1, 1, -1], normalize=False).tolist() == [3, 6]


def test_weights_that_change_the_size_of_the_model_are_warned_about():
    with pytest.warns(UserWarning, match="do not sum to 1 change the size of the whole model"):
        assert linear([t(1.0), t(2.0)], weights=[1, 1], normalize=False).tolist() == [3.0]


def test_a_result_is_rounded_once():
    base, model = t(1.0).bfloat16(), t(1.0078125).bfloat16()  # neighbours in bfloat16
    third = linear([base, model, model], weights=[1, 1, 1])
    assert third.dtype == torch.bfloat16
    assert float(third) == float(torch.tensor((1 + 2 * 1.0078125) / 3).bfloat16())


def test_a_transplanted_change_by_hand():
    base, instruct, grown = t(1, 2), t(1.5, 1), t(2, 2)
    assert transplant([instruct], base, grown, weights=[1.0]).tolist() == [2.5, 1]
    assert transplant([instruct], base, grown, weights=[0.5]).tolist() == [2.25, 1.5]


# --- invariants of all methods --------------------------------------------------------------------------------------


def call(name, models, base, weights=None, target=None):
    method = METHODS[name]
    models = models[: method.count] if method.count else models
    given = {}
    if "weights" in method.settings:
        given["weights"] = weights or [1 / len(models)] * len(models)
    if method.draws:
        given["draws"] = draws(*range(len(models)))
    roles = {"base": base} if method.needs_base else {}
    if method.needs_target:
        roles["target"] = base if target is None else target
    return method(models, **roles, **given)


AVERAGES = sorted(set(METHODS) - {"add", "difference"})


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_equal_their_base_give_that_model(name, dtype):
    model = normal((17, 13), 3, dtype)
    assert torch.equal(call(name, [model] * 3, model), model)


@pytest.mark.parametrize("name", ["linear", "slerp", "multi-slerp"])
@quick
@given(st.lists(st.floats(0.01, 5), min_size=2, max_size=2), st.integers(0, 20))
def test_equal_models_give_that_model_whatever_the_weights(name, weights, seed):
    model = normal((33,), seed)
    assert torch.equal(call(name, [model, model], None, weights=weights), model)


@pytest.mark.parametrize("name", [n for n in AVERAGES if "weights" in METHODS[n].settings and "dare" not in n])
@quick
@given(st.permutations(range(3)), st.integers(0, 20))
def test_the_order_of_the_models_does_not_matter(name, order, seed):
    base = normal((64,), seed)
    models = [base + 0.3 * normal((64,), seed + i + 1) for i in range(3)]
    weights = [0.2, 0.5, 0.9]
    shuffled = call(name, [models[i] for i in order], base, weights=[weights[i] for i in order])
    assert torch.allclose(shuffled, call(name, models, base, weights=weights), atol=2e-6)


@pytest.mark.parametrize("name", [n for n in AVERAGES if METHODS[n].needs_base and "weights" in METHODS[n].settings])
@quick
@given(st.integers(0, 20))
def test_weights_of_zero_change_nothing(name, seed):
    base = normal((64,), seed)
    assert torch.equal(call(name, [normal((64,), seed + 1), normal((64,), seed + 2)], base, weights=[0.0, 0.0]), base)


@quick
@given(st.floats(-2, 2), st.integers(0, 20))
def test_forgetting_what_was_learnt_gives_back_the_start(scale, seed):
    base, expert = normal((64,), seed), normal((64,), seed + 1)
    start = base + 0.2 * normal((64,), seed + 2)
    learnt = transplant([expert], base, start, weights=[scale])
    assert torch.allclose(transplant([expert], base, learnt, weights=[-scale]), start, atol=2e-6)


@quick
@given(st.integers(0, 40), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), st.integers(-8, 2))
def test_a_change_put_back_on_its_base_gives_the_model_bit_by_bit(seed, dtype, power):
    base = normal((64,), seed, dtype)
    tuned = (normal((64,), seed + 1) * 10.0**power).to(dtype)  # also where the model is tiny beside its base
    assert torch.equal(transplant([tuned], base, base, weights=[1.0]), tuned)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (PIECE + 3,)])
def test_every_method_takes_every_shape(name, shape):
    base = normal(shape, 0)
    models = [base + 0.1 * normal(shape, i) for i in (1, 2)]
    found = call(name, models, base)
    assert found.shape == base.shape
    assert is_finite(found)


def test_no_method_writes_into_its_inputs():
    for name in METHODS:
        base, one, two = normal((50,), 0), normal((50,), 1), normal((50,), 2)
        before = [x.clone() for x in (base, one, two)]
        call(name, [one, two], base)
        assert all(torch.equal(a, b) for a, b in zip(before, (base, one, two), strict=True)), name


# --- the arithmetic -------------------------------------------------------------------------------------------------


def test_working_in_pieces_changes_nothing():
    a, b = normal((3, PIECE), 0), normal((3, PIECE), 1)
    assert torch.equal(elementwise(lambda x, y: x.mul_(2).add_(y), a, b), 2 * a + b)


def test_products_of_long_vectors_lose_nothing():
    ones = torch.full((PIECE * 3 + 5,), 0.125)
    assert float(gram(lambda x: [x], ones)[0, 0]) == pytest.approx(
        ones.numel() * float(ones[0].double() ** 2), rel=1e-8
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_number_is_found(dtype, bad):
    values = normal((PIECE + 7,), 0).to(dtype)
    assert is_finite(values)
    values[-1] = bad
    assert not is_finite(values)


def test_an_unknown_method_is_refused_with_the_list():
    with pytest.raises(ValueError, match="there is no merge method 'tie'; the methods are add, dare"):
        method_named("tie")
