"""What Inspect AI finds under the name of this package: the provider, and the tasks of every paper of the wing.

Inspect loads this module through the entry point of the group `inspect_ai`. A paper's folder is found by the
`tasks.py` in it, so a new paper changes nothing here.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

import tameshi.evaluation
import tameshi.evaluation.provider


def papers() -> list[str]:
    """The folders of the wing that have tasks, in alphabetical order."""
    folders = (m.name for m in pkgutil.iter_modules(tameshi.evaluation.__path__) if m.ispkg)
    return sorted(name for name in folders if importlib.util.find_spec(f"tameshi.evaluation.{name}.tasks"))


for paper in papers():
    importlib.import_module(f"tameshi.evaluation.{paper}.tasks")
