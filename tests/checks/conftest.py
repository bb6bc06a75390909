import gc

import pytest

from tameshi.specimens import exam


@pytest.fixture
def models_in_memory(monkeypatch):
    """How many language models are in memory whenever one is asked questions, beyond those that are there now."""
    counts, ask = [], exam.answers_right

    def counted(*args):
        gc.collect()
        counts.append(sum(type(held).__name__.endswith("ForCausalLM") for held in gc.get_objects()))
        return ask(*args)

    monkeypatch.setattr(exam, "answers_right", counted)
    gc.collect()
    gc.freeze()  # what is there now is left out of the count, and of the search
    yield counts
    gc.unfreeze()
