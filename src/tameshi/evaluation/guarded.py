"""What a provider says goes into Inspect's log; a key of this machine must not, whatever the endpoint does with it.

An endpoint that refuses a key may quote it in its error, and one that is asked for it may repeat it. Inspect logs both
before anyone else sees them, so the guard stands between Inspect and the provider.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tameshi.evaluation.secrets import redacted, redacted_within
from tameshi.evaluation.unlogged import UNLOGGED

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelOutput


class EndpointFailed(RuntimeError):
    """The endpoint failed; says how, without the endpoint's own words.

    Args:
        reason: one sentence.
        again: it may pass, so that asking again may help.
    """

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


def guard(model: Model) -> Model:
    """The same model; its provider sends a request once, fails with a reason of ours, and answers without keys."""
    _without_retries(model)
    if not isinstance(model.api.generate, _Guarded):
        model.api.generate = _Guarded(model.api.generate)  # type: ignore[method-assign]  # for this one instance
    return model


class _Guarded:
    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        self._ask = ask

    async def __call__(self, *args: Any, **settings: Any) -> Any:
        try:
            told = await self._ask(*args, **settings)
        except Exception as error:  # whatever a provider raises is the endpoint's failure, not ours
            raise failed(error) from None
        if UNLOGGED.get():
            return told
        output, *call = told if isinstance(told, tuple) else (told,)
        if isinstance(output, Exception):
            raise failed(output) from None
        for each in filter(None, call):
            each.request, each.response = redacted_within(each.request), redacted_within(each.response)
        return (_clean(output), *call) if call else _clean(output)


def _clean(output: ModelOutput) -> ModelOutput:
    held = output.model_dump_json(exclude={"metadata"})
    if redacted(held) == held:
        return output
    clean = type(output).model_validate(redacted_within(output.model_dump(exclude={"metadata"})))
    clean.metadata = output.metadata
    return clean


def failed(error: BaseException) -> EndpointFailed:
    """Why the endpoint failed, without its own words (they may hold keys or prompts), and whether to try again."""
    last = getattr(error, "last_attempt", None)  # tenacity's RetryError, by which Inspect says that it gave up
    inner = last.exception() if last is not None and last.done() else None
    if isinstance(inner, BaseException):
        return failed(inner)
    if isinstance(error, EndpointFailed):
        return error
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        again = status in (408, 409, 429) or status >= 500
        return EndpointFailed(f"the endpoint answered with HTTP status {status}", again)
    return EndpointFailed(f"the endpoint failed with {type(error).__name__}", True)


def _without_retries(model: Model) -> None:
    """Let the provider's own client send each request once (OpenAI's sends it up to three times); it may be new each time."""
    client: Any = getattr(model.api, "client", None)
    if isinstance(getattr(client, "max_retries", None), int):
        client.max_retries = 0
