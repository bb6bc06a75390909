"""Options with which nothing can be measured."""

from __future__ import annotations

from typing import Any

import numpy as np


def refuse(**options: Any) -> None:
    """ValueError, in one sentence, for an option with which nothing can be measured."""
    for name, value in options.items():
        least = {"strengths": 0.0, "train": 3, "watched": 4}.get(name, 1)
        for number in value if isinstance(value, tuple) else (value,):
            if name in ("step", "steps"):
                if not 0 < number < np.inf:
                    raise ValueError(f"--{name} must be above 0, got {number:g}")
            elif not least <= number < np.inf:
                raise ValueError(f"--{name} must be at least {least:g}, got {number:g}")
        if value == ():
            raise ValueError(f"--{name} needs at least one number")
