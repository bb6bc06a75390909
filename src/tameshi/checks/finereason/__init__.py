"""FineReason: the instrument is audited always; the claims about language models need language models.

Two things are shown before any model is asked. State transition gives the true labels away, so that a policy without any
look-ahead scores full marks by the official rule (`states`). And a small model that has learnt to check states shows which of
the claims are about the task rather than about large models (`learnt`).
"""

from tameshi.checks.finereason.figures import by_open_cells, no_look_ahead
from tameshi.checks.finereason.instrument import states
from tameshi.checks.finereason.rules import RULES
from tameshi.checks.finereason.small_model import learnt
from tameshi.checks.finereason.training_data import training_data_file

__all__ = ["RULES", "by_open_cells", "learnt", "no_look_ahead", "states", "training_data_file"]
