"""Train the "modes" language model that ships as `specimens/models/modes`: 356,608 parameters, one CPU minute.

    python training/modes.py --output FOLDER

Training again on the same machine gives the same weights, bit for bit: one thread, seeded texts, no dropout. The texts
grow from 64 to 512 tokens, because facts are learnt fastest where they lie close together. Untyped values (any key, any
value) were not learnt in ten times as many steps; the default `initializer_range` of 0.02 hardly moves.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional as F
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tameshi.doors import files
from tameshi.doors.models import look_at
from tameshi.specimens import modes


@dataclass(frozen=True)
class Stage:
    """Steps on documents of one length."""

    steps: int
    batch: int
    length: int
    facts: int
    asks: int


STAGES = (Stage(250, 32, 64, 4, 7), Stage(150, 16, 128, 8, 12), Stage(200, 8, 256, 12, 20), Stage(60, 4, 512, 14, 40))
PEAK_RATE, WARM_UP, END_SHARE = 3e-3, 20, 0.05


def new_model(seed: int = 0) -> LlamaForCausalLM:
    """The untrained model."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(modes.WORDS),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            initializer_range=0.05,
            tie_word_embeddings=True,
            pad_token_id=modes.PAD,
            bos_token_id=modes.BOS,
            eos_token_id=None,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        )
    )


def train(model: LlamaForCausalLM, stages: tuple[Stage, ...] = STAGES, *, progress: bool = False) -> None:
    """Train in place."""
    steps = [stage for stage in stages for _ in range(stage.steps)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)

    def share(step: int) -> float:
        if step < WARM_UP:
            return (step + 1) / WARM_UP
        done = (step - WARM_UP) / max(1, len(steps) - WARM_UP)
        return END_SHARE + (1 - END_SHARE) * 0.5 * (1 + float(np.cos(np.pi * done)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    model.train()
    for step, stage in enumerate(steps):
        drawn = modes.documents(stage.batch, stage.length, facts=stage.facts, asks=stage.asks, seed=1_000_000 + step)
        tokens, asked = torch.from_numpy(drawn.tokens), torch.from_numpy(drawn.asked)[:, 1:]
        logits = model(tokens).logits[:, :-1]
        losses = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        loss = losses[~asked].mean() + losses[asked].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress and step % 50 == 49:
            right = (logits.argmax(-1) == tokens[:, 1:])[asked].float().mean()
            other, known = losses[~asked].mean(), losses[asked].mean()
            print(f"step {step + 1:4d}  other {other:.3f}  asked {known:.3f}  right {right:.2f}")
    model.eval()


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Words between spaces; a word that is not in the vocabulary is an error, not a guess."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(modes.WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", pad_token="<pad>")


def save(model: LlamaForCausalLM, output: Path) -> str:
    """Write the folder in Hugging Face form, and its hash beside it; returns the hash."""
    with files.writing(output, folder=True) as folder:
        model.to(torch.bfloat16)
        model.generation_config = GenerationConfig(bos_token_id=modes.BOS, pad_token_id=modes.PAD)
        model.save_pretrained(folder)
        new_tokenizer().save_pretrained(folder)
        for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
            settings.pop("transformers_version", None)
            if name == "config.json":
                settings["dtype"] = "float32"  # stored in half the bytes, computed in full precision
            files.write(folder / name, json.dumps(settings, indent=2, sort_keys=True) + "\n")
    sha256 = look_at(output).sha256()
    files.write(output.with_name(f"{output.name}.sha256"), f"{sha256}  {output.name}\n")
    return sha256


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    arguments = parser.parse_args()
    trained = new_model()
    train(trained, progress=True)
    print(save(trained, arguments.output))
