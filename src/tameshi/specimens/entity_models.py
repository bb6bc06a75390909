"""Small language models of the entity world: how they are built, trained and questioned.

Training is deterministic: one thread, drawn batches from a stated seed, the same weights every time on one machine.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tameshi.specimens.entities import BOS, END, IGNORED, PAD, WORDS, Prompt, documents, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Parts = Sequence[tuple[Tensor, Tensor]]  # of one batch: (ids, labels), which may differ in length
READ_AT_ONCE = 8_192  # tokens of one pass where nothing is trained


def fresh_model(seed: int = 0, **changes: Any) -> PreTrainedModel:
    """An untrained member of the family: Llama, 4 layers, width 64, untied, 0.2 M parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings: dict[str, Any] = {
        "vocab_size": len(WORDS),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 64,
        "initializer_range": 0.05,  # with the default 0.02 a model this small hardly moves
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": END,
        "pad_token_id": PAD,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))


def fit(
    model: PreTrainedModel,
    batches: Callable[[torch.Generator], Parts],
    *,
    steps: int,
    rate: float,
    seed: int,
    after: Callable[[int], None] = lambda step: None,
) -> PreTrainedModel:
    """Train in place with AdamW, twenty steps of warm-up and a cosine that falls to zero.

    Args:
        model: a causal language model.
        batches: generator -> parts of one batch; the loss is the mean over all counted tokens of all parts.
        steps: of the optimiser.
        rate: the highest learning rate.
        seed: of the generator that the batches draw from.
        after: called with the number of steps done.
    """
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 1 / 20, total_iters=20),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps - 20)),
        ],
        milestones=[20],
    )
    model.train()
    with one_thread():
        for step in range(steps):
            parts = batches(draw)
            counted = sum(int((labels != IGNORED).sum()) for _, labels in parts)
            optimiser.zero_grad(set_to_none=True)
            for ids, labels in parts:
                on_device = ids.to(model.device), labels.to(model.device)
                torch.autograd.backward(token_losses(model, *on_device).sum() / counted)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            after(step + 1)
    model.train(False)
    return model


def token_losses(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every counted token, in nats.

    Args:
        model: a causal language model.
        ids, labels: (count, length); a label of -100 is not counted.

    Returns:
        (count, length - 1), float32; 0 where nothing is counted.
    """
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    wanted = labels[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return losses.view(wanted.shape)


@torch.no_grad()
def document_losses(model: PreTrainedModel, ids: Tensor) -> list[float]:
    """Mean cross-entropy per token of each document, in nats: the logarithm of its perplexity."""
    with one_thread():
        return [
            float(loss)
            for part in ids.to(model.device).split(_at_once(ids.shape[1]))
            for loss in token_losses(model, *documents(part)).double().mean(dim=1)
        ]


@torch.no_grad()
def tokens_foreseen(model: PreTrainedModel, ids: Tensor) -> float:
    """Share of the tokens after the first, (count, length) ids, that are the likeliest after the ones before."""
    ids = ids.to(model.device)
    with one_thread():
        likeliest = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(dim=2)
    return float((likeliest == ids[:, 1:]).double().mean())


@torch.no_grad()
def answers_right(model: PreTrainedModel, prompts: Sequence[Prompt]) -> list[float]:
    """1.0 where greedy decoding gives the whole answer, else 0.0.

    It does so exactly if every token of the answer is the likeliest after the ones before; one pass suffices.
    """
    count = _at_once(max(len(p.tokens) + len(p.answer) for p in prompts))
    right: list[float] = []
    for start in range(0, len(prompts), count):
        ids, labels = (part.to(model.device) for part in padded(prompts[start : start + count]))
        with one_thread():
            likeliest = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(dim=2)
        wanted = labels[:, 1:]
        right += [float(r) for r in ((likeliest == wanted) | (wanted == IGNORED)).all(dim=1)]
    return right


def _at_once(length: int) -> int:
    """How many sequences of a length are read in one pass: the logits of a large vocabulary take room."""
    return max(1, READ_AT_ONCE // length)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums then have one order, and models this small are fastest so."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def prefer(
    model: PreTrainedModel,
    pairs: Callable[[torch.Generator], tuple[Sequence[Prompt], Sequence[Prompt]]],
    *,
    steps: int,
    rate: float,
    seed: int,
    beta: float = 0.1,
) -> PreTrainedModel:
    """Train in place by direct preference optimisation (Rafailov et al. 2023), against the model as it came.

    Args:
        model: a causal language model; a frozen copy of it is the reference.
        pairs: generator -> (preferred, rejected), the same prompts with other answers.
        steps: of the optimiser, at a constant rate.
        rate: learning rate.
        seed: of the generator.
        beta: how far the model may move from the reference.
    """
    draw = torch.Generator().manual_seed(seed)
    reference = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    with one_thread():
        for _ in range(steps):
            sides = [padded(prompts) for prompts in pairs(draw)]
            gains = []
            for ids, labels in sides:
                with torch.no_grad():
                    before = token_losses(reference, ids, labels).sum(dim=1)
                gains.append(before - token_losses(model, ids, labels).sum(dim=1))
            loss = -torch.nn.functional.logsigmoid(beta * (gains[0] - gains[1])).mean()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
    model.train(False)
    return model
