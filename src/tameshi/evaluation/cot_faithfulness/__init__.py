"""Chain-of-thought faithfulness in the wild: three detectors of reasoning that did not produce its answer.

Arcuschin et al. 2025, arXiv:2503.08679. Implicit post-hoc rationalisation (IPHR) by paired reversed questions; restoration
errors and unfaithful shortcuts by a judge that reads the chain step by step; and the simulator that says what the first of
them measures.
"""

from tameshi.evaluation.cot_faithfulness.properties import BUILTIN, Property, PropertyError
from tameshi.evaluation.cot_faithfulness.questions import Question, make_pairs, prompt
from tameshi.evaluation.cot_faithfulness.rates import Answers, IPHRResult, UnpairedQuestionError, iphr_rates
from tameshi.evaluation.cot_faithfulness.simulator import chance_of_a_gap, guess, simulate
from tameshi.evaluation.cot_faithfulness.splitting import split_steps
from tameshi.evaluation.cot_faithfulness.steps import RESTORATION, SHORTCUT, StepJudge
from tameshi.evaluation.readers import read_yes_no

__all__ = [
    "BUILTIN",
    "RESTORATION",
    "SHORTCUT",
    "Answers",
    "IPHRResult",
    "Property",
    "PropertyError",
    "Question",
    "StepJudge",
    "UnpairedQuestionError",
    "chance_of_a_gap",
    "guess",
    "iphr_rates",
    "make_pairs",
    "prompt",
    "read_yes_no",
    "simulate",
    "split_steps",
]
