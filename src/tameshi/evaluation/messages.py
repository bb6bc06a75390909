"""The words of a conversation: messages, answers, and the two ways in which there may be no answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One message, in the form that every chat endpoint knows."""

    role: Role
    content: str


def system(content: str) -> Message:
    """A message that sets the rules."""
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    """A message to the model."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A message of the model."""
    return {"role": "assistant", "content": content}


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Args:
        text: the answer itself.
        reasoning: the chain before it, where the provider keeps it apart; else empty.
        tokens: read and written, as the provider counts them; 0 where it does not.
        first: probabilities of the tokens that the answer might have begun with, where they were asked for (logprobs,
            top_logprobs) and told.
    """

    text: str
    reasoning: str = ""
    tokens: int = 0
    first: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Unanswered:
    """No answer came, and why: a time-out, an error of the endpoint, a spent budget. Never the endpoint's own words."""

    reason: str


@dataclass(frozen=True)
class Unparsed:
    """An answer came but says nothing that can be read as a value, and why. It is not a wrong answer."""

    reason: str


Ask = Callable[[Sequence[Message]], Awaitable[str]]
"""Anything that answers a conversation. Inspect models become one through `tameshi.evaluation.asking.Asker`."""
