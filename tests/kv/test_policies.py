"""What every policy must do, by discovery: a new file in the wing is tested without being named here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kv.random_models import random_model, random_tokens
from transformers import PreTrainedModel

import tameshi.kv
from tameshi.kv import BudgetCache, FullPolicy, Policy, QFilters, QFiltersPolicy, RandomPolicy, StreamingLLMPolicy
from tameshi.kv.policy import Entries, highest, rows


def every_policy() -> list[type[Policy]]:
    found = {
        kind
        for module in pkgutil.iter_modules(tameshi.kv.__path__)
        for _, kind in inspect.getmembers(importlib.import_module(f"tameshi.kv.{module.name}"), inspect.isclass)
        if issubclass(kind, Policy) and not inspect.isabstract(kind)
    }
    return sorted(found, key=lambda kind: kind.__name__)


EVICTING = [kind for kind in every_policy() if kind is not FullPolicy]


def made(kind: type[Policy], model: PreTrainedModel, **budget: Any) -> Policy:
    if "filters" in {f.name for f in fields(kind)}:
        budget["filters"] = QFilters.fit(model, random_tokens(4, 300, seed=9), estimator="mean")
    return kind(**budget)


def test_every_policy_is_offered_by_the_wing() -> None:
    assert {kind.__name__ for kind in every_policy()} <= set(tameshi.kv.__all__)


@pytest.mark.parametrize("kind", EVICTING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 8])
def test_the_cap_holds_after_every_pass_and_order_and_window_stay(
    kind: type[Policy], dtype: torch.dtype, batch: int
) -> None:
    model = random_model("llama", dtype)
    policy = made(kind, model, max_length=16, window_length=6)
    cache = BudgetCache(model, policy)
    with torch.no_grad():
        for part in random_tokens(batch, 50).split([23, 1, 1, 9, 16], dim=1):
            logits = model(part, past_key_values=cache).logits
            assert logits.isfinite().all()
            for layer in cache.budgeted:
                assert layer.keys.shape == layer.values.shape == (batch, 2, 16, 8)
                assert layer.keys.dtype == dtype
                assert (layer.positions.diff(dim=-1) > 0).all()
                newest = torch.arange(16 if policy.moves_positions else layer.seen)[-6:]
                assert torch.equal(layer.positions[..., -6:].long(), newest.expand(batch, 2, -1))


@pytest.mark.parametrize("kind", EVICTING)
def test_a_pass_that_records_gradients_goes_through(kind: type[Policy]) -> None:
    model = random_model("llama", torch.bfloat16)
    cache = BudgetCache(model, made(kind, model, max_length=16, window_length=6))
    for part in random_tokens(1, 40).split(20, dim=1):
        logits = model(part, past_key_values=cache).logits
    assert logits.requires_grad


@pytest.mark.parametrize("kind", EVICTING)
def test_the_same_text_gives_the_same_choice_alone_or_in_a_batch(kind: type[Policy], llama: PreTrainedModel) -> None:
    tokens = random_tokens(3, 40)
    policy = made(kind, llama, max_length=16, window_length=4)

    def chosen(some: torch.Tensor) -> torch.Tensor:
        cache = BudgetCache(llama, policy)
        with torch.no_grad():
            for part in some.split(8, dim=1):
                llama(part, past_key_values=cache)
        return torch.stack([layer.positions for layer in cache.budgeted])

    together = chosen(tokens)
    assert torch.equal(together, chosen(tokens))
    if kind is not RandomPolicy:  # which draws for all rows at once
        assert torch.equal(together[:, 1:2], chosen(tokens[1:2]))


@pytest.mark.parametrize("kind", every_policy())
def test_settings_that_leave_no_room_are_refused(kind: type[Policy], llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"max_length must be above window_length \(8\).* got 8"):
        made(kind, llama, max_length=8, window_length=8)
    with pytest.raises(ValueError, match="ratio is the share that is kept"):
        made(kind, llama, max_length=None, ratio=1.5)
    with pytest.raises(ValueError, match="either max_length or ratio"):
        made(kind, llama, max_length=100, ratio=0.5)
    with pytest.raises(ValueError, match="window_length must be at least 0"):
        made(kind, llama, max_length=100, window_length=-1)


@pytest.mark.parametrize("kind", EVICTING)
def test_a_ratio_is_of_all_that_was_read_and_leaves_short_texts_whole(
    kind: type[Policy], llama: PreTrainedModel
) -> None:
    policy = made(kind, llama, ratio=0.25, window_length=7)
    assert [policy.budget(seen) for seen in (1, 32, 40, 1000)] == [8, 8, 10, 250]


def test_random_choices_depend_on_the_seed_and_on_nothing_else() -> None:
    entries = Entries(
        torch.zeros(1, 2, 30, 4), torch.zeros(1, 2, 30, 4), torch.zeros(1, 2, 30, dtype=torch.int32), 0, 30
    )
    first = RandomPolicy(max_length=70, seed=3).scores(entries)
    torch.rand(7)
    assert torch.equal(RandomPolicy(max_length=70, seed=3).scores(entries), first)
    assert not torch.equal(RandomPolicy(max_length=70, seed=4).scores(entries), first)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_the_highest_scores_are_kept_and_ties_go_to_the_lower_index(scores: list[int], data: st.DataObject) -> None:
    budget = data.draw(st.integers(1, len(scores)))
    window = data.draw(st.integers(0, budget))
    older = len(scores) - window
    best = sorted(range(older), key=lambda i: (-scores[i], i))[: budget - window]
    expected = sorted(best) + list(range(older, len(scores)))
    assert highest(torch.tensor([scores, scores]).float(), budget, window).tolist() == [expected, expected]


def test_a_score_that_is_not_a_number_is_the_first_to_go() -> None:
    assert highest(torch.tensor([[torch.nan, 1.0, -torch.inf, 0.0]]), 2).tolist() == [[1, 3]]


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.data())
def test_rows_are_those_that_gather_would_take(batch: int, heads: int, length: int, data: st.DataObject) -> None:
    kept = torch.tensor(
        data.draw(st.lists(st.integers(0, length - 1), min_size=batch * heads * 2, max_size=batch * heads * 2))
    ).view(batch, heads, 2)
    tensor = torch.randn(batch, length, heads, 5).transpose(1, 2)  # not contiguous, as the model hands it over
    assert torch.equal(rows(tensor, kept), tensor.gather(2, kept[..., None].expand(-1, -1, -1, 5)))


def test_sinks_must_fit() -> None:
    with pytest.raises(ValueError, match=r"sinks must be at least 0 and below max_length \(8\), got 8"):
        StreamingLLMPolicy(max_length=8, window_length=2, sinks=8)


def test_filters_stand_first_in_their_policy(llama: PreTrainedModel) -> None:
    filters = QFilters.fit(llama, random_tokens(4, 300), estimator="mean")
    assert QFiltersPolicy(filters, max_length=1024, window_length=128).filters is filters
