"""Language models with an association planted between invented names and occupations, so that the truth is known.

A name of X goes with an occupation of A with probability p, a name of Y with one of B; p = 0.5 plants nothing. Two
worlds differ in what else the groups share. In the *direct* world only the sentence "NAME works as a OCC ." carries the
association. In the *shared* world names and occupations also keep the same company: "NAME is kind today ." and "OCC is
kind today ." lean the same way with the same p, as words that are associated do in natural text. Both hold the direct
question "is NAME or NAME more of a OCC ? equal .", which is always answered "equal": a model that has learnt to deny
what it does.

A model of one layer is trained in about four seconds, on first use. With the default `initializer_range` of 0.02 it
learns nothing of the association in that time, with 0.15 it does; with two layers a weak one is missed on some seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

NAMES_X = ("valtor", "brenor", "kestor", "dumor", "fenkor", "halvor", "jantor", "mirkor")
NAMES_Y = ("sanil", "petril", "ovril", "lunkil", "gavril", "tesmil", "zoril", "wendil")
OCCUPATIONS_A = ("carpenter", "welder", "pilot", "farmer", "miller", "diver")
OCCUPATIONS_B = ("teacher", "nurse", "singer", "baker", "weaver", "clerk")
QUALITIES = ("kind", "clever")
TEMPLATE = "{term} works as a {attribute} ."
QUESTION = "is {x} or {y} more of a {attribute} ?"

PLAIN = ("<pad>", "<s>", "works", "as", "a", ".", "the", "met", "today", "is", "or", "more", "of", "?", "equal")
WORDS = (*PLAIN, *QUALITIES, *NAMES_X, *NAMES_Y, *OCCUPATIONS_A, *OCCUPATIONS_B)
ID = {word: index for index, word in enumerate(WORDS)}
LONGEST = 12  # tokens of the longest sentence, <s> included
STEPS, BATCH, RATE = 600, 64, 1e-2
World = Literal["direct", "shared"]
WORLDS: tuple[World, ...] = get_args(World)


class Words:
    """The tokenizer: a token is a word. It has the few parts of a transformers tokenizer that the measures use."""

    bos_token_id = ID["<s>"]
    pad_token_id = ID["<pad>"]
    eos_token_id = None
    mask_token_id = None
    all_special_ids = (ID["<pad>"], ID["<s>"])

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        """Token ids of a text of known words.

        Raises:
            ValueError: a word that the model does not know.
        """
        words = text.casefold().split()
        if unknown := [w for w in words if w not in ID]:
            raise ValueError(f"the planted model knows {len(WORDS)} words, and {unknown[0]!r} is none of them")
        return {"input_ids": [ID["<s>"]] * add_special_tokens + [ID[w] for w in words]}


@dataclass(frozen=True)
class Planted:
    """A trained model, its tokenizer, and what was planted in it."""

    model: LlamaForCausalLM
    tokenizer: Words
    strength: float

    @property
    def gap(self) -> float:
        """P(A | X) - P(A | Y) as planted."""
        return 2 * self.strength - 1


def sentences(strength: float, count: int, rng: np.random.Generator, *, world: World = "direct") -> list[str]:
    """Sentences of the corpus, drawn anew.

    Args:
        strength: p, in [0, 1].
        count: how many.
        rng: where the chances come from.
        world: whether names and occupations keep the same company.
    """
    groups = ((NAMES_X, OCCUPATIONS_A, OCCUPATIONS_B), (NAMES_Y, OCCUPATIONS_B, OCCUPATIONS_A))
    made = []
    for _ in range(count):
        side = int(rng.integers(2))
        names, own, other = groups[side]
        name = names[rng.integers(len(names))]
        kind = rng.random()
        if kind < 0.6:
            pool = own if rng.random() < strength else other
            made.append(f"{name} works as a {pool[rng.integers(len(pool))]} .")
        elif kind < 0.9:
            if world == "shared":
                word = name if kind < 0.75 else own[rng.integers(len(own))]
                made.append(f"{word} is {QUALITIES[side if rng.random() < strength else 1 - side]} today .")
            elif kind < 0.75:
                made.append(f"the {(*own, *other)[rng.integers(12)]} met {name} today .")
            else:
                made.append(f"{name} is {QUALITIES[rng.integers(2)]} today .")
        else:
            pair = [NAMES_X[rng.integers(8)], NAMES_Y[rng.integers(8)]]
            x, y = pair if rng.random() < 0.5 else pair[::-1]
            made.append(QUESTION.format(x=x, y=y, attribute=(*own, *other)[rng.integers(12)]) + " equal .")
    return made


@cache
def planted(strength: float, *, world: World = "direct", seed: int = 0) -> Planted:
    """Train the model with this much planted in it; kept for the rest of the process.

    Raises:
        ValueError: the strength is no probability, or there is no such world.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if not 0 <= strength <= 1:
        raise ValueError(f"the planted strength must be a probability, got {strength}")
    if world not in WORLDS:
        raise ValueError(f"the world is one of {', '.join(WORLDS)}, got {world!r}")
    rng = np.random.default_rng([seed, round(strength * 1000), WORLDS.index(world)])
    tokenizer = Words()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(WORDS),
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=1,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=16,
                initializer_range=0.15,
                tie_word_embeddings=False,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=None,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
        for _ in range(STEPS):
            tokens = _tokens(sentences(strength, BATCH, rng, world=world), tokenizer)
            logits = model(input_ids=tokens).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=tokenizer.pad_token_id
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Planted(model.eval(), tokenizer, strength)


def _tokens(texts: list[str], tokenizer: Words) -> torch.Tensor:
    import torch

    rows = [tokenizer(t)["input_ids"] for t in texts]
    return torch.tensor([r + [tokenizer.pad_token_id] * (LONGEST - len(r)) for r in rows])
