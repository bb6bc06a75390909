"""Merging: models of one family become one model, by arithmetic on their weights.

    from tameshi.merging import merge
    merge({"general": "path/a", "safe": "path/b"}, method="ties", base="path/base").save_pretrained("merged")

Everything is checked before a byte is written, and a tensor at a time is held.
"""

try:
    import safetensors as _safetensors
    import torch as _torch
except ImportError as error:
    raise ImportError("the merging wing needs torch and safetensors: pip install 'tameshi[merging]'") from error

from tameshi.merging.dare import dare, dare_ties
from tameshi.merging.fit import DoesNotFit
from tameshi.merging.instruction_residual import InstructionResidual
from tameshi.merging.lata import LATA
from tameshi.merging.linear import linear
from tameshi.merging.merge import merge
from tameshi.merging.merged import Merged
from tameshi.merging.method import METHODS, MergeMethod, merge_method
from tameshi.merging.mix_vs_merge import MixVsMerge
from tameshi.merging.scorers import ExactMatch, RefusalRate
from tameshi.merging.slerp import multi_slerp, slerp, slerp_delta
from tameshi.merging.task_arithmetic import add, difference, task_arithmetic, transplant
from tameshi.merging.ties import ties
from tameshi.merging.tuning import TRLTuning
from tameshi.merging.weights import Weights, weights_of

del _safetensors, _torch

__all__ = [
    "LATA",
    "METHODS",
    "DoesNotFit",
    "ExactMatch",
    "InstructionResidual",
    "MergeMethod",
    "Merged",
    "MixVsMerge",
    "RefusalRate",
    "TRLTuning",
    "Weights",
    "add",
    "dare",
    "dare_ties",
    "difference",
    "linear",
    "merge",
    "merge_method",
    "multi_slerp",
    "slerp",
    "slerp_delta",
    "task_arithmetic",
    "ties",
    "transplant",
    "weights_of",
]
