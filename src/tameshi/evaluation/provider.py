"""Rule functions, scripts and models in memory as Inspect AI models: the provider `tameshi/...`.

    get_model("tameshi/always-yes")                    # a named rule; also `inspect eval ... --model
    tameshi/always-yes` rule_model(lambda messages, rng: "NO")             # any function script_model(["first
    answer", "second answer"])    # given answers, in order live_model(model, tokenizer)                       # a
    transformers model that is already loaded get_model("tameshi/folder", folder="./my-model")   # opened by the door
    of models

Nothing here touches the network, and usage is always filled in, so that Inspect never fetches a tokenizer to count it.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from inspect_ai.model import ChatMessage as _ChatMessage
from inspect_ai.model import GenerateConfig, Model, ModelAPI, ModelOutput, ModelUsage, get_model, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

import tameshi.evaluation._inspect  # noqa: F401  says what to install
from tameshi.evaluation.asking import messages_of
from tameshi.evaluation.messages import Message

if TYPE_CHECKING:
    from tameshi.evaluation.live import Live

Rule = Callable[[Sequence[Message], random.Random], str]
"""Answers a conversation. The generator is seeded by the seed, the conversation, and how often it was asked before,
so that the order in which concurrent questions arrive changes nothing."""

_NAMED: dict[str, Callable[[int], Rule]] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    """Give a rule function a name: `--model tameshi/NAME`, or `specimen:NAME` in a check."""

    def decorate(function: Rule) -> Rule:
        _name(name, lambda seed: function)
        return function

    return decorate


def seeded_rule(name: str) -> Callable[[Callable[[int], Rule]], Callable[[int], Rule]]:
    """Give a function `(seed) -> rule` a name, for rules with a world of their own; `-M seed=3` chooses the world."""

    def decorate(factory: Callable[[int], Rule]) -> Callable[[int], Rule]:
        _name(name, factory)
        return factory

    return decorate


def rule_names() -> list[str]:
    """Every named rule, in alphabetical order."""
    import tameshi.evaluation._registry  # noqa: F401  each paper names its rules beside its tasks

    return sorted(_NAMED)


def named_rule(name: str, seed: int = 0) -> Rule:
    """The rule of a name.

    Raises:
        ValueError: naming the rules that there are.
    """
    names = rule_names()
    if name not in names:
        raise ValueError(f"there is no rule called {name!r}; there are {', '.join(names)}")
    return _NAMED[name](seed)


def rule_model(function: Rule, *, name: str = "rule", seed: int = 0, **generate: Any) -> Model:
    """A rule function as an Inspect model."""
    config = GenerateConfig(**generate)
    return get_model(f"tameshi/{name}", config=config, memoize=False, function=function, seed=seed)


def script_model(answers: Iterable[str], *, name: str = "script") -> Model:
    """Given answers in their order, as an Inspect model; one question too many is an error."""
    left = iter(answers)

    def next_answer(messages: Sequence[Message], rng: random.Random) -> str:
        try:
            return next(left)
        except StopIteration:
            raise RuntimeError("the script has no answer left") from None

    return rule_model(next_answer, name=name)


def live_model(model: Any, tokenizer: Any, *, name: str = "live", **generate: Any) -> Model:
    """A transformers causal language model in memory as an Inspect model."""
    from tameshi.evaluation.live import Live

    config = GenerateConfig(**generate)
    return get_model(f"tameshi/{name}", config=config, memoize=False, live=Live(model, tokenizer))


@modelapi("tameshi")
class Tameshi(ModelAPI):
    """Answers by a rule function or by a model in memory. See the functions above for how to make one."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  Inspect's signature
        *,
        function: Rule | None = None,
        live: Live | None = None,
        folder: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        seed: int = 0,
        hidden_states: bool = False,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if folder is not None:
            from tameshi.evaluation.live import Live

            live = Live.open(folder, device=device, dtype=dtype)
        self._live = live
        self._rule = function if function is not None or live is not None else named_rule(model_name, int(seed))
        self._seed = int(seed)
        self._hidden_states = hidden_states
        self._asked: Counter[str] = Counter()

    async def generate(
        self, input: list[_ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        messages = messages_of(input)
        if self._live is not None:
            text, read, written = await self._live.answer(
                messages,
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                seed=self._rng(messages).getrandbits(62) if config.seed is None else config.seed,
            )
        else:
            assert self._rule is not None
            text = self._rule(messages, self._rng(messages))
            read, written = sum(count_tokens(m["content"]) for m in messages), count_tokens(text)
        output = ModelOutput.from_content(self.model_name, text)
        if self._hidden_states and self._live is not None:  # in the form of Inspect's own hf provider
            output.metadata = {"hidden_states": [await self._live.hidden_states(messages)]}
        output.usage = ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return output

    def max_connections(self) -> int:
        return 100

    def _rng(self, messages: Sequence[Message]) -> random.Random:
        digest = hashlib.sha256(
            repr([(m["role"], m["content"]) for m in messages]).encode("utf-8", "replace")
        ).hexdigest()
        self._asked[digest] += 1
        return random.Random(f"{self._seed} {digest} {self._asked[digest]}")


def count_tokens(text: str) -> int:
    """Four bytes to a token: near enough for accounts of models that have no tokenizer."""
    return -(-len(text.encode("utf-8", "replace")) // 4)


def _name(name: str, factory: Callable[[int], Rule]) -> None:
    if name in _NAMED:
        raise ValueError(f"the rule {name!r} is named twice")
    _NAMED[name] = factory


@rule("echo")
def _echo(messages: Sequence[Message], rng: random.Random) -> str:
    """Repeats the last message."""
    return messages[-1]["content"]


@rule("always-yes")
def _always_yes(messages: Sequence[Message], rng: random.Random) -> str:
    """Says yes to everything, after a plausible line."""
    return "Let me compare the two values step by step.\nAnswer: YES"


@rule("silent")
def _silent(messages: Sequence[Message], rng: random.Random) -> str:
    """Never commits itself."""
    return "I would rather not say."
