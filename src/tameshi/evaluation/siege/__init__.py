"""Siege: how long a stated rule holds in a conversation, by a tree search over harmless next messages.

Zhou et al. 2025, arXiv:2503.10619. Ours tests a policy *that the user states for their own model*, on facts that the user
invents for it. It ships a search, a leak meter, budget accounts, a benign game and defences; no attack prompts, no harmful
text, and none of the corpora of the paper.
"""

from tameshi.evaluation.siege.budget import equal_budget_curve, until, until_success
from tameshi.evaluation.siege.conversation import Branch, SearchResult, Target
from tameshi.evaluation.siege.defences import DEFENCES, HistoryReset, LeakBudget, QuoteFilter, Recheck
from tameshi.evaluation.siege.meter import FactMeter, JudgeMeter, Meter, Reading
from tameshi.evaluation.siege.path import SinglePath
from tameshi.evaluation.siege.policy import VAULT, Policy, PolicyError
from tameshi.evaluation.siege.tester import ModelTester, ScriptedTester, Tester
from tameshi.evaluation.siege.tree import TreeSearch, most_queries
from tameshi.evaluation.siege.vault import Eroding, Firm

__all__ = [
    "DEFENCES",
    "VAULT",
    "Branch",
    "Eroding",
    "FactMeter",
    "Firm",
    "HistoryReset",
    "JudgeMeter",
    "LeakBudget",
    "Meter",
    "ModelTester",
    "Policy",
    "PolicyError",
    "QuoteFilter",
    "Reading",
    "Recheck",
    "ScriptedTester",
    "SearchResult",
    "SinglePath",
    "Target",
    "Tester",
    "TreeSearch",
    "equal_budget_curve",
    "most_queries",
    "until",
    "until_success",
]
