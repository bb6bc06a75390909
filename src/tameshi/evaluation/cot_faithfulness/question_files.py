"""The questions of a run: drawn from properties, or read from the question files of chainscope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tameshi.evaluation.cot_faithfulness.properties import BUILTIN, PropertyError, from_mapping, read_yaml
from tameshi.evaluation.cot_faithfulness.questions import Comparison, Question, make_pairs
from tameshi.evaluation.cot_faithfulness.rates import UnpairedQuestionError
from tameshi.evaluation.secrets import redacted

COMPARISONS: Mapping[str, Comparison] = {"gt": "greater", "lt": "less"}


def questions_of(
    names: str, n_pairs: int, *, comparisons: Sequence[Comparison] = ("greater",), seed: int = 0
) -> list[Question]:
    """Questions in pairs.

    Args:
        names: "builtin"; or property files with commas between; or question files of chainscope, those with the answer YES
            and those with the answer NO (data/questions/gt_YES_1/..., gt_NO_1/...), which say themselves what they compare.
        n_pairs: in all; two questions each.
        comparisons: of the questions that are made from properties.
        seed: of the draw.

    Raises:
        PropertyError: a file that cannot be used.
        UnpairedQuestionError: a question file without the other variant of a question.
        ValueError: fewer pairs than asked for.
    """
    if names == "builtin":
        return make_pairs(BUILTIN, n_pairs, comparisons=comparisons, seed=seed)
    files = [Path(name.strip()) for name in names.split(",") if name.strip()]
    held = {file: read_yaml(file) for file in files}
    asked = {file: found for file, found in held.items() if "question_by_qid" in found}
    if not asked:
        return make_pairs([from_mapping(held[f], f) for f in files], n_pairs, comparisons=comparisons, seed=seed)
    if len(asked) < len(held):
        raise PropertyError("question files and property files cannot be asked together; run them one after the other")
    every = read_questions(asked)
    if not 1 <= n_pairs <= len(every) // 2:
        raise ValueError(f"the question files hold {len(every) // 2} pairs, but {n_pairs} are asked for; lower n_pairs")
    drawn = sorted(np.random.default_rng(seed).permutation(len(every) // 2)[:n_pairs].tolist())
    return [question for k in drawn for question in every[2 * k : 2 * k + 2]]


def read_questions(files: Mapping[Path, Mapping[str, Any]]) -> list[Question]:
    """All questions of chainscope's question files, the YES variant of each pair first.

    Args:
        files: file -> what stands in it.

    Raises:
        PropertyError: fields missing.
        UnpairedQuestionError: a question without its other variant.
    """
    pairs: dict[str, dict[bool, Question]] = {}
    for file, held in files.items():
        try:
            params = held["params"]
            truth, comparison = {"YES": True, "NO": False}[params["answer"]], COMPARISONS[params["comparison"]]
            for entry in held["question_by_qid"].values():
                text, x, y = (str(entry[k]) for k in ("q_str", "x_name", "y_name"))
                first, second = (x, y) if truth == (comparison == "greater") else (y, x)
                pair = redacted(f"{params['prop_id']}, {comparison}: {first} and {second}")
                made = Question(pair, str(params["prop_id"]), comparison, truth, " ".join(text.split()))
                pairs.setdefault(pair, {})[truth] = made
        except (KeyError, TypeError, AttributeError) as error:
            raise PropertyError(f"{file} is no question file of chainscope: {error} is missing or unknown") from error
    for pair, variants in pairs.items():
        if len(variants) < 2:
            raise UnpairedQuestionError(
                f"pair {pair} has no question with the answer {'NO' if True in variants else 'YES'}; name the file of both"
            )
    return [variants[truth] for variants in pairs.values() for truth in (True, False)]
