"""Q-Filters: worked by hand, by identities, and against the published rule."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.kv.random_models import CONFIGS, SIZES, random_model, random_tokens
from transformers import AutoModelForCausalLM, PreTrainedModel

from tameshi.doors.models import Untrusted
from tameshi.kv import BudgetCache, QFilters, QFiltersPolicy, QFiltersWarning
from tameshi.kv.policy import Entries, highest
from tameshi.kv.q_filters import directions, fingerprint, project

CALIBRATION = random_tokens(6, 200, seed=9)


@pytest.fixture(autouse=True)
def quiet() -> object:
    """Random models lean nowhere, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QFiltersWarning)
        yield


def test_the_worked_example() -> None:
    queries = torch.tensor([[[2.0, 0], [4, 0], [3, 1], [3, -1]]])
    v, (energy, align, majority) = directions(queries)
    torch.testing.assert_close(v, torch.tensor([[1.0, 0]]))
    torch.testing.assert_close(energy, torch.tensor([6.1644**2 / (6.1644**2 + 1.4142**2)]), atol=1e-4, rtol=0)
    assert align.item() == pytest.approx(1)
    assert majority.item() == 1
    keys = torch.tensor([[1.0, 5], [-1, 0], [0.5, 0], [3, -9]])[None, None]
    scores = project(keys, v)
    torch.testing.assert_close(scores, torch.tensor([[[1, -1, 0.5, 3]]]))
    assert highest(scores, 2).tolist() == [[[0, 3]]]


def test_directions_are_those_of_the_singular_value_decomposition() -> None:
    queries = torch.randn(3, 700, 16, generator=torch.Generator().manual_seed(0)) + 0.3
    v, (energy, align, majority) = directions(queries)
    for head in range(3):
        left, sigma, right = torch.linalg.svd(queries[head], full_matrices=False)
        sign = 1 if (left[:, 0] > 0).float().mean() > 0.5 else -1
        torch.testing.assert_close(v[head], sign * right[0], atol=1e-4, rtol=1e-3)
        assert energy[head].item() == pytest.approx((sigma[0] ** 2 / (sigma**2).sum()).item(), rel=1e-4)
        positive = (left[:, 0] > 0).float().mean().item()
        assert majority[head].item() == pytest.approx(max(positive, 1 - positive))
        mean = queries[head].mean(0)
        assert align[head].item() == pytest.approx((mean @ v[head] / mean.norm()).item(), abs=1e-5)


def test_the_sign_is_a_vote_and_not_the_sign_of_the_mean() -> None:
    queries = torch.tensor([[[1.0, 0]] * 3 + [[-9.0, 0.1]]])  # three queries to the right, their mean far to the left
    assert directions(queries)[0][0, 0] > 0.99
    assert directions(queries, "mean")[0][0, 0] < -0.99


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["svd", "mean"]))
def test_negating_all_queries_negates_the_direction_and_rotating_rotates_it(seed: int, estimator: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(2, 101, 6, generator=generator) + torch.randn(2, 1, 6, generator=generator)
    keys = torch.randn(1, 2, 40, 6, generator=generator)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    v = directions(queries, estimator)[0]
    torch.testing.assert_close(directions(-queries, estimator)[0], -v, atol=1e-5, rtol=1e-4)
    turned = directions(queries @ turn, estimator)[0]
    torch.testing.assert_close(turned, v @ turn, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(project(keys @ turn, turned), project(keys, v), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("estimator", ["svd", "mean"])
def test_queries_around_one_direction_are_found_and_scores_rank_mean_logits(estimator: str) -> None:
    generator = torch.Generator().manual_seed(1)
    u = torch.nn.functional.normalize(torch.randn(32, generator=generator), dim=0)
    queries = 5 * u + 0.2 * torch.randn(1, 2000, 32, generator=generator)
    v, _ = directions(queries, estimator)
    assert v[0] @ u > 0.99
    keys = torch.randn(1, 1, 50, 32, generator=generator)
    mean_logits = (keys[0, 0] @ queries[0].T).mean(1)
    assert project(keys, v)[0, 0].argsort().tolist() == mean_logits.argsort().tolist()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_scaling_a_filter_changes_nothing_and_flipping_it_ranks_backwards(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys, filters = torch.randn(2, 3, 20, 8, generator=generator), torch.randn(3, 8, generator=generator)
    scores = project(keys, filters)
    kept = highest(scores, 7)
    assert torch.equal(highest(project(keys, filters * scale), 7), kept)
    rest = highest(project(keys, -filters), 13)
    assert torch.equal(torch.cat([kept, rest], dim=-1).sort().values, torch.arange(20).expand(2, 3, 20))


def test_half_precision_keys_are_projected_in_single_precision() -> None:
    keys, filters = torch.randn(2, 3, 1100, 64).bfloat16(), torch.randn(3, 64)
    expected = torch.einsum("bhnd,hd->bhn", keys.double(), filters.double())
    torch.testing.assert_close(project(keys, filters), expected.float(), atol=1e-4, rtol=1e-5)


def official_update(keys: torch.Tensor, filters: torch.Tensor, max_length: int, window: int) -> torch.Tensor:
    """Indices that the published cache keeps, written down anew from its description: it stores -v and keeps topk(-<k, -v>)."""
    older = keys[:, :, : keys.shape[2] - window]
    projection = torch.einsum("bhnd,hd->bhn", older, filters)
    kept = torch.topk(-projection, max_length - window, dim=-1).indices.sort(dim=-1).values
    newest = torch.arange(keys.shape[2] - window, keys.shape[2]).expand(*kept.shape[:2], -1)
    return torch.cat([kept, newest], dim=-1)


def test_the_published_rule_keeps_the_same_entries(llama: PreTrainedModel) -> None:
    ours = QFilters.fit(llama, CALIBRATION)
    published = QFilters.from_official(-ours.filters, llama)
    assert torch.equal(published.filters, ours.filters)
    policy = QFiltersPolicy(published, max_length=20, window_length=8)
    for layer in range(2):
        keys = torch.randn(3, 2, 50, 8, generator=torch.Generator().manual_seed(layer))
        at = torch.arange(50, dtype=torch.int32).expand(3, 2, -1)
        kept = policy.compress(Entries(keys, keys, at, layer, 50), 20)
        expected = official_update(keys, -ours.filters[layer], 20, 8)
        assert torch.equal(kept.positions.long(), expected)
        assert torch.equal(kept.keys, keys.gather(2, expected[..., None].expand(-1, -1, -1, 8)))


def test_fitting_uses_the_queries_that_the_model_computes(llama: PreTrainedModel) -> None:
    filters = QFilters.fit(llama, CALIBRATION, num_samples=10_000)
    attention = llama.model.layers[0].self_attn
    hidden = llama.model.layers[0].input_layernorm(llama.model.embed_tokens(CALIBRATION))
    queries = attention.q_proj(hidden).view(6, 200, 4, 8).transpose(1, 2)
    cosines, sines = llama.model.rotary_emb(hidden, torch.arange(200)[None])
    half = torch.cat([-queries[..., 4:], queries[..., :4]], dim=-1)
    rotated = (queries * cosines[:, None] + half * sines[:, None]).transpose(0, 1).reshape(4, -1, 8)
    v, _ = directions(rotated.detach())
    expected = torch.stack([(v[0] + v[1]) / 2, (v[2] + v[3]) / 2])
    torch.testing.assert_close(filters.filters[0], expected, atol=1e-5, rtol=1e-4)


def test_the_same_seed_gives_the_same_filters_and_texts_may_differ_in_length(llama: PreTrainedModel) -> None:
    texts = [*CALIBRATION, random_tokens(1, 77, seed=3)[0]]
    first = QFilters.fit(llama, texts, num_samples=600, seed=1)
    assert torch.equal(first.filters, QFilters.fit(llama, texts, num_samples=600, seed=1).filters)
    assert not torch.equal(first.filters, QFilters.fit(llama, texts, num_samples=600, seed=2).filters)
    assert first.filters.shape == (2, 2, 8)
    assert first.filters.dtype == torch.float32


def test_texts_are_taken_in_order_until_there_is_enough(llama: PreTrainedModel) -> None:
    enough = QFilters.fit(llama, CALIBRATION[:3], num_samples=10_000)
    assert torch.equal(QFilters.fit(llama, CALIBRATION, max_queries=600, num_samples=10_000).filters, enough.filters)
    cut = QFilters.fit(llama, CALIBRATION[:, :120], num_samples=10_000)
    assert torch.equal(QFilters.fit(llama, CALIBRATION, max_tokens=120, num_samples=10_000).filters, cut.filters)


def test_texts_that_the_tokenizer_cannot_read_are_told_in_one_sentence(llama: PreTrainedModel) -> None:
    def fails(text: str, **_: object) -> None:
        raise Exception("WordLevel error: Missing [UNK] token from the vocabulary")

    with pytest.raises(ValueError, match=r"tokenizer cannot read these texts: WordLevel error"):
        QFilters.fit(llama, tokenizer=fails, texts=["hello"])


def test_saving_and_loading_gives_the_same_filters(llama: PreTrainedModel, tmp_path: Path) -> None:
    saved = QFilters.fit(llama, CALIBRATION)
    read = QFilters.load(saved.save(tmp_path / "filters.safetensors"))
    assert torch.equal(read.filters, saved.filters)
    assert read.fingerprint == saved.fingerprint
    assert read.estimator == "svd"
    assert read.diagnostics is not None
    assert saved.diagnostics is not None
    assert torch.equal(read.diagnostics.energy, saved.diagnostics.energy)
    read.check(llama)


def test_published_filters_are_read_from_a_safetensors_file(llama: PreTrainedModel, tmp_path: Path) -> None:
    save_file({"f": torch.ones(2, 2, 8)}, tmp_path / "official.safetensors")
    assert torch.equal(QFilters.from_official(tmp_path / "official.safetensors", llama).filters, -torch.ones(2, 2, 8))
    with pytest.raises(ValueError, match=r"have the shape \(2, 2, 8\), got \(2, 4, 8\)"):
        QFilters.from_official(torch.ones(2, 4, 8), llama)


def test_files_that_hold_no_filters_are_refused(llama: PreTrainedModel, tmp_path: Path) -> None:
    save_file({"filters": torch.ones(2, 2, 8)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"holds no filters written by QFilters\.save"):
        QFilters.load(tmp_path / "other.safetensors")
    whole = QFilters.fit(llama, CALIBRATION).save(tmp_path / "cut.safetensors")
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(Untrusted, match="is not a whole safetensors file"):
        QFilters.load(whole)
    pickled = tmp_path / "filters.pt"
    torch.save(torch.ones(2), pickled)
    with pytest.raises(Untrusted, match="is not a whole safetensors file"):
        QFilters.load(pickled)
    with pytest.raises(Untrusted, match="does not exist"):
        QFilters.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("what", "settings"),
    [
        ("weight", {"initializer_range": 0.2}),
        ("rope", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}}),
        ("kv_heads", {"num_key_value_heads": 4}),
        ("layers", {"num_hidden_layers": 3}),
        ("head_dim", {"head_dim": 16}),
    ],
)
def test_filters_of_another_model_are_refused(llama: PreTrainedModel, what: str, settings: dict[str, object]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = AutoModelForCausalLM.from_config(CONFIGS["llama"](**SIZES | settings)).eval()
    policy = QFiltersPolicy(QFilters.fit(llama, CALIBRATION), max_length=20, window_length=8)
    with pytest.raises(ValueError, match=f"belong to another model: {what} is .* fit filters for this one"):
        BudgetCache(other, policy)
    BudgetCache(llama, policy)


def test_a_model_is_itself_in_every_precision() -> None:
    assert fingerprint(random_model("llama")) == fingerprint(random_model("llama", torch.bfloat16))


def test_too_little_text_and_text_of_one_token_are_refused(llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="at least 500 queries per head, got 400"):
        QFilters.fit(llama, CALIBRATION[:2])
    with pytest.raises(ValueError, match="at least 500 queries per head, got 100"):
        QFilters.fit(llama, CALIBRATION, num_samples=100)
    with pytest.raises(ValueError, match="one token again and again"):
        QFilters.fit(llama, torch.full((6, 200), 7))
    with pytest.raises(ValueError, match="either input_ids, or texts"):
        QFilters.fit(llama)
    with pytest.raises(ValueError, match="texts need the model's tokenizer"):
        QFilters.fit(llama, texts=["a"])
    with pytest.raises(ValueError, match="estimator must be 'svd' or 'mean', got 'pca'"):
        QFilters.fit(llama, CALIBRATION, estimator="pca")


def test_a_sign_that_is_a_coin_toss_is_told(llama: PreTrainedModel) -> None:
    with pytest.warns(QFiltersWarning, match="the sign of their filter is a coin toss; compare estimator='mean'"):
        QFilters.fit(llama, CALIBRATION)


def test_heads_that_cancel_are_told_and_divide_by_nothing() -> None:
    model = random_model("llama", num_hidden_layers=1, max_position_embeddings=512)  # an object of this test's own
    with torch.no_grad():
        weight = model.model.layers[0].self_attn.q_proj.weight.view(4, 8, 32)
        weight[1] = -weight[0]
    with pytest.warns(QFiltersWarning, match="layer 0, head 0 point in opposite ways"):
        filters = QFilters.fit(model, CALIBRATION, estimator="mean")
    torch.testing.assert_close(filters.filters[0, 0], torch.zeros(8), atol=1e-6, rtol=0)
    policy = QFiltersPolicy(filters, max_length=20, window_length=8)
    cache = BudgetCache(model, policy)
    with torch.no_grad():
        assert model(random_tokens(1, 40), past_key_values=cache).logits.isfinite().all()


def test_a_filter_that_is_not_this_heads_changes_what_is_kept(llama: PreTrainedModel) -> None:
    filters = QFilters.fit(llama, CALIBRATION)
    kept = []
    for these in (filters, replace(filters, filters=filters.filters.flip(1))):
        cache = BudgetCache(llama, QFiltersPolicy(these, max_length=20, window_length=8))
        with torch.no_grad():
            llama(random_tokens(1, 60), past_key_values=cache)
        kept.append(cache.layers[0].positions)
    assert not torch.equal(*kept)
