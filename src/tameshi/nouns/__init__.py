"""The words that a check is written in: rows, measurements, rules.

Everything here is data. How a check is run, stored and judged stands in `tameshi.bench`, which reads these words; the checks
write them. Keeping the words apart is what lets the arrows run one way.
"""

from tameshi.nouns.checks import Apply, Check, Figure, Measurement, apply, check, figure, measure
from tameshi.nouns.rows import Cost, Items, Missing, Row, Rows, Scalar, Value
from tameshi.nouns.rules import (
    AllOf,
    Beats,
    Correlates,
    Difference,
    Orders,
    OutOfReach,
    Ratio,
    Reaches,
    Rule,
    Within,
)

__all__ = [
    "AllOf",
    "Apply",
    "Beats",
    "Check",
    "Correlates",
    "Cost",
    "Difference",
    "Figure",
    "Items",
    "Measurement",
    "Missing",
    "Orders",
    "OutOfReach",
    "Ratio",
    "Reaches",
    "Row",
    "Rows",
    "Rule",
    "Scalar",
    "Value",
    "Within",
    "apply",
    "check",
    "figure",
    "measure",
]
