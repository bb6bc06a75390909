"""Implicit bias of language models, measured by association, generation and decision, beside the direct question.

Lin and Li 2025, arXiv:2503.02776 (a survey): its three families of detection and two kinds of metric, as one suite. The
same contrast of two groups is measured by every family that the subject can serve:

    BiasReport.run(encoder, [contrast]).table()              # vectors: WEAT, SEAT
    BiasReport.run((model, tokenizer), [contrast]).table()   # probabilities: log-probability, gap, forced choice
    BiasReport.run("openai/gpt-4o-mini", [contrast]).table() # answers: assignment, decision, generation, explicit

The contrasts that ship are neutral and our own; those about people are the user's. The statistics need NumPy and SciPy
alone.
"""

from tameshi.evaluation.implicit_bias.assignment import (
    iat,
    iat_prompts,
    iat_score,
    iat_score_official,
    read_assignments,
)
from tameshi.evaluation.implicit_bias.association import (
    Permutation,
    ceat,
    effect_size,
    permutation_test,
    seat,
    weat,
    weat_vectors,
)
from tameshi.evaluation.implicit_bias.benchmarks import BBQAnswer, bbq, icat, stereoset, winobias
from tameshi.evaluation.implicit_bias.contrasts import Contrast, read_iat_stimuli, shipped
from tameshi.evaluation.implicit_bias.decision import (
    Audit,
    absolute_decision,
    decision_prompts,
    impact_ratio,
    read_choice,
    relative_decision,
)
from tameshi.evaluation.implicit_bias.explicit import dissociation, explicit_agreement, explicit_prompts, read_agreement
from tameshi.evaluation.implicit_bias.generation import generation_measures, homogeneity, log_odds
from tameshi.evaluation.implicit_bias.measured import Bias, holm, jensen_shannon
from tameshi.evaluation.implicit_bias.report import BiasReport

__all__ = [
    "Audit",
    "BBQAnswer",
    "Bias",
    "BiasReport",
    "Contrast",
    "Permutation",
    "absolute_decision",
    "bbq",
    "ceat",
    "decision_prompts",
    "dissociation",
    "effect_size",
    "explicit_agreement",
    "explicit_prompts",
    "generation_measures",
    "holm",
    "homogeneity",
    "iat",
    "iat_prompts",
    "iat_score",
    "iat_score_official",
    "icat",
    "impact_ratio",
    "jensen_shannon",
    "log_odds",
    "permutation_test",
    "read_agreement",
    "read_assignments",
    "read_choice",
    "read_iat_stimuli",
    "relative_decision",
    "seat",
    "shipped",
    "stereoset",
    "weat",
    "weat_vectors",
    "winobias",
]
