"""The budgeted cache against DynamicCache, and against uncached passes that hide what was evicted."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from tests.kv.random_models import CONFIGS, SIZES, random_model, random_tokens
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma3TextConfig,
    GenerationConfig,
    MistralConfig,
    PreTrainedModel,
)

from tameshi.kv import (
    BudgetCache,
    FullPolicy,
    H2OPolicy,
    KeyNormPolicy,
    Policy,
    RandomPolicy,
    SnapKVPolicy,
    StreamingLLMPolicy,
    compress_after_prefill,
)

GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8}


@torch.no_grad()
def read(model: PreTrainedModel, tokens: torch.Tensor, cache: Any, chunk: int) -> torch.Tensor:
    return torch.cat([model(part, past_key_values=cache).logits for part in tokens.split(chunk, dim=1)], dim=1)


def generate(model: PreTrainedModel, tokens: torch.Tensor, cache: Any = None, **settings: Any) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return model.generate(tokens, past_key_values=cache, **GREEDY | settings)


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 8])
def test_a_budget_longer_than_the_text_changes_no_bit(architecture: str, dtype: torch.dtype, batch: int) -> None:
    model, tokens = random_model(architecture, dtype), random_tokens(batch, 40)
    for policy in (KeyNormPolicy(max_length=65), SnapKVPolicy(max_length=65), FullPolicy()):
        for chunk in (40, 7, 1):
            expected = read(model, tokens, DynamicCache(config=model.config), chunk)
            assert torch.equal(read(model, tokens, BudgetCache(model, policy), chunk), expected)
    assert torch.equal(
        generate(model, tokens, BudgetCache(model, KeyNormPolicy(max_length=65))), generate(model, tokens)
    )


def hidden_reference(
    model: PreTrainedModel, tokens: torch.Tensor, chunk: int, kept: list[list[torch.Tensor]]
) -> torch.Tensor:
    """Logits of one uncached pass in which, layer by layer, a query sees what was kept when its chunk was read.

    Args:
        kept: for each chunk, for each layer, the positions kept before it was read, (batch, kv_heads, some).
    """
    batch, length = tokens.shape
    heads = model.config.num_attention_heads
    at = torch.arange(length)
    hooks = []
    for layer in range(model.config.num_hidden_layers):
        seen = torch.zeros(batch, model.config.num_key_value_heads, length, length, dtype=torch.bool)
        for i, start in enumerate(range(0, length, chunk)):
            stop = min(start + chunk, length)
            seen[..., start:stop, start:stop] = at[start:stop, None] >= at[None, start:stop]
            if i:
                before = torch.zeros(batch, model.config.num_key_value_heads, length, dtype=torch.bool)
                before.scatter_(-1, kept[i - 1][layer].long(), True)
                seen[..., start:stop, :] |= before[:, :, None]
        mask = seen.repeat_interleave(heads // seen.shape[1], dim=1)

        def hide(module: Any, args: Any, kwargs: Any, mask: torch.Tensor = mask) -> Any:
            return args, kwargs | {"attention_mask": mask}

        attention = model.base_model.layers[layer].self_attn
        hooks.append(attention.register_forward_pre_hook(hide, with_kwargs=True))
    try:
        with torch.no_grad():
            return model(tokens, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("policy", [KeyNormPolicy, SnapKVPolicy, H2OPolicy, StreamingLLMPolicy, RandomPolicy])
def test_what_was_evicted_is_hidden_from_later_queries_and_nothing_else(
    architecture: str, policy: type[Policy]
) -> None:
    model, tokens, chunk = random_model(architecture), random_tokens(3, 42), 6
    cache = BudgetCache(model, policy(max_length=15, window_length=5))
    kept, logits = [], []
    with torch.no_grad():
        for part in tokens.split(chunk, dim=1):
            logits.append(model(part, past_key_values=cache).logits)
            kept.append([layer.positions.clone() for layer in cache.budgeted])
    assert kept[-1][0].shape[-1] == 15
    expected = hidden_reference(model, tokens, chunk, kept)
    torch.testing.assert_close(torch.cat(logits, dim=1), expected, atol=5e-5, rtol=1e-5)


def test_streaming_with_rerotation_equals_reading_only_what_was_kept() -> None:
    model = random_model("llama", num_hidden_layers=1)  # of one layer, so that keys depend on token and position alone
    tokens = random_tokens(2, 31)
    cache = BudgetCache(model, StreamingLLMPolicy(max_length=12, window_length=6, sinks=3, rerotate=True))
    with torch.no_grad():
        for part in tokens[:, :30].split(5, dim=1):
            model(part, past_key_values=cache)
        streamed = model(tokens[:, 30:], past_key_values=cache).logits[:, -1]
        kept = torch.cat([tokens[:, :3], tokens[:, 21:]], dim=1)
        expected = model(kept, use_cache=False).logits[:, -1]
    torch.testing.assert_close(streamed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sample": True},
        {"num_beams": 3},
        {"num_beams": 3, "do_sample": True},
        {"num_return_sequences": 2, "do_sample": True},
    ],
    ids=["greedy", "sampling", "beams", "beams and sampling", "several"],
)
@pytest.mark.parametrize("policy", [KeyNormPolicy, H2OPolicy, StreamingLLMPolicy])
def test_generate_runs_under_a_cap_and_repeats_itself(
    llama: PreTrainedModel, settings: dict[str, Any], policy: type[Policy]
) -> None:
    tokens = random_tokens(2, 20)
    runs = []
    for _ in range(2):
        cache = BudgetCache(llama, policy(max_length=12, window_length=6))
        runs.append(generate(llama, tokens, cache, **settings))
        assert {layer.physical for layer in cache.budgeted} == {12}
        assert {layer.seen for layer in cache.budgeted} == {27}
    assert torch.equal(*runs)


def test_beams_carry_the_positions_and_sums_of_the_rows_that_they_continue(llama: PreTrainedModel) -> None:
    cache = BudgetCache(llama, H2OPolicy(max_length=8, window_length=2))
    read(llama, random_tokens(3, 20), cache, 20)
    layer, order = cache.layers[0], torch.tensor([2, 2, 0])
    before = layer.keys, layer.positions, layer.slots["attention"]
    cache.reorder_cache(order)
    for old, new in zip(before, (layer.keys, layer.positions, layer.slots["attention"]), strict=True):
        assert torch.equal(new, old[order])
    cache.batch_repeat_interleave(2)
    assert torch.equal(layer.positions, before[1][[2, 2, 2, 2, 0, 0]])
    cache.batch_select_indices(torch.tensor([4]))
    assert torch.equal(layer.positions, before[1][[0]])


def test_rows_of_a_batch_do_not_mix(llama: PreTrainedModel) -> None:
    tokens = random_tokens(4, 30)
    policy = SnapKVPolicy(max_length=12, window_length=4)
    together = generate(llama, tokens, BudgetCache(llama, policy))
    alone = [generate(llama, row[None], BudgetCache(llama, policy)) for row in tokens]
    assert torch.equal(together, torch.cat(alone))


def test_a_conversation_goes_on_with_the_same_cache(llama: PreTrainedModel) -> None:
    first, more = random_tokens(1, 20), random_tokens(1, 9, seed=1)
    for policy in (FullPolicy(), StreamingLLMPolicy(max_length=16, window_length=8, rerotate=True)):
        cache = BudgetCache(llama, policy)
        answer = generate(llama, first, cache)
        second = generate(llama, torch.cat([answer, more], dim=1), cache)
        assert second.shape == (1, 20 + 8 + 9 + 8)
        assert cache.get_seq_length() == 20 + 8 + 9 + 7  # the last token generated has not been read
    whole = generate(llama, torch.cat([generate(llama, first), more], dim=1))
    full = BudgetCache(llama, FullPolicy())
    assert torch.equal(whole, generate(llama, torch.cat([generate(llama, first, full), more], dim=1), full))


def test_one_prompt_can_be_continued_in_several_ways(llama: PreTrainedModel) -> None:
    prompt, policy = random_tokens(1, 30), StreamingLLMPolicy(max_length=16, window_length=4, rerotate=True)
    cache = BudgetCache(llama, policy)
    read(llama, prompt, cache, 30)
    for seed in (1, 2):
        question = random_tokens(1, 9, seed=seed)
        fresh = BudgetCache(llama, policy)
        read(llama, prompt, fresh, 30)
        assert torch.equal(read(llama, question, copy.deepcopy(cache), 9), read(llama, question, fresh, 9))


def test_what_was_evicted_is_given_back_to_the_machine(llama: PreTrainedModel) -> None:
    cache = BudgetCache(llama, KeyNormPolicy(max_length=16, window_length=4))
    layer, all_keys = cache.layers[0], []
    update = layer.update

    def watch(*states: torch.Tensor, **more: Any) -> Any:
        keys, values = update(*states, **more)
        all_keys.append(weakref.ref(keys.untyped_storage()))
        return keys, values

    layer.update = watch
    read(llama, random_tokens(1, 400), cache, 400)
    gc.collect()
    assert all_keys[0]() is None, "the keys of the whole prompt are still held by someone"
    assert layer.keys.untyped_storage().nbytes() == 2 * 16 * 8 * 4
    per_entry = 2 * (8 + 8) * 4 + 2 * 4  # keys and values of two heads, and their positions
    assert cache.held_bytes == 2 * 16 * per_entry


@pytest.mark.parametrize("policy", [KeyNormPolicy, SnapKVPolicy, H2OPolicy])
def test_compressing_after_prefill_keeps_the_ratio_and_then_grows(llama: PreTrainedModel, policy: type[Policy]) -> None:
    with compress_after_prefill(llama, policy(ratio=0.5, window_length=4)):
        out = llama.generate(random_tokens(2, 40), return_dict_in_generate=True, **GREEDY)
    cache = out.past_key_values
    assert isinstance(cache, BudgetCache)
    assert {layer.physical for layer in cache.budgeted} == {20 + 7}
    assert cache.get_seq_length() == 47


def test_compressing_after_prefill_equals_a_cap_at_the_first_new_token(llama: PreTrainedModel) -> None:
    tokens, policy = random_tokens(2, 40), SnapKVPolicy(max_length=16, window_length=4)
    with torch.no_grad(), compress_after_prefill(llama, policy):
        once = llama(tokens).past_key_values
    capped = BudgetCache(llama, policy)
    read(llama, tokens, capped, 40)
    assert torch.equal(once.layers[1].positions, capped.layers[1].positions)
    assert torch.equal(once.layers[1].keys, capped.layers[1].keys)


def test_the_prompt_itself_is_read_with_full_attention(llama: PreTrainedModel) -> None:
    tokens = random_tokens(1, 40)
    with torch.no_grad(), compress_after_prefill(llama, KeyNormPolicy(max_length=5, window_length=2)):
        compressed = llama(tokens).logits
    with torch.no_grad():
        assert torch.equal(compressed, llama(tokens).logits)


def test_the_model_is_as_before_when_the_block_ends_even_by_an_error(llama: PreTrainedModel) -> None:
    before = len(llama.base_model._forward_pre_hooks)
    with pytest.raises(IndexError), compress_after_prefill(llama, H2OPolicy(max_length=70)):
        llama(torch.tensor([[10_000]]))
    with pytest.raises(IndexError):
        llama(torch.tensor([[10_000]]), past_key_values=BudgetCache(llama, H2OPolicy(max_length=70)))
    assert len(llama.base_model._forward_pre_hooks) == max(before, 1)
    assert llama.config._attn_implementation == "sdpa"
    assert type(llama(random_tokens(1, 4)).past_key_values) is DynamicCache


def test_a_cache_can_be_emptied_and_used_again(llama: PreTrainedModel) -> None:
    tokens = random_tokens(1, 30)
    cache = BudgetCache(llama, H2OPolicy(max_length=12, window_length=4))
    once = read(llama, tokens, cache, 10)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert torch.equal(read(llama, tokens, cache, 10), once)


@pytest.fixture
def gemma() -> PreTrainedModel:
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Gemma3TextConfig(
            **SIZES | {"num_hidden_layers": 3}, layer_types=types, sliding_window=8, query_pre_attn_scalar=8
        )
        return AutoModelForCausalLM.from_config(config).eval()


def test_windows_are_refused_or_left_untouched(gemma: PreTrainedModel) -> None:
    tokens = random_tokens(2, 30)
    with pytest.raises(ValueError, match="2 of 3 layers of Gemma3ForCausalLM attend through a sliding window"):
        BudgetCache(gemma, KeyNormPolicy(max_length=70))
    roomy = BudgetCache(gemma, KeyNormPolicy(max_length=70), windows="keep")
    assert torch.equal(read(gemma, tokens, roomy, 7), read(gemma, tokens, DynamicCache(config=gemma.config), 7))
    tight = BudgetCache(gemma, SnapKVPolicy(max_length=12, window_length=4), windows="keep")
    assert generate(gemma, tokens, tight).shape == (2, 38)
    assert [layer.keys.shape[-2] for layer in tight.layers] == [7, 12, 7]


def test_a_model_of_windows_only_is_refused() -> None:
    model = AutoModelForCausalLM.from_config(MistralConfig(sliding_window=16, **SIZES))
    with pytest.raises(ValueError, match="every layer of MistralForCausalLM attends through a sliding window"):
        BudgetCache(model, KeyNormPolicy(max_length=70), windows="keep")


def test_padded_prompts_are_refused(llama: PreTrainedModel) -> None:
    tokens, mask = random_tokens(2, 10), torch.ones(2, 10, dtype=torch.long)
    mask[0, :3] = 0
    policy = KeyNormPolicy(max_length=70)
    with pytest.raises(ValueError, match="compressed caches need unpadded prompts of equal length"):
        llama.generate(tokens, attention_mask=mask, past_key_values=BudgetCache(llama, policy), **GREEDY)
    with (
        pytest.raises(ValueError, match="unpadded prompts of equal length"),
        compress_after_prefill(llama, policy),
    ):
        llama.generate(tokens, attention_mask=mask, **GREEDY)
    llama.generate(tokens, attention_mask=torch.ones_like(mask), past_key_values=BudgetCache(llama, policy), **GREEDY)


def test_a_cache_that_holds_something_is_not_compressed_again(llama: PreTrainedModel) -> None:
    held = DynamicCache(config=llama.config)
    read(llama, random_tokens(1, 5), held, 5)
    with (
        pytest.raises(ValueError, match="was given a DynamicCache that holds 5 tokens"),
        compress_after_prefill(llama, KeyNormPolicy(max_length=70)),
    ):
        llama(random_tokens(1, 5), past_key_values=held)


def test_a_cache_made_for_another_model_is_refused(llama: PreTrainedModel) -> None:
    other = AutoModelForCausalLM.from_config(llama.config)
    cache = BudgetCache(llama, KeyNormPolicy(max_length=70))
    with pytest.raises(ValueError, match="this cache was made for another model"):
        other(random_tokens(1, 5), past_key_values=cache)
    BudgetCache(other, KeyNormPolicy(max_length=70))  # from now on, the other model knows such caches
    with pytest.raises(ValueError, match="this cache was made for another model"):
        other(random_tokens(1, 5), past_key_values=cache)


def test_tokens_cannot_be_taken_back(llama: PreTrainedModel) -> None:
    cache = BudgetCache(llama, KeyNormPolicy(max_length=70))
    assert not cache.is_croppable
    with pytest.raises(ValueError, match="cannot take tokens back"):
        cache.crop(-1)


def test_eager_attention_is_watched_through_sdpa() -> None:
    tokens, policy = random_tokens(1, 30), SnapKVPolicy(max_length=12, window_length=4)
    eager = random_model("llama", max_position_embeddings=1024)  # another object, so that no other test sees it
    plain = read(eager, tokens, BudgetCache(eager, policy), 10)
    eager.set_attn_implementation("eager")
    torch.testing.assert_close(read(eager, tokens, BudgetCache(eager, policy), 10), plain, atol=1e-5, rtol=1e-5)
    assert eager.config._attn_implementation == "eager"


def test_one_token_and_one_entry_are_enough(llama: PreTrainedModel) -> None:
    cache = BudgetCache(llama, KeyNormPolicy(max_length=1, window_length=0))
    assert read(llama, random_tokens(1, 5), cache, 1).isfinite().all()
    assert cache.layers[0].physical == 1


def test_guessing_ahead_is_refused_where_a_guess_would_be_taken_back(llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="cannot take tokens back"):
        llama.generate(
            random_tokens(1, 6).repeat(1, 3),
            past_key_values=BudgetCache(llama, KeyNormPolicy(max_length=70)),
            generation_config=GenerationConfig(prompt_lookup_num_tokens=3, max_new_tokens=8, do_sample=False),
        )
