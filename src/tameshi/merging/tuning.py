"""Fine-tuning with TRL, as `MixVsMerge` does it unless it is given a trainer.

    TRLTuning(settings={"max_steps": 100})("path/base", [{"prompt": "2 + 2 =", "completion": " 4"}])

Examples with "chosen" and "rejected" are preferences and go to `DPOTrainer`, all others ("text", "messages", "prompt" and
"completion") to `SFTTrainer`. What either of them takes as data, it takes here.
"""

from __future__ import annotations

import copy
import importlib
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tameshi.doors import models as door

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Example = Mapping[str, Any]


@dataclass(frozen=True)
class TRLTuning:
    """Trains a copy of a model: `tuning(model, examples) -> model`.

    Args:
        tokenizer: of the model; None for that of the folder.
        settings: of `SFTConfig` or `DPOConfig` (learning_rate, num_train_epochs, max_steps, ...).
        seed: of the order of the examples.
    """

    tokenizer: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __call__(self, model: Any, examples: Sequence[Example]) -> PreTrainedModel:
        """Train on the examples.

        Args:
            model: a folder or hub id, or a `PreTrainedModel`, which stays as it is.
            examples: one mapping each, all with the same keys; a `datasets.Dataset` is such a sequence.

        Raises:
            ImportError: TRL is not installed.
            ValueError: no examples, or no tokenizer is known.
        """
        try:
            trl: Any = importlib.import_module("trl")  # its names are exported lazily, without types
            from datasets import Dataset
            from transformers import PrinterCallback
        except ImportError as error:
            raise ImportError("training needs TRL: pip install 'tameshi[training]'") from error
        if not len(examples):
            raise ValueError("training needs at least one example, got none")
        start, tokenizer = self._opened(model)
        prefers = "chosen" in examples[0]
        config, trainer = (trl.DPOConfig, trl.DPOTrainer) if prefers else (trl.SFTConfig, trl.SFTTrainer)
        reference = {"ref_model": copy.deepcopy(start)} if prefers else {}
        here = (
            {"use_cpu": True, "bf16": False, "gradient_checkpointing": False} if not torch.cuda.is_available() else {}
        )
        quiet = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
        rows = examples if isinstance(examples, Dataset) else Dataset.from_list([dict(example) for example in examples])
        with tempfile.TemporaryDirectory(prefix="tameshi-") as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TRL asks transformers in a way that is going away
            made = trainer(
                start,
                args=config(scratch, seed=self.seed, **{**here, **quiet, **self.settings}),
                train_dataset=rows,
                processing_class=tokenizer,
                **reference,
            )
            made.remove_callback(PrinterCallback)
            made.train()
        trained: PreTrainedModel = start.train(False)
        return trained

    def _opened(self, model: Any) -> tuple[Any, Any]:
        """A copy of the model in memory, and its tokenizer."""
        if isinstance(model, (str, Path)):
            opened, own = door.causal_lm(door.look_at(model))
        else:
            opened, own = copy.deepcopy(model), None
        tokenizer = own if self.tokenizer is None else self.tokenizer
        if tokenizer is None:
            raise ValueError(
                "no tokenizer is known for the model; pass TRLTuning(tokenizer=...), or a folder that has one"
            )
        return opened, tokenizer
