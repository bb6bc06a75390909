"""An LLM endpoint: anything that answers a conversation, by an Inspect AI name, a model folder, or a rule function."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tameshi.doors import models
from tameshi.evaluation.locality import base_url_of, is_loopback

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from tameshi.evaluation.asking import Asker

RULES = ("specimen:", "tameshi/")


@dataclass(frozen=True)
class Endpoint:
    """A language model that is asked.

    `--model` takes "openai/gpt-4o-mini" (any name that Inspect AI knows; keys and base URLs come from the
    environment, as Inspect reads them), "./my-model" or "hf/./my-model" (a folder, opened by the door of models),
    "specimen:always-yes" or "tameshi/always-yes" (a rule function).

    Args:
        address: as given.
        name: short, for people.
        fingerprint: of a folder, the hash of its content; of a rule, of its name; of a remote endpoint, of its name and
            base URL only, since what stands behind it cannot be hashed.
        local: nothing leaves this machine when it is asked.
        folder: of the model, if it is one.
        device, dtype: where and how a folder is opened.
        seed: of the world that a rule function plays in.
    """

    address: str
    name: str
    fingerprint: str
    local: bool
    folder: Path | None = None
    device: str = "cpu"
    dtype: str = "auto"
    seed: int = 0

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Look at what the address names; nothing is asked, and a folder is not loaded yet.

        Raises:
            ValueError: no such rule, no such folder, no such provider.
        """
        if address.startswith(RULES):
            name = address.removeprefix("specimen:").removeprefix("tameshi/")
            _check_rule(name)
            return cls(address, name, _hash("rule", name), local=True)
        if address.startswith(("hf/", ".", "/", "~")) or Path(address).is_dir():
            checkpoint = models.look_at(address.removeprefix("hf/"), online=online)
            folder = checkpoint.folder
            return cls(address, folder.name, checkpoint.sha256(), local=True, folder=folder, device=device, dtype=dtype)
        provider, _, rest = address.partition("/")
        if not rest or provider not in _providers():
            raise ValueError(
                f"{address!r} is no model folder, no specimen and no name that Inspect AI knows (like openai/gpt-4o-mini); "
                f"its providers are {', '.join(_providers())}"
            )
        base_url = base_url_of(provider)
        return cls(address, address, _hash("endpoint", address, base_url), local=is_loopback(base_url))

    @cached_property
    def model(self) -> Model:
        """The Inspect model; a folder is loaded at the first use."""
        from inspect_ai.model import get_model

        from tameshi.evaluation import provider

        if self.folder is not None:
            checkpoint = models.look_at(self.folder)
            return provider.live_model(
                *models.causal_lm(checkpoint, device=self.device, dtype=self.dtype), name=self.name
            )
        if self.address.startswith(RULES):
            return get_model(f"tameshi/{self.name}", memoize=False, seed=self.seed)
        if self.address.startswith("openai/") and base_url_of("openai"):
            return get_model(
                self.address, memoize=False, responses_api=False
            )  # a server that only speaks like OpenAI knows chats alone
        return get_model(self.address, memoize=False)

    def asker(self, **settings: object) -> Asker:
        """Ask this endpoint; settings as in `Asker` (role, ledger, temperature, ...)."""
        from tameshi.evaluation.asking import Asker

        return Asker(self.model, **settings)  # type: ignore[arg-type]  # checked by Asker itself

    def in_world(self, seed: int) -> Endpoint:
        """The same endpoint; a rule function with a world of its own plays in the world of this seed."""
        return replace(self, seed=seed) if self.address.startswith(RULES) else self


def _check_rule(name: str) -> None:
    from tameshi.evaluation.provider import named_rule

    named_rule(name)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _providers() -> list[str]:
    """Names of Inspect's providers. It has no public list of them, and `get_model` would start a server for some."""
    import inspect_ai.model
    from inspect_ai._util.registry import registry_find, registry_info, registry_unqualified_name

    assert inspect_ai.model  # importing it registers the providers
    return sorted({registry_unqualified_name(registry_info(p)) for p in registry_find(lambda i: i.type == "modelapi")})
