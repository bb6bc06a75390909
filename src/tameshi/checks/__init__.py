"""One file a paper: what is run, and the rules by which its claims are judged.

A paper with more than one idea to run has a folder in its place, whose `__init__` names its checks, rules, figures and
applications.

TAMESHI_SHELF names a folder of your own with `papers/SLUG.toml` and `checks/SLUG.py`, which stand on the shelf like ours.
"""

import os
from pathlib import Path

if os.environ.get("TAMESHI_SHELF"):
    __path__.append(str(Path(os.environ["TAMESHI_SHELF"]).expanduser() / "checks"))
