from pathlib import Path

import pytest
from tests.merging.families import random_model, relative, save


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """Folders of a base, an instruct model and two experts, in float32, with tokenizers."""
    base = random_model()
    models = {"base": base, "instruct": relative(base, 1), "math": relative(base, 2), "code": relative(base, 3)}
    return {name: save(model, tmp_path / name, words=40) for name, model in models.items()}
