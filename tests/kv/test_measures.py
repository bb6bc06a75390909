from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from tests.kv.random_models import random_tokens
from transformers import PreTrainedModel

from tameshi.kv import FullPolicy, KeyNormPolicy
from tameshi.kv.attention import watched
from tameshi.kv.measures import answers_after_compression, losses_under_cap, rank_correlations


@torch.no_grad()
def test_losses_under_no_cap_are_those_of_one_pass(llama: PreTrainedModel) -> None:
    tokens = random_tokens(2, 30)
    log_probabilities = llama(tokens).logits.log_softmax(-1)[:, :-1]
    expected = -log_probabilities.gather(-1, tokens[:, 1:, None])[..., 0]
    for chunk in (1, 7, 30):
        torch.testing.assert_close(
            losses_under_cap(llama, tokens, FullPolicy(), chunk=chunk), expected, atol=1e-4, rtol=1e-4
        )
    tight = losses_under_cap(llama, tokens, KeyNormPolicy(max_length=5, window_length=2), chunk=5)
    torch.testing.assert_close(tight[:, :5], expected[:, :5], atol=1e-4, rtol=1e-4)  # read before anything is evicted
    assert (tight[:, 5:] - expected[:, 5:]).abs().max() > 0.1


@torch.no_grad()
def test_answers_without_compression_are_those_of_one_pass(llama: PreTrainedModel) -> None:
    tokens = random_tokens(3, 30)
    losses, right = answers_after_compression(llama, tokens[:, :24], tokens[:, 24:], FullPolicy())
    logits = llama(tokens).logits[:, 23:-1]
    expected = -logits.log_softmax(-1).gather(-1, tokens[:, 24:, None])[..., 0]
    torch.testing.assert_close(losses, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(right, logits.argmax(-1) == tokens[:, 24:])


def test_rank_correlations_are_those_of_a_loop_over_keys(llama: PreTrainedModel) -> None:
    tokens, filters = random_tokens(2, 31), torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(0))
    held = {}

    def keep(layer: int, queries: torch.Tensor, keys: torch.Tensor, scaling: float) -> None:
        held[layer] = queries, keys

    with torch.no_grad(), watched(llama, keep):
        llama(tokens, use_cache=False)
    found = rank_correlations(llama, tokens, filters)
    assert found.shape == (2, 2, 2)
    for document in range(2):
        for layer, (queries, keys) in held.items():
            for head in range(2):
                own = queries[document, 2 * head : 2 * head + 2]  # the query heads that share this key head
                logits = [(own[:, max(j, 15) :] @ keys[document, head, j]).mean().item() for j in range(31)]
                scores = (keys[document, head] @ filters[layer, head]).tolist()
                expected = spearmanr(scores, logits).statistic
                assert found[document, layer, head].item() == pytest.approx(expected, abs=1e-3)
