"""What a policy costs on texts of your own: likelihood under a cap, answers after compression, how well a score foretells."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from tameshi.kv.attention import watched
from tameshi.kv.cache import BudgetCache
from tameshi.kv.policy import Policy
from tameshi.kv.prefill import compress_after_prefill
from tameshi.kv.q_filters import project


@torch.no_grad()
def losses_under_cap(model: PreTrainedModel, tokens: Tensor, policy: Policy, *, chunk: int = 1) -> Tensor:
    """How well documents are foretold while the cache never holds more than the policy allows.

    Args:
        model: a causal language model.
        tokens: (documents, length).
        policy: what stays.
        chunk: tokens read at a time, which see each other whatever the policy; 1 is what generation does.

    Returns:
        (documents, length - 1), float32: negative log-likelihood of every token but the first, in nats.
    """
    held = BudgetCache(model, policy)
    logits = torch.cat([model(part, past_key_values=held).logits for part in torch.split(tokens, chunk, dim=1)], dim=1)
    return F.cross_entropy(logits[:, :-1].transpose(1, 2).float(), tokens[:, 1:], reduction="none")


@torch.no_grad()
def answers_after_compression(
    model: PreTrainedModel, prompt: Tensor, following: Tensor, policy: Policy
) -> tuple[Tensor, Tensor]:
    """How well what follows a prompt is foretold once the prompt has been compressed.

    Args:
        model: a causal language model.
        prompt: (rows, length), read whole and then compressed.
        following: (rows, count), read afterwards; the model is given each token after it was to foretell it.
        policy: what stays of the prompt.

    Returns:
        Negative log-likelihoods in nats, and whether each token was the likeliest; both (rows, count).
    """
    with compress_after_prefill(model, policy):
        read = model(prompt, logits_to_keep=1)
    after = model(following, past_key_values=read.past_key_values)
    logits = torch.cat([read.logits, after.logits[:, :-1]], dim=1).float()
    return F.cross_entropy(logits.transpose(1, 2), following, reduction="none"), logits.argmax(-1) == following


@torch.no_grad()
def rank_correlations(model: PreTrainedModel, tokens: Tensor, filters: Tensor) -> Tensor:
    """Spearman's coefficient of the score of a key and the mean logit that later queries give it.

    The mean is over the queries in the last half of a document that can see the key, and over the heads that share it.

    Args:
        model: a causal language model.
        tokens: (documents, length).
        filters: (layers, kv_heads, head_dim).

    Returns:
        (documents, layers, kv_heads), float32.
    """
    found: list[Tensor] = []

    def compare(layer: int, queries: Tensor, keys: Tensor, scaling: float) -> None:
        batch, _, length, dim = queries.shape
        shared = queries.float().view(batch, keys.shape[1], -1, length, dim).mean(2)[..., length // 2 :, :]
        seeing = torch.arange(shared.shape[-2], 0, -1, device=keys.device)[:, None]  # queries from each place on
        mean = shared.flip(-2).cumsum(-2).flip(-2) / seeing
        seen_by_all = mean[..., :1, :].expand(-1, -1, length // 2, -1)
        logits = (torch.cat([seen_by_all, mean], dim=-2) * keys.float()).sum(-1) * scaling
        found.append(_spearman(project(keys, filters[layer].to(keys.device)), logits))

    with watched(model, compare):
        model(tokens, use_cache=False)
    return torch.stack(found, dim=1)


def _spearman(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation along the last dimension; values that are alike get different ranks, by their place."""
    centred = [t.argsort(dim=-1, stable=True).argsort(dim=-1).double() - (t.shape[-1] - 1) / 2 for t in (x, y)]
    return F.cosine_similarity(centred[0], centred[1], dim=-1).float()
