"""A report on a model of one's own, and on answers that were collected before."""

from __future__ import annotations

import json
from pathlib import Path

from tameshi.doors import files
from tameshi.evaluation.implicit_bias import assignment, contrasts
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.report import BiasReport
from tameshi.nouns import apply
from tameshi.specimens.endpoint import Endpoint


@apply("implicit-bias")
def report(
    model: str,
    *,
    contrast: str = "",
    families: str = "auto",
    n: int = 10,
    template: str = "{term} works with the {attribute}.",
    max_calls: int = 2000,
    output: Path | None = None,
    seed: int = 0,
) -> str:
    """Measure the implicit bias of a model of yours on a contrast of yours, by every family that it can serve.

    Args:
        model: a model folder (measured on its probabilities), or a name that Inspect AI knows (measured on its
        answers).
        contrast: YAML files with commas between; left out, the neutral ones that ship.
        families: "auto", or some of association, generation, decision, explicit with commas between.
        n: answers to each question.
        template: of the probabilities, with {term} and then {attribute}.
        max_calls: in all; nothing is sent if more could be needed.
        output: a JSON file for the report.
    """
    chosen = (
        [Contrast.from_yaml(p.strip()) for p in contrast.split(",")] if contrast else [*contrasts.shipped().values()]
    )
    wanted = "auto" if families == "auto" else [f.strip() for f in families.split(",")]
    subject = Endpoint.open(model).in_world(seed)
    served = subject.model if subject.folder is None else subject.folder
    found = BiasReport.run(served, chosen, families=wanted, templates=[template], n=n, seed=seed, max_calls=max_calls)
    if output is not None:
        files.write(output, json.dumps(found.to_dict(), ensure_ascii=False, indent=2) + "\n")
    return found.table()


@apply("implicit-bias", name="answers")
def read_answers(answers: Path, *, stimuli: Path, category: str, column: str = "0", synonyms: bool = False) -> str:
    """Score answers of the word-association test that were collected before, such as the public ones of Bai et al.

    Args:
        answers: CSV file with one answer a row.
        stimuli: CSV file of the stimuli in the public format (dataset, A, B, C, D).
        category: the dataset in it that was asked about.
        column: of the answers.
        synonyms: the answers are about the synonyms (column D).
    """
    known = {c.name: c for c in contrasts.read_iat_stimuli(stimuli, synonyms=synonyms)}
    if category not in known:
        raise ValueError(f"{stimuli} has no dataset {category!r}; it has {', '.join(known)}")
    groups = known[category]
    read = [assignment.read_any_names(text, groups) for text in contrasts.column(answers, column)]
    found = assignment.iat(read, groups)
    return BiasReport.of([found], [f"mean D of the published formula: {found.details['official']:.4f}"]).table()
