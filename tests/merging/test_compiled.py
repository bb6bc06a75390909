"""The compiled loops against torch and numpy: every length, every pattern of bits, every way to call them wrongly."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import binding
from tests.merging.families import random_model, relative, save
from transformers import AutoModelForCausalLM

from tameshi.merging import LATA, InstructionResidual, linear, merge, pieces, task_arithmetic, transplant
from tameshi.merging.compiled import _walk, largest, products, walk
from tameshi.merging.pieces import bits, gram_of_changes, is_finite

quick = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture
def always(monkeypatch):
    """Every bfloat16 tensor is large."""
    monkeypatch.setattr(pieces, "LARGE", 0)


def normal(length, seed, scale=1.0):
    return (torch.randn(length, generator=torch.Generator().manual_seed(seed)) * scale).bfloat16()


def walked(start, origin, models, weights):
    result = torch.empty_like(start)
    walk(bits(result), bits(start), bits(origin), [bits(m) for m in models], weights)
    return result


def exact(start, origin, models, weights):
    """The sum in float64, rounded once by torch."""
    total = start.double()
    for model, weight in zip(models, weights, strict=True):
        total = total + float(np.float32(weight)) * (model.double() - origin.double())
    return total.float().bfloat16()


@quick
@given(
    length=st.integers(0, 300),
    weights=st.lists(st.floats(-2, 2, width=32), min_size=0, max_size=5),
    seed=st.integers(0, 2**31),
)
def test_a_walk_is_the_sum_in_float64_rounded_once_up_to_its_last_bit(length, weights, seed):
    start, origin, *models = (normal(length, seed + i) for i in range(2 + len(weights)))
    found, expected = walked(start, origin, models, weights), exact(start, origin, models, weights)
    near = torch.isclose(found.float(), expected.float(), rtol=2**-7, atol=1e-5)  # a unit, or what cancels in float32
    assert bool(near.all())


def test_of_a_million_entries_hardly_one_differs_from_what_torch_gives_piece_by_piece(monkeypatch):
    start, origin, one, two = (normal(1_000_003, seed) for seed in range(4))
    found = walked(start, origin, [one, two], [0.4, -0.7])
    monkeypatch.setattr(pieces, "LARGE", 1 << 30)
    expected = transplant([one, two], origin, start, weights=[0.4, -0.7])
    assert float((found != expected).float().mean()) < 1e-5  # none at all where both add and multiply in one step


def test_every_finite_number_is_read_and_given_back():
    everything = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    finite = everything[torch.isfinite(everything)]
    zero = torch.zeros_like(finite)
    assert np.array_equal(bits(walked(finite, zero, [], [])), bits(finite))
    assert torch.equal(walked(zero, zero, [finite], [1.0]), finite)


def test_halves_are_rounded_to_the_even_neighbour():
    step = 2.0**-7  # between representable numbers in [1, 2)
    start, change = torch.tensor([1.0, 1 + step, 1.0, 1.0]).bfloat16(), torch.tensor([1, 1, 1.5, 0.5]).bfloat16()
    found = walked(start, torch.zeros(4).bfloat16(), [change], [step / 2])
    assert found.tolist() == [1.0, 1 + 2 * step, 1 + step, 1.0]


def test_what_is_too_large_becomes_infinite_as_in_torch():
    top = torch.tensor([3.3e38, -3.3e38]).bfloat16()
    zero = torch.zeros(2).bfloat16()
    assert walked(top, zero, [top], [1.0]).tolist() == [float("inf"), float("-inf")]


@quick
@given(length=st.integers(0, 300), count=st.integers(0, 5), seed=st.integers(0, 2**31))
def test_products_of_changes_are_those_of_numpy(length, count, seed):
    origin, *models = (normal(length, seed + i) for i in range(1 + count))
    changes = np.array([(m.float() - origin.float()).double().numpy() for m in models]).reshape(count, length)
    found = products(bits(origin), [bits(m) for m in models])
    assert found.shape == (count, count)
    assert np.allclose(found, changes @ changes.T, rtol=1e-12, atol=1e-12)
    assert np.array_equal(found, found.T)


def test_products_of_changes_are_the_same_compiled_and_piece_by_piece(monkeypatch):
    origin, one, two = normal(100_000, 0), normal(100_000, 1), normal(100_000, 2)
    plain = gram_of_changes(origin, one, two)
    monkeypatch.setattr(pieces, "LARGE", 0)
    assert torch.allclose(gram_of_changes(origin, one, two), plain, rtol=1e-6)


@quick
@given(length=st.integers(0, 200), place=st.integers(0, 199), seed=st.integers(0, 2**31))
def test_the_largest_magnitude_is_found_wherever_it_lies(length, place, seed):
    array = bits(normal(length, seed)).copy()
    expected = int((array & 0x7FFF).max(initial=0))
    assert largest(array) == expected
    if length:
        array[place % length] = 0xFF81  # a NaN with a sign
        assert largest(array) == 0x7F81


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 15, 16, 31, 32, 1_234, 4_999])
def test_one_bad_entry_of_a_large_tensor_is_found(bad, place, always):
    tensor = normal(5_000, 0)
    assert is_finite(tensor)
    tensor[place] = bad
    assert not is_finite(tensor)


def test_numbers_whose_sum_overflows_are_finite(always):
    assert is_finite(torch.full((5_000,), 3e38).bfloat16())


@quick
@given(length=st.integers(1, 300), count=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_methods_are_the_same_compiled_and_piece_by_piece(length, count, seed):
    base, target, *models = (normal(length, seed + i) for i in range(2 + count))
    weights = [0.3 * (i + 1) for i in range(count)]
    calls = (
        lambda: task_arithmetic(models, base, weights=weights, scale=0.8),
        lambda: linear(models, weights=weights),
        lambda: transplant(models, base, target, weights=weights),
    )
    for call in calls:
        plain = call()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "LARGE", 0)
            compiled = call()
        assert torch.allclose(compiled.float(), plain.float(), rtol=2**-7, atol=1e-5)


@quick
@given(length=st.integers(1, 300), weights=st.lists(st.floats(0.125, 2), min_size=2, max_size=4))
def test_equal_models_are_that_model_bit_by_bit(length, weights):
    model = normal(length, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LARGE", 0)
        copies = [model.clone() for _ in weights]
        assert torch.equal(linear(copies, weights=weights), model)
        assert torch.equal(task_arithmetic(copies, model.clone(), weights=weights), model)


@quick
@given(seed=st.integers(0, 2**31), exponent=st.integers(-100, 30))
def test_a_residual_on_its_own_base_gives_the_tuned_model_bit_by_bit(seed, exponent):
    base, tuned = normal(257, seed), normal(257, seed + 1, scale=2.0**exponent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LARGE", 0)
        assert torch.equal(transplant([tuned], base, base, weights=[1.0]), tuned)


def test_a_tensor_that_is_not_contiguous_or_asks_for_gradients_is_merged_too(always):
    base, model = normal(600, 0).view(20, 30), normal(600, 1).view(20, 30)
    expected = task_arithmetic([model], base, weights=[0.5])
    turned = task_arithmetic([model.T.contiguous().T], base.requires_grad_(), weights=[0.5])
    assert torch.equal(turned, expected)


def test_threads_that_compile_at_the_same_time_get_the_same_sum():
    start, origin, *models = (normal(5_000, seed) for seed in range(9))
    results = {}

    def work(which):
        results[which] = walked(start, origin, models, [0.1] * 7)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(torch.equal(result, results[0]) for result in results.values())


def test_a_system_that_does_not_tell_what_its_processor_can_do_compiles_too(monkeypatch):
    def silent():
        raise RuntimeError("not available")

    monkeypatch.setattr(binding, "get_host_cpu_features", silent)
    _walk.cache_clear()
    start, origin, model = (normal(1_000, seed) for seed in range(3))
    assert torch.equal(walked(start, start, [model], [0.0]), start)
    near = torch.isclose(
        walked(start, origin, [model], [0.5]).float(), exact(start, origin, [model], [0.5]).float(), rtol=2**-7
    )
    assert bool(near.all())
    _walk.cache_clear()


def test_arrays_that_no_loop_can_take_are_refused():
    good = np.zeros(8, np.uint16)
    with pytest.raises(ValueError, match="contiguous uint16"):
        walk(good, good, np.zeros(7, np.uint16), [], [])
    with pytest.raises(ValueError, match="contiguous uint16"):
        walk(good, good, good, [np.zeros(8, np.float32)], [1.0])
    with pytest.raises(ValueError, match="contiguous uint16"):
        largest(np.zeros(16, np.uint16)[::2])
    with pytest.raises(ValueError, match="one weight per model, got 2 for 1"):
        walk(good.copy(), good, good, [good], [1.0, 2.0])


def save_all(folder, **models):
    return {name: str(save(model, folder / name, words=40)) for name, model in models.items()}


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "mixtral"])
def test_whole_model_folders_are_merged_the_same_compiled_and_piece_by_piece(kind, tmp_path, monkeypatch):
    base = random_model(kind, dtype=torch.bfloat16)
    paths = save_all(tmp_path, base=base, inst=relative(base, 1), math=relative(base, 2), code=relative(base, 3))
    experts = {"math": paths["math"], "code": paths["code"]}
    calls = (
        lambda: LATA().merge(paths["base"], paths["inst"], experts, 0.8),
        lambda: InstructionResidual.extract(paths["base"], paths["inst"]).apply(paths["math"]),
        lambda: merge(experts, method="linear", weights=[0.3, 0.7]),
    )
    for call in calls:
        monkeypatch.setattr(pieces, "LARGE", 1 << 30)
        plain = call().state_dict()
        monkeypatch.setattr(pieces, "LARGE", 0)
        compiled = call().state_dict()
        assert compiled.keys() == plain.keys()
        for name, tensor in plain.items():
            assert torch.allclose(compiled[name].float(), tensor.float(), rtol=2**-7, atol=1e-5), name


def test_a_compiled_merge_reloads_and_generates_and_an_infinite_weight_is_refused(tmp_path, always):
    base = random_model("llama", dtype=torch.bfloat16)
    paths = save_all(tmp_path, base=base, inst=relative(base, 1), cpt=relative(base, 2))
    residual = InstructionResidual.extract(paths["base"], paths["inst"])
    out = residual.apply(paths["cpt"]).save_pretrained(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=4, do_sample=False).shape[1] > 3
    again = residual.apply(paths["base"]).state_dict()
    tuned = relative(base, 1).state_dict()
    assert all(torch.equal(again[name], tuned[name]) for name in again)
    broken = relative(base, 3)
    broken.model.layers[1].mlp.up_proj.weight.data[3, 7] = float("-inf")
    bad = save_all(tmp_path, broken=broken)["broken"]
    with pytest.raises(ValueError, match=r"holds NaN or infinity in model\.layers\.1\.mlp\.up_proj\.weight"):
        residual.apply(bad)
