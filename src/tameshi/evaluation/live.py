"""A transformers causal language model in memory that answers conversations."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from tameshi.doors import models
from tameshi.evaluation.messages import Message

LONGEST = 256  # tokens of an answer where the caller does not say; a small model that has not ended by then never will


class Live:
    """Answers one conversation at a time, whoever asks.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer; its chat template is used where it has one, else plain "role: text" lines.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        if tokenizer is None:
            raise ValueError("a model that answers questions needs a tokenizer, and this folder has none")
        self.model, self.tokenizer = model, tokenizer
        self._one_at_a_time = threading.Lock()

    @classmethod
    def open(cls, folder: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Live:
        """Open a model folder through the door of models.

        Raises:
            tameshi.doors.models.Untrusted: the folder is not fit to open.
        """
        return cls(*models.causal_lm(models.look_at(folder, online=online), device=device, dtype=dtype))

    async def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> tuple[str, int, int]:
        """Text, tokens read, tokens written. Greedy unless a temperature above 0 is given."""
        return await asyncio.to_thread(self._answer, messages, max_tokens or LONGEST, temperature, top_p, seed)

    def _answer(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        temperature: float | None,
        top_p: float | None,
        seed: int | None,
    ) -> tuple[str, int, int]:
        import torch

        tokens = torch.tensor([self.encode(messages)], device=self.model.device)
        longest = getattr(self.model.config, "max_position_embeddings", None)
        if longest is not None and tokens.shape[1] >= longest:
            raise ValueError(
                f"the conversation has {tokens.shape[1]:,} tokens; the model answers at most {longest - 1:,}"
            )
        room = max_tokens if longest is None else min(max_tokens, longest - tokens.shape[1])
        settings: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature:
            settings |= {"do_sample": True, "temperature": temperature, "top_p": top_p or 1.0, "top_k": 0}
        with self._one_at_a_time, torch.random.fork_rng(), torch.inference_mode():
            if seed is not None:
                torch.manual_seed(seed)
            ends = self.tokenizer.eos_token_id
            written = self.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=room,
                pad_token_id=self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else ends,
                **settings,
            )[0, tokens.shape[1] :]
        return self.tokenizer.decode(written, skip_special_tokens=True), tokens.shape[1], len(written)

    async def hidden_states(self, messages: Sequence[Message]) -> list[list[list[float]]]:
        """The hidden states of the conversation, layer by layer: (layers + 1, tokens, width) as lists, as JSON needs them."""
        return await asyncio.to_thread(self._hidden_states, messages)

    def _hidden_states(self, messages: Sequence[Message]) -> list[list[list[float]]]:
        import torch

        tokens = torch.tensor([self.encode(messages)], device=self.model.device)
        with self._one_at_a_time, torch.inference_mode():
            layers = self.model(tokens, output_hidden_states=True, use_cache=False).hidden_states
        return [layer[0].float().tolist() for layer in layers]

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The conversation as tokens, ready for the model's next turn."""
        if self.tokenizer.chat_template:
            chat = [dict(m) for m in messages]
            text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        lines = [f"{m['role']}: {m['content']}" for m in messages]
        return list(self.tokenizer("\n".join([*lines, "assistant:"]))["input_ids"])
