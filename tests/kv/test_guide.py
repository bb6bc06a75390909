"""Every Python block of the wing's page runs, one after the other, as a reader would run them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tameshi.kv import BudgetCache, QFiltersWarning

PAGE = Path(__file__).parents[2] / "docs" / "wings" / "kv.md"


class Characters:
    """A tokenizer of single characters."""

    def __call__(self, text: str, **_: object) -> object:
        class Encoded(dict[str, torch.Tensor]):
            input_ids = torch.tensor([[2 + ord(character) % 90 for character in text]])

        return Encoded(input_ids=Encoded.input_ids, attention_mask=torch.ones_like(Encoded.input_ids))


def test_the_page_runs(llama: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    names = {
        "torch": torch,
        "model": llama,
        "tokenizer": Characters(),
        "texts": [f"{i} roads lead to Rome, and {i * i} lead away. " * 10 for i in range(20)],
        "prompt": "Once upon a time, when the cache was full, " * 8,
    }
    caches = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QFiltersWarning)  # a random model leans nowhere
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
            if isinstance(names.get("output"), dict):
                caches.append(names["output"]["past_key_values"])
    compressed, capped = caches[0], names["cache"]
    length = len(str(names["prompt"]))
    assert compressed.layers[0].physical == length // 2 + 19, "half of the prompt, and what was generated"
    assert isinstance(capped, BudgetCache)
    assert capped.layers[0].physical == 128
    assert (tmp_path / "filters.safetensors").exists()


def test_the_five_lines_are_five() -> None:
    first = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    statements = [line for line in first.splitlines() if line and not line.startswith(("from", "    "))]
    assert len(statements) <= 5
