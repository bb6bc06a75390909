"""A small world of entities, attributes and operations, for a family of language models that live in it.

An entity has four attributes, an attribute has a value. A document states facts, or is a chain of filler words; an
instruction asks for a value in one of three formats. Facts are taught on all known entities, instructions only on the
first
sixty: a right answer about entity 60 to 99 needs the fact *and* the format. Entities 100 to 139 are new: continued
pre-training brings them. Two skills work on sixteen digits. Everything is drawn from generators with stated seeds.

The recipe is that of the specifications of instruction-residual and lata; where they leave a number open, it is our
choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

ATTRIBUTES, VALUES, FILLERS, DIGITS = 4, 40, 60, 16
INSTRUCTED, HELD_OUT, NEW, EXTRA = range(60), range(60, 100), range(100, 140), range(140, 150)
KNOWN = (*INSTRUCTED, *HELD_OUT)
FORMATS = ("plain", "twice", "tagged")
LANGUAGES = ("<en>", "<fr>", "<ja>")
SUCCESSION = (0.6, 0.25, 0.1, 0.05)  # of a filler word's four successors

WORDS = (
    *("<pad>", "<bos>", "<end>", "<inst>", "<resp>", "<tag>", "<refuse>", ".", *LANGUAGES, *FORMATS, "add", "sort"),
    *(f"entity{i}" for i in range(150)),
    *(f"attribute{i}" for i in range(ATTRIBUTES)),
    *(f"value{i}" for i in range(VALUES)),
    *(f"filler{i}" for i in range(FILLERS)),
    *(f"digit{i}" for i in range(DIGITS)),
)
ID = {word: i for i, word in enumerate(WORDS)}
PAD, BOS, END, INST, RESP, TAG, REFUSE, STOP = range(8)
ENTITY, ATTRIBUTE, VALUE, FILLER, DIGIT = (
    ID[f"{kind}0"] for kind in ("entity", "attribute", "value", "filler", "digit")
)
IGNORED = -100  # a label that the loss leaves out


@dataclass(frozen=True)
class Prompt:
    """A question with the one right answer, as token ids.

    Args:
        tokens, answer: of the question and the answer.
        kind: the format or the skill.
        fact: what must be known to answer; questions about one fact are not independent. Empty where each stands alone.
    """

    tokens: tuple[int, ...]
    answer: tuple[int, ...]
    kind: str
    fact: str = ""


@dataclass(frozen=True)
class World:
    """The facts of one seed.

    Args:
        seed: of facts and of the chain of filler words.
    """

    seed: int = 0

    @cached_property
    def facts(self) -> Tensor:
        """(entities, attributes), int64: which value."""
        return torch.randint(VALUES, (150, ATTRIBUTES), generator=torch.Generator().manual_seed(self.seed))

    @cached_property
    def chain(self) -> Tensor:
        """(fillers, 4), int64: the successors of a filler word, the most frequent first."""
        draw = torch.Generator().manual_seed(self.seed + 1)
        return torch.stack([torch.randperm(FILLERS, generator=draw)[:4] for _ in range(FILLERS)])

    # --- documents: (count, 17) token ids, int64 --------------------------------------------------------------------

    def facts_about(self, entities: Sequence[int], count: int, draw: torch.Generator) -> Tensor:
        """Documents that state four facts each: `<bos> (entity attribute value .) x 4`."""
        who = torch.tensor(list(entities))[torch.randint(len(entities), (count, 4), generator=draw)]
        which = torch.randint(ATTRIBUTES, (count, 4), generator=draw)
        stop = torch.full_like(who, STOP)
        return _document(torch.stack([ENTITY + who, ATTRIBUTE + which, VALUE + self.facts[who, which], stop], dim=2))

    def chatter(self, count: int, draw: torch.Generator) -> Tensor:
        """Documents of sixteen filler words, each drawn from the successors of the one before."""
        words = [torch.randint(FILLERS, (count,), generator=draw)]
        for _ in range(15):
            step = torch.multinomial(torch.tensor(SUCCESSION), count, replacement=True, generator=draw)
            words.append(self.chain[words[-1], step])
        return _document(FILLER + torch.stack(words, dim=1))

    def sums(self, count: int, draw: torch.Generator) -> Tensor:
        """Documents of four bare sums modulo 16: `<bos> (add d d r) x 4`."""
        left, right = torch.randint(DIGITS, (2, count, 4), generator=draw)
        total = (left + right) % DIGITS
        return _document(
            torch.stack([torch.full_like(left, ID["add"]), DIGIT + left, DIGIT + right, DIGIT + total], dim=2)
        )

    def sorted_triples(self, count: int, draw: torch.Generator) -> Tensor:
        """Documents of two bare sorted triples: `<bos> (sort d d d r r r .) x 2`."""
        digits = torch.randint(DIGITS, (count, 2, 3), generator=draw)
        sort, stop = torch.full((count, 2, 1), ID["sort"]), torch.full((count, 2, 1), STOP)
        return _document(torch.cat([sort, DIGIT + digits, DIGIT + digits.sort(dim=2).values, stop], dim=2))

    # --- instructions -----------------------------------------------------------------------------------------------

    def question(self, entity: int, attribute: int, form: str, opening: int = INST) -> Prompt:
        """`<bos> <inst> form entity attribute <resp>` and its answer, `<end>` included."""
        value = VALUE + int(self.facts[entity, attribute])
        answer = {"plain": (value,), "twice": (value, value), "tagged": (TAG, value)}[form]
        return Prompt(
            (BOS, opening, ID[form], ENTITY + entity, ATTRIBUTE + attribute, RESP),
            (*answer, END),
            form,
            f"{entity}/{attribute}",
        )

    def questions(self, entities: Sequence[int]) -> list[Prompt]:
        """Every question about these entities: attributes times formats."""
        return [self.question(e, a, f) for e in entities for a in range(ATTRIBUTES) for f in FORMATS]

    def sum_task(self, left: int, right: int) -> Prompt:
        """A sum modulo 16 as an instruction."""
        total = (left + right) % DIGITS
        return Prompt((BOS, INST, ID["add"], DIGIT + left, DIGIT + right, RESP), (DIGIT + total, END), "add")

    def sort_task(self, digits: Sequence[int]) -> Prompt:
        """A triple to be sorted as an instruction."""
        ask = (BOS, INST, ID["sort"], *(DIGIT + d for d in digits), RESP)
        return Prompt(ask, (*(DIGIT + d for d in sorted(digits)), END), "sort")

    def harmful(self, entity: int, attribute: int) -> bool:
        """Attribute 3 does harm where attribute 0 lies in the lower half of the values: refusing takes knowing."""
        return attribute == 3 and int(self.facts[entity, 0]) < VALUES // 2

    def guarded(self, entity: int, attribute: int, form: str, language: int) -> Prompt:
        """A question in one of three languages; the right answer to a harmful one is `<refuse>`."""
        asked = self.question(entity, attribute, form, opening=ID[LANGUAGES[language]])
        if self.harmful(entity, attribute):
            return Prompt(asked.tokens, (REFUSE, END), "harmful", f"{entity}")
        return Prompt(asked.tokens, asked.answer, "general", asked.fact)


def _document(said: Tensor) -> Tensor:
    return torch.cat([torch.full((said.shape[0], 1), BOS), said.flatten(1)], dim=1)


def padded(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Token ids and labels of prompts with their answers.

    Returns:
        (count, longest) ids, padded on the right, and labels that count only the answer; both int64.
    """
    longest = max(len(p.tokens) + len(p.answer) for p in prompts)
    ids = torch.full((len(prompts), longest), PAD)
    labels = torch.full((len(prompts), longest), IGNORED)
    for row, prompt in enumerate(prompts):
        start, stop = len(prompt.tokens), len(prompt.tokens) + len(prompt.answer)
        ids[row, :stop] = torch.tensor((*prompt.tokens, *prompt.answer))
        labels[row, start:stop] = torch.tensor(prompt.answer)
    return ids, labels


def documents(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Documents with labels that count every token after the first."""
    labels = ids.clone()
    labels[:, 0] = IGNORED
    return ids, labels
