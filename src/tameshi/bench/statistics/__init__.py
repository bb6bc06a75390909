"""The statistics that verdicts rest on: SciPy's where SciPy has them, ours where it has none.

Everything here is a pure function of arrays: no rows, no rules, no claims. What each is good for, and where it is
not, is measured in docs/statistics.md.
"""

from tameshi.bench.statistics.evidence import LEVEL, TAIL, Evidence
from tameshi.bench.statistics.families import at_least, holm
from tameshi.bench.statistics.means import Means, mean_interval
from tameshi.bench.statistics.power import detectable, half_missed, power, required, typical
from tameshi.bench.statistics.ranks import coefficient, correlated, trend, trends
from tameshi.bench.statistics.rates import Table, mcnemar, newcombe, paired_rates, rate, wilson
from tameshi.bench.statistics.seeds import improvement, improvement_interval, iqm, iqm_interval
from tameshi.bench.statistics.signs import sign_flip

__all__ = [
    "LEVEL",
    "TAIL",
    "Evidence",
    "Means",
    "Table",
    "at_least",
    "coefficient",
    "correlated",
    "detectable",
    "half_missed",
    "holm",
    "improvement",
    "improvement_interval",
    "iqm",
    "iqm_interval",
    "mcnemar",
    "mean_interval",
    "newcombe",
    "paired_rates",
    "power",
    "rate",
    "required",
    "sign_flip",
    "trend",
    "trends",
    "typical",
    "wilson",
]
