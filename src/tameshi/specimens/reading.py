"""What a language model is given to read in a check of caches: long documents, and prompts with something to remember.

For the embedded model they are generated (`modes`); for a model of the user's they are cut from the user's texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from tameshi.specimens import haystack, modes
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.modes import Tokens
from tameshi.specimens.texts import Texts


@dataclass(frozen=True, eq=False)
class Asked:
    """Prompts of one length, what follows them, and how many of its last tokens are the answer.

    Args:
        prompt: (rows, length).
        following: (rows, count).
        counted: at most count.
    """

    prompt: Tokens
    following: Tokens
    counted: int


@dataclass(frozen=True, eq=False)
class Reading:
    """The reading of one seed.

    Args:
        model: who reads.
        texts: of the user; None for the standard library's prose, or for the embedded model.
        seed: of everything that is drawn.

    Raises:
        ValueError: texts for the embedded model, which knows none of their words.
    """

    model: CausalLM
    texts: Texts | None
    seed: int

    def __post_init__(self) -> None:
        if self.model.is_specimen and self.texts is not None:
            raise ValueError(
                f"{self.model.name} only reads documents generated for it; --data goes with a --model of your own"
            )

    @property
    def generated(self) -> bool:
        """Whether documents are generated."""
        return self.model.is_specimen

    @cached_property
    def _pools(self) -> tuple[Tokens, Tokens]:
        """Tokens to calibrate on, and tokens to measure on."""
        texts = self.texts if self.texts is not None else Texts.open("specimen:prose")
        held = haystack.pool(self.model.tokenizer, texts.texts)
        cut = int(0.4 * len(held))
        return held[:cut], held[cut:]

    def calibration(self) -> Tokens:
        """(texts, length): what a method may be fitted on; never measured on."""
        seed = 123_000 + self.seed
        if self.generated:
            return modes.documents(24, 256, seed=seed, facts=12, asks=20).tokens
        held = self._pools[0]
        length = min(1024, len(held) // 2)
        return haystack.passages(held, 20, length, seed=seed, begin=self.model.tokenizer.bos_token_id)

    def documents(self, count: int, length: int) -> list[Tokens]:
        """Documents in batches (rows, length): all at once for the embedded model, else one by one."""
        if self.generated:
            facts, asks = 14 * length // 512, 40 * length // 512
            return [modes.documents(count, length, seed=self.seed, facts=facts, asks=asks).tokens]
        begin = self.model.tokenizer.bos_token_id
        return list(haystack.passages(self._pools[1], count, length, seed=self.seed, begin=begin)[:, None])

    def prompts(self, count: int, length: int, depth: float, question: Literal["after", "before"]) -> Iterator[Asked]:
        """Prompts with something to remember at a relative depth.

        Args:
            count: how many.
            length: tokens of each.
            depth: where it stands, in [0, 1).
            question: does it stand in the prompt ("before" the compression), or come after it? For the embedded model there
                is no question after: what follows depends on the mode. Before, it is asked for one fact of nine.
        """
        if self.generated and question == "after":
            whole = modes.mode_needle(count, length + 32, depth=depth * length / (length + 32), seed=self.seed).tokens
            yield Asked(whole[:, :length], whole[:, length:], 32)
        elif self.generated:
            whole = modes.slot_needle(count, length, depth=depth, seed=self.seed).tokens
            yield Asked(whole[:, :-2], whole[:, -2:], 1)
        else:
            tokenizer, held = self.model.tokenizer, self._pools[1]
            for one in haystack.needles(tokenizer, held, count, length, depth=depth, seed=self.seed):
                # The question's last token foretells the answer, so it is never in the prompt.
                inside = len(one.question) - 1 if question == "before" else 0
                prompt = np.concatenate([one.passage, one.question[:inside]])
                following = np.concatenate([one.question[inside:], one.answer])
                yield Asked(prompt[None], following[None], len(one.answer))
