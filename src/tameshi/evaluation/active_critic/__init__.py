"""Active-Critic: an LLM judge that infers its own criteria from a few scored texts, beside the judges it is held
against.

Xu, Hu and Jiang 2024, arXiv:2410.10724.

    critic = ActiveCritic("openai/gpt-4o-mini").fit(rows, scores, groups=documents)
    critic.criteria_, critic.cv_agreement_        # what it found, and how far it agrees with people it never saw
    critic.save("critic.json")
    eval(my_task(scorer=critic.as_scorer()), model="openai/my-model")
"""

from tameshi.evaluation.active_critic.agreement import (
    Agreement,
    agreement,
    contributions,
    expected_score,
    per_source,
)
from tameshi.evaluation.active_critic.baselines import (
    CalibratedLinear,
    GEval,
    GPTScore,
    Length,
    Prompted,
    direct,
    few_shot,
    fixed_criteria,
)
from tameshi.evaluation.active_critic.critic import ActiveCritic
from tameshi.evaluation.active_critic.data import read_rated
from tameshi.evaluation.active_critic.labels import ConstantLabels, NotEnoughLabels
from tameshi.evaluation.active_critic.prompts import Criterion, CriticPrompt, Demonstration, Example, Scale
from tameshi.evaluation.active_critic.scoring import Judged

__all__ = [
    "ActiveCritic",
    "Agreement",
    "CalibratedLinear",
    "ConstantLabels",
    "Criterion",
    "CriticPrompt",
    "Demonstration",
    "Example",
    "GEval",
    "GPTScore",
    "Judged",
    "Length",
    "NotEnoughLabels",
    "Prompted",
    "Scale",
    "agreement",
    "contributions",
    "direct",
    "expected_score",
    "few_shot",
    "fixed_criteria",
    "per_source",
    "read_rated",
]
