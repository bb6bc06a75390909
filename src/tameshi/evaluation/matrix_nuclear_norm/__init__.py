"""Matrix nuclear norm: a label-free score of how strongly a language model compresses text, and what it can be held against.

Li et al. 2024, arXiv:2410.10672. The arithmetic (`norms`) needs torch alone; `representation_report` takes any model of
transformers; `callback` holds the `TrainerCallback`, `tasks` the Inspect AI task.

    from tameshi.evaluation.matrix_nuclear_norm import representation_report
    print(representation_report(model, tokenizer, texts, max_length=512).summary())
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("the matrix nuclear norm needs torch: pip install 'tameshi[evaluation]'") from error

from tameshi.evaluation.matrix_nuclear_norm.controls import rotated, shuffled, untrained_twin
from tameshi.evaluation.matrix_nuclear_norm.family import Member
from tameshi.evaluation.matrix_nuclear_norm.norms import (
    column_norms,
    diff_erank,
    effective_rank,
    gram_spectrum,
    haar_rotation,
    matrix_entropy,
    matrix_nuclear_norm,
    normalised,
    nuclear_norm,
    null_score,
)
from tameshi.evaluation.matrix_nuclear_norm.reading import encoded, hidden_states, text_scores
from tameshi.evaluation.matrix_nuclear_norm.report import Representation, compare, representation_report

__all__ = [
    "Member",
    "Representation",
    "column_norms",
    "compare",
    "diff_erank",
    "effective_rank",
    "encoded",
    "gram_spectrum",
    "haar_rotation",
    "hidden_states",
    "matrix_entropy",
    "matrix_nuclear_norm",
    "normalised",
    "nuclear_norm",
    "null_score",
    "representation_report",
    "rotated",
    "shuffled",
    "text_scores",
    "untrained_twin",
]
