"""One voice to any model: counted, capped, tried again where that may help, and otherwise silent with a reason.

Inspect AI speaks to the provider; this speaks to Inspect. Inspect's own retries and those of the client behind it
are switched off, because they would make calls that no ledger sees.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine, Iterable, Sequence
from contextvars import copy_context
from functools import cache
from math import exp
from typing import TYPE_CHECKING, Any, TypeVar

from tameshi.evaluation.accounting import Ledger
from tameshi.evaluation.guarded import failed, guard
from tameshi.evaluation.messages import Answer, Ask, Message, Unanswered
from tameshi.evaluation.secrets import redacted
from tameshi.evaluation.unlogged import WouldBeLogged, unlogged

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model

T = TypeVar("T")
COLD = 1e-4  # stands for a temperature of 0 where transformers samples, which refuses 0
SPENT = "the budget of calls is spent"


class Asker:
    """Asks a model in one role.

    Args:
        model: an Inspect model, its name, or any `async (messages) -> str`.
        role: under which calls are counted: "target", "tester", "judge".
        ledger: where they are counted; its own if None.
        attempts: how often one question is sent at most; each attempt counts as a call.
        timeout: seconds for one attempt.
        pause: seconds before the second attempt; doubled before each further one.
        connections: how many questions are on their way at once.
        private: Inspect's log keeps nothing of what is asked and answered. Without it, keys and passwords of this machine
            are taken out of what is asked, because it will stand in the log.
        **generate: settings of the answer, by the names of Inspect's `GenerateConfig` (temperature, max_tokens, ...).
    """

    def __init__(
        self,
        model: Model | Ask | str,
        *,
        role: str = "target",
        ledger: Ledger | None = None,
        attempts: int = 3,
        timeout: float = 120.0,
        pause: float = 0.5,
        connections: int = 20,
        private: bool = False,
        **generate: object,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts}")
        self.role = role
        self.ledger = Ledger() if ledger is None else ledger
        self._attempts, self._timeout, self._pause = attempts, timeout, pause
        self._slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
        self._connections, self._private = connections, private
        self._ask = _voice(model, private, generate)

    async def __call__(self, messages: Sequence[Message]) -> Answer | Unanswered:
        """One answer, or why there is none. Never raises for anything that the endpoint does.

        Raises:
            inspect_ai.util.LimitExceededError: a limit that the user set on the run (`--token-limit`, ...) is reached.
        """
        reason, asked = SPENT, messages if self._private else _redacted(messages)
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(self._pause * 2 ** (attempt - 1))
            async with self._slot():
                if not self.ledger.charge(self.role):
                    break
                try:
                    answer = await asyncio.wait_for(self._ask(asked), self._timeout)
                except TimeoutError:
                    reason, again = f"no answer within {self._timeout:g} seconds", True
                except self._ask.stops:
                    raise
                except Exception as error:  # whatever a provider raises is the endpoint's failure, not ours
                    told = failed(error)
                    reason, again = told.reason, told.again
                else:
                    self.ledger.tokens[self.role] += answer.tokens
                    if answer.text.strip():
                        return answer
                    reason, again = "the answer was empty", True
            if not again:
                break
        self.ledger.unanswered[reason] += 1
        return Unanswered(reason)

    async def all(self, questions: Iterable[Sequence[Message]]) -> list[Answer | Unanswered]:
        """The answers to many questions that are sent together, in the order of the questions."""
        return list(await asyncio.gather(*(self(messages) for messages in questions)))

    def _slot(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            self._slots = {loop: asyncio.Semaphore(self._connections)}  # an asker outlives the loop of one run
        return self._slots[loop]


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from ordinary code, also from a notebook, where a loop is already running.

    All of them run on one loop in a thread of its own: the connections of a client belong to the loop that opened them, so a
    second loop would find them dead.
    """
    loop, context = _loop(os.getpid()), copy_context()
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    async def run() -> None:
        try:
            done.set_result(await work)
        except BaseException as error:
            done.set_exception(error)

    task: list[asyncio.Task[None]] = []
    loop.call_soon_threadsafe(lambda: task.append(loop.create_task(run(), context=context)))
    try:
        return done.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(lambda: [t.cancel() for t in task])
        raise


@cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """The loop of this process; a forked child has none of its parent's threads and gets its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="tameshi asks", daemon=True).start()
    return loop


class _Voice:
    """Sends a conversation once, and gives the whole answer."""

    stops: tuple[type[Exception], ...] = ()  # what ends the run, and is no failure of the endpoint

    async def __call__(self, messages: Sequence[Message]) -> Answer:
        raise NotImplementedError


class _Function(_Voice):
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def __call__(self, messages: Sequence[Message]) -> Answer:
        answer = await self._ask(messages)
        return answer if isinstance(answer, Answer) else Answer(answer)


class _Inspect(_Voice):
    def __init__(self, model: Model, private: bool, config: GenerateConfig) -> None:
        from inspect_ai.util import LimitExceededError

        self._model, self._private, self._config = model, private, config
        self.stops = (LimitExceededError, WouldBeLogged)

    async def __call__(self, messages: Sequence[Message]) -> Answer:
        context = unlogged() if self._private else None
        asked = guard(self._model).generate(chat_of(messages), config=self._config)
        return answer_of(await (asyncio.create_task(asked, context=context) if context else asked))


def _voice(model: Model | Ask | str, private: bool, settings: dict[str, object]) -> _Voice:
    if isinstance(model, str) or not callable(model):
        from inspect_ai.model import GenerateConfig, get_model

        import tameshi.evaluation.provider  # noqa: F401  registers "tameshi/..."

        found = get_model(model)
        if str(found).startswith("hf/") and settings.get("temperature") == 0:
            settings = {**settings, "temperature": COLD}
        # out of a cache all samples of one question would be the same, and what is private must not lie in one
        ours = {"max_retries": 0, "cache": False}
        return _Inspect(found, private, GenerateConfig.model_validate(ours | settings))
    return _Function(model)


def _redacted(messages: Sequence[Message]) -> list[Message]:
    return [{"role": message["role"], "content": redacted(message["content"])} for message in messages]


def chat_of(messages: Sequence[Message]) -> list[ChatMessage]:
    """Our messages as Inspect's."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [kinds[message["role"]](content=message["content"]) for message in messages]


def messages_of(chat: Iterable[ChatMessage]) -> list[Message]:
    """Inspect's messages as ours; tool messages are left out, for no task of this wing uses tools."""
    return [{"role": m.role, "content": m.text} for m in chat if m.role != "tool"]


def answer_of(output: object) -> Answer:
    """Inspect's `ModelOutput` as an answer, with the reasoning kept apart from the text."""
    from inspect_ai.model import ContentReasoning, ModelOutput

    assert isinstance(output, ModelOutput)
    content = output.message.content if output.choices else ""
    parts = [] if isinstance(content, str) else content
    reasoning = "\n".join(part.reasoning for part in parts if isinstance(part, ContentReasoning))
    tokens = output.usage.total_tokens if output.usage else 0
    told = output.choices[0].logprobs if output.choices else None
    likely = (told.content[0].top_logprobs or []) if told is not None and told.content else []
    return Answer(output.completion, reasoning, tokens, {each.token: exp(each.logprob) for each in likely})
