"""Train the language models of the entity world that ship as `specimens/models/entities*`: 201,024 parameters each.

    python training/entities.py --output FOLDER

One run of 1,500 steps on facts and chatter gives "entities" and, on the way after 1,200 steps, "entities-early", the
same base at another age. 900 more steps that mix in bare sums and sorted triples give "entities-skilled". One CPU
minute in all. Training again on the same machine gives the same weights, bit for bit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from tameshi.doors import files
from tameshi.doors.models import look_at
from tameshi.specimens.entities import BOS, END, EXTRA, ID, KNOWN, PAD, World, documents
from tameshi.specimens.entity_models import Parts, fit, fresh_model

WORLD = World()
TEMPLATE = "{{ bos_token }} {% for message in messages %}<inst> {{ message['content'] }} <resp>{% endfor %}"


def facts_and_chatter(draw: torch.Generator) -> Parts:
    """64 documents: half facts about the known entities, half filler words."""
    return [documents(torch.cat([WORLD.facts_about((*KNOWN, *EXTRA), 32, draw), WORLD.chatter(32, draw)]))]


def with_skills(draw: torch.Generator) -> Parts:
    """64 documents: facts, filler words, sums, sorted triples. A skill that the base lacks moves experts too far."""
    facts, chatter = WORLD.facts_about((*KNOWN, *EXTRA), 16, draw), WORLD.chatter(8, draw)
    return [documents(torch.cat([facts, chatter, WORLD.sums(20, draw), WORLD.sorted_triples(20, draw)]))]


def save(model: PreTrainedModel, output: Path, name: str) -> None:
    """Write the model folder and its hash."""
    bare = Tokenizer(models.WordLevel(dict(ID), unk_token="<pad>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<bos>", eos_token="<end>", unk_token="<pad>"
    )
    tokenizer.chat_template = TEMPLATE
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD)
    with files.writing(output / name, folder=True) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        recipe = {"script": "training/entities.py", "torch": torch.__version__, "world": WORLD.seed}
        files.write(beside / "recipe.json", json.dumps(recipe, indent=2) + "\n")
    files.write(output / f"{name}.sha256", f"{look_at(output / name).sha256()}  {name}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="an empty or new folder")
    output = parser.parse_args().output
    model = fresh_model(0)

    def on_the_way(step: int) -> None:
        if step == 1_200:
            save(model, output, "entities-early")

    fit(model, facts_and_chatter, steps=1_500, rate=3e-3, seed=10, after=on_the_way)
    save(model, output, "entities")
    fit(model, with_skills, steps=900, rate=2e-3, seed=11)
    save(model, output, "entities-skilled")


if __name__ == "__main__":
    main()
