"""An exchange that leaves nothing in Inspect's log, while limits, settings and usage stay those of the run.

Inspect AI 0.3.285 has no switch for it: `GenerateConfig` and `Model.generate` know none, hooks and subscribers see an event
only once it is in the transcript, and `model.api.generate` loses settings, connection limits and usage. But what is logged goes
to the transcript that the public `transcript()` finds in the context, so we ask in a copy of the context with another one.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context

UNLOGGED: ContextVar[bool] = ContextVar("unlogged", default=False)
"""Set where Inspect logs nothing: what is asked and answered then stays as it is."""


class WouldBeLogged(RuntimeError):
    """This version of Inspect AI keeps its transcript where we cannot set it aside, so nothing is asked."""


def unlogged() -> Context:
    """A copy of the current context whose transcript is a fresh one that nobody reads.

    Raises:
        WouldBeLogged: the transcript of the run would still be written to.
    """
    from inspect_ai.log import Transcript, transcript

    logged = transcript()
    context = copy_context()
    for variable, value in list(context.items()):
        if value is logged:
            context.run(variable.set, Transcript(log_model_api=False))
    if context.run(transcript) is logged:
        raise WouldBeLogged("this version of Inspect AI would log a private exchange; install inspect-ai 0.3.285")
    context.run(UNLOGGED.set, True)
    return context
