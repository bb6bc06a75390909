from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.nouns import Items, Missing, Row, Rows
from tameshi.nouns.rows import values_from_json

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.builds(Missing, st.text(max_size=8))
items = st.lists(numbers, max_size=5).map(Items)
values = st.dictionaries(st.text(max_size=5), numbers | items, max_size=3)


def same(a: object, b: object) -> bool:
    if isinstance(a, Items) and isinstance(b, Items):
        return a.ids == b.ids and a.groups == b.groups and all(map(same, a.values, b.values))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return a == b


@settings(max_examples=50, deadline=None, derandomize=True)
@given(values)
def test_values_come_back_from_json_as_they_went_in(made):
    back = values_from_json(Row("c", "m", {}, 0, values=made).values_json())
    assert set(back) == set(made)
    assert all(same(back[name], made[name]) for name in made)


def test_nan_is_not_missing_and_missing_is_not_zero():
    back = values_from_json(
        Row("c", "m", {}, 0, values={"a": math.nan, "b": Missing("no label"), "c": 0.0}).values_json()
    )
    assert math.isnan(back["a"])
    assert back["b"] == Missing("no label")
    assert back["c"] == 0.0


def test_a_key_does_not_depend_on_the_order_of_conditions():
    assert Row("c", "m", {"a": 1, "b": 2}, 0).key == Row("c", "m", {"b": 2, "a": 1}, 0).key
    assert Row("c", "m", {"a": 1}, 0).key != Row("c", "m", {"a": 1}, 1).key
    assert Row("c", "m", {"a": 1}, 0).key != Row("c", "m", {"a": "1"}, 0).key


def test_an_item_that_stands_twice_is_named():
    with pytest.raises(ValueError, match="'x' stands twice"):
        Items([1, 2], ids=["x", "x"])
    with pytest.raises(ValueError, match="2 values need as many ids, got 1"):
        Items([1, 2], ids=["x"])
    with pytest.raises(ValueError, match="2 values need as many groups, got 1"):
        Items([1, 2], groups=["x"])


def test_rows_answer_by_method_metric_and_condition():
    rows = Rows(
        Row("c", method, {"cap": cap}, 0, values={"v": Items([cap, cap + 1.0, Missing("?")])})
        for method in ("b", "a")
        for cap in (128, 64)
    )
    assert rows.methods == ["a", "b"]
    assert rows.levels("cap") == [64, 128]
    assert rows.where(method="a", cap=64).numbers("v") == [64.0, 65.0]
    assert rows.where({"cap": 128}, method="b").mean("v") == 128.5
    assert len(rows.where(metric="w")) == 0
    assert math.isnan(rows.where(method="z").mean("v"))
