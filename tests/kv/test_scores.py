"""Scores against values worked out by hand, and against independent implementations."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kv.random_models import CONFIGS, random_model, random_tokens
from transformers import LlamaConfig, PreTrainedModel

from tameshi.kv import (
    ExpectedAttentionPolicy,
    H2OPolicy,
    KeyNormPolicy,
    SnapKVPolicy,
    StreamingLLMPolicy,
)
from tameshi.kv.attention import attention_mass, watched
from tameshi.kv.policy import Entries
from tameshi.kv.rotary import Rotary


def positions(batch: int, heads: int, length: int) -> torch.Tensor:
    return torch.arange(length, dtype=torch.int32).expand(batch, heads, -1)


def attention_of(model: PreTrainedModel, tokens: torch.Tensor) -> tuple[list[Entries], list[torch.Tensor]]:
    """What each layer held and queried, and the attention that the model itself reports, (batch, heads, n, n)."""
    found: list[Entries] = []

    def watch(layer: int, queries: torch.Tensor, keys: torch.Tensor, scaling: float) -> None:
        batch, heads, length, _ = keys.shape
        at = positions(batch, heads, length)
        found.append(Entries(keys, keys, at, layer, length, queries=queries, scaling=scaling, rotary=Rotary(model)))

    with torch.no_grad(), watched(model, watch):
        model(tokens)
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            return found, list(model(tokens, output_attentions=True).attentions)
    finally:
        model.set_attn_implementation("sdpa")


def per_key_head(attention: torch.Tensor) -> torch.Tensor:
    return attention.view(attention.shape[0], 2, 2, *attention.shape[2:]).mean(2)


def test_key_norm_keeps_the_smallest() -> None:
    keys = torch.tensor([[1.0, 5], [-1, 0], [0.5, 0], [3, -9]])[None, None]
    scores = KeyNormPolicy(max_length=2, window_length=0).scores(Entries(keys, keys, positions(1, 1, 4), 0, 4))
    torch.testing.assert_close(scores, -torch.tensor([[[26**0.5, 1, 0.5, 90**0.5]]]))
    policy = KeyNormPolicy(max_length=2, window_length=0)
    assert policy.compress(Entries(keys, keys, positions(1, 1, 4), 0, 4), 2).positions.tolist() == [[[1, 2]]]


def test_streaming_keeps_the_first_and_the_newest() -> None:
    keys = torch.zeros(1, 1, 10, 2)
    policy = StreamingLLMPolicy(max_length=6, window_length=1, sinks=4)
    assert policy.compress(Entries(keys, keys, positions(1, 1, 10), 0, 10), 6).positions.tolist() == [
        [[0, 1, 2, 3, 8, 9]]
    ]


def test_uniform_attention_gives_early_keys_more_even_per_query() -> None:
    same = torch.zeros(1, 1, 4, 2)
    entries = Entries(same, same, positions(1, 1, 4), 0, 4, queries=same)
    observed = H2OPolicy(max_length=70).observe(entries)
    torch.testing.assert_close(
        H2OPolicy(max_length=70).scores(observed), torch.tensor([[[25 / 12, 13 / 12, 7 / 12, 1 / 4]]])
    )
    torch.testing.assert_close(
        H2OPolicy(max_length=70, per_query=True).scores(observed), torch.tensor([[[25 / 48, 13 / 36, 7 / 24, 1 / 4]]])
    )


@pytest.mark.parametrize("architecture", CONFIGS)
def test_attention_mass_is_what_the_model_says_it_attends_to(architecture: str) -> None:
    model = random_model(architecture)
    for entries, attention in zip(*attention_of(model, random_tokens(2, 30)), strict=True):
        assert entries.queries is not None
        for block in (7, 64):
            mass = attention_mass(
                entries.queries, entries.keys, entries.positions, entries.seen, entries.scaling, block=block
            )
            torch.testing.assert_close(mass, per_key_head(attention).sum(-2), atol=2e-5, rtol=1e-5)


def test_snapkv_is_the_smoothed_mean_over_the_window(llama: PreTrainedModel) -> None:
    for entries, attention in zip(*attention_of(llama, random_tokens(2, 30)), strict=True):
        scores = SnapKVPolicy(max_length=20, window_length=6, kernel=5).scores(entries)
        window = per_key_head(attention)[..., -6:, :24].mean(-2)
        padded = torch.nn.functional.pad(window, (2, 2))
        smooth = torch.stack([padded[..., i : i + 5].mean(-1) for i in range(24)], dim=-1)
        torch.testing.assert_close(scores[..., :24], smooth, atol=1e-5, rtol=1e-5)


def test_h2o_adds_up_pass_by_pass_what_one_pass_would_give(llama: PreTrainedModel) -> None:
    from tameshi.kv import BudgetCache

    tokens = random_tokens(2, 30)
    cache = BudgetCache(llama, H2OPolicy(max_length=65))
    with torch.no_grad():
        for part in tokens.split(7, dim=1):
            llama(part, past_key_values=cache)
    for layer, attention in zip(cache.budgeted, attention_of(llama, tokens)[1], strict=True):
        torch.testing.assert_close(layer.slots["attention"], per_key_head(attention).sum(-2), atol=2e-5, rtol=1e-5)


def test_expected_attention_of_normal_queries_is_what_drawn_queries_give(llama: PreTrainedModel) -> None:
    """Without rotation (one future position: 0), the closed form equals the mean of exp(logit) over many normal queries."""
    generator = torch.Generator().manual_seed(0)
    dim, count = 8, 40_000
    mixing = torch.randn(dim, dim, generator=generator) * 0.4
    drawn = torch.randn(count, dim, generator=generator) @ mixing + torch.randn(dim, generator=generator)
    keys = torch.randn(1, 1, 12, dim, generator=generator)
    policy = ExpectedAttentionPolicy(max_length=70, sinks=0, future=1)

    class Still(Rotary):
        def __init__(self) -> None: ...

        def move(self, tensor: torch.Tensor, *_: object) -> torch.Tensor:
            return tensor

        def expected(self, tensor: torch.Tensor, *_: object) -> torch.Tensor:
            return tensor

    values = torch.ones(1, 1, 12, 1)
    entries = Entries(
        keys, values, positions(1, 1, 12), 0, count, queries=drawn[None, None], scaling=0.5, rotary=Still()
    )
    simulated = (drawn @ keys[0, 0].T * 0.5).exp().mean(0)
    torch.testing.assert_close(policy.scores(entries)[0, 0], simulated / simulated.sum(), atol=0.01, rtol=0.05)


def test_expected_attention_weighs_with_the_norm_of_the_value_and_keeps_the_sinks(llama: PreTrainedModel) -> None:
    entries = attention_of(llama, random_tokens(1, 40))[0][0]
    twice = Entries(
        entries.keys, 2 * entries.values, entries.positions, 0, 40,
        queries=entries.queries, scaling=entries.scaling, rotary=entries.rotary,
    )  # fmt: skip
    policy = ExpectedAttentionPolicy(max_length=70)
    torch.testing.assert_close(policy.scores(twice), 2 * policy.scores(entries))
    assert policy.scores(entries)[..., :4].isinf().all()


@pytest.mark.parametrize("architecture", CONFIGS)
def test_moving_keys_gives_what_reading_them_elsewhere_gives(architecture: str) -> None:
    model, tokens = random_model(architecture), random_tokens(1, 12)
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int, queries: torch.Tensor, keys: torch.Tensor, scaling: float) -> None:
        seen[layer] = keys

    at = torch.arange(12)
    rotated = []
    for shift in (0, 700):
        with torch.no_grad(), watched(model, keep):
            model(tokens, position_ids=at[None] + shift, use_cache=False)
        rotated.append(seen[0])
    here = at.expand(1, 1, 12)
    moved = Rotary(model).move(rotated[0], here, here + 700, layer=0)
    torch.testing.assert_close(moved, rotated[1], atol=5e-4, rtol=1e-4)


def test_moving_there_and_back_is_no_move_even_where_the_embedding_scales() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "rope_theta": 10_000.0}
    model = random_model("llama")
    config = LlamaConfig(**model.config.to_dict() | {"rope_parameters": yarn})
    scaled = Rotary(type(model)(config))
    cosines, sines = scaled.angles(torch.zeros(1, 1), 0, torch.zeros(1))
    assert math.hypot(cosines.max(), sines.max()) > 1.1, "this embedding was meant to scale"
    keys, at = torch.randn(2, 3, 10, 8), torch.arange(10).expand(1, 1, 10)
    there = scaled.move(keys, at, at + 90, layer=0)
    torch.testing.assert_close(there.norm(dim=-1), keys.norm(dim=-1))
    torch.testing.assert_close(scaled.move(there, at + 90, at, layer=0), keys, atol=1e-4, rtol=1e-4)


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel must be odd and at least 1, got 4"):
        SnapKVPolicy(max_length=70, kernel=4)
    with pytest.raises(ValueError, match="window_length must be at least 1"):
        SnapKVPolicy(max_length=70, window_length=0)
