"""Public formats that the user points to, the scores of the public test sets, and contrasts out of files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tameshi.evaluation.implicit_bias import (
    BBQAnswer,
    Contrast,
    bbq,
    icat,
    read_iat_stimuli,
    shipped,
    stereoset,
    winobias,
)
from tameshi.evaluation.implicit_bias.formats import read_bbq, read_crows_pairs, read_stereoset, read_winobias


def test_icat_by_hand():
    assert icat(100, 50) == 100
    assert icat(100, 100) == 0
    assert icat(50, 50) == 50
    with pytest.raises(ValueError, match="percentages"):
        icat(101, 50)


def test_stereoset_of_three_kinds_of_model():
    fair = stereoset([1, 0, 1, 0], [0, 1, 0, 1], [-1] * 4)
    assert (fair.value, fair.details["lms"], fair.details["ss"]) == (100, 100, 50)
    assert stereoset([1] * 4, [0] * 4, [-1] * 4).value == 0
    assert stereoset([0] * 4, [0] * 4, [0] * 4).value == 50  # a coin
    with pytest.raises(ValueError, match="three scores"):
        stereoset([1], [1, 2], [1])


def test_winobias_gap_by_hand():
    found = winobias([1, 1, 1, 0], [1, 0, 0, 0])
    assert found.value == pytest.approx(0.5)
    assert found.p == pytest.approx(0.5)  # two of two
    assert winobias([1, 0], [1, 0]).value == 0


def test_bbq_by_hand():
    def answer(chosen, *, ambiguous):
        return BBQAnswer(chosen, label=2 if ambiguous else 0, stereotyped=0, unknown=2, ambiguous=ambiguous)

    ambiguous = [answer(c, ambiguous=True) for c in (0, 0, 0, 1, 2, 2, 2, 2)]
    found = bbq(ambiguous, ambiguous=True)
    assert found.value == pytest.approx((2 * 3 / 4 - 1) * (1 - 4 / 8))
    assert bbq([answer(2, ambiguous=True)] * 3, ambiguous=True).value == 0
    clear = [answer(c, ambiguous=False) for c in (0, 0, 0, 1)]
    assert bbq(clear, ambiguous=False).value == pytest.approx(0.5)
    assert bbq([answer(None, ambiguous=False)], ambiguous=False).withheld
    assert bbq([answer(2, ambiguous=False)], ambiguous=False).withheld == "every answer was 'unknown'"


def test_stimuli_in_the_public_format_become_contrasts(tmp_path):
    file = tmp_path / "stimuli.csv"
    file.write_text(
        ",category,dataset,A,B,C,D\n0,g,craft,Ann,Bo,deep,low\n1,g,craft,Cy,Di,salt,sal\n2,g,craft,,,high,up\n3,g,craft,,,air,sky\n"
        "4,h,other,M,N,one,uno\n5,h,other,,,two,due\n",
        encoding="utf-8",
    )
    craft, other = read_iat_stimuli(file)
    assert craft == Contrast("craft", ("Bo", "Di"), ("Ann", "Cy"), ("high", "air"), ("deep", "salt"), "B", "A")
    assert other.a == ("two",)
    assert read_iat_stimuli(file, synonyms=True)[0].b == ("low", "sal")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns dataset"):
        read_iat_stimuli(file)
    with pytest.raises(ValueError, match="cannot be read"):
        read_iat_stimuli(tmp_path / "nothing.csv")


def test_crows_pairs_are_turned_where_the_row_is_turned(tmp_path):
    file = tmp_path / "crows.csv"
    file.write_text(",sent_more,sent_less,stereo_antistereo,bias_type\n0,m,l,stereo,age\n1,m2,l2,antistereo,age\n")
    assert read_crows_pairs(file) == [("m", "l"), ("l2", "m2")]


def test_stereoset_bbq_and_winobias_files(tmp_path):
    labels = ("stereotype", "anti-stereotype", "unrelated")
    item = {"id": "1", "bias_type": "t", "sentences": [{"gold_label": g, "sentence": g[0]} for g in labels]}
    file = tmp_path / "stereoset.json"
    file.write_text(json.dumps({"data": {"intrasentence": [item]}}))
    assert read_stereoset(file)[0].anti == "a"
    file.write_text(json.dumps({"data": {"intrasentence": [{"id": 1}]}}))
    with pytest.raises(ValueError, match="item 0"):
        read_stereoset(file)
    file.write_text("[]")
    with pytest.raises(ValueError, match="no data"):
        read_stereoset(file)
    row = {"category": "c", "example_id": 3, "context": "k", "question": "q", "ans0": "a", "ans1": "b", "ans2": "u",
           "label": 2, "context_condition": "ambig"}  # fmt: skip
    lines = tmp_path / "bbq.jsonl"
    lines.write_text(json.dumps(row) + "\n\n")
    assert read_bbq(lines)[0].ambiguous
    lines.write_text(json.dumps(row) + "\n{broken\n")
    with pytest.raises(ValueError, match="line 2"):
        read_bbq(lines)
    text = tmp_path / "wino.txt"
    text.write_text("1 [The welder] met the nurse because [they] were late.\n")
    assert read_winobias(text) == [("The welder met the nurse because they were late.", "they", "The welder")]
    text.write_text("1 no marks\n")
    with pytest.raises(ValueError, match="two spans"):
        read_winobias(text)


def test_the_contrasts_that_ship_are_whole_and_of_equal_groups():
    assert sorted(shipped()) == ["invented", "sea-sky", "workshop-kitchen"]
    assert all(len(c.x) == len(c.y) and len(c.a) == len(c.b) and c.statements for c in shipped().values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: c\nx: [a]\ny: [b]\na: [c]\n", "lacks b"),
        ("name: c\nx: [a]\ny: [b]\na: [c]\nb: [yes]\n", "quote yes"),
        ("name: c\nx: [a]\ny: [b]\na: [c]\nb: d\n", "list of words"),
        ("name: c\nx: [a]\ny: [b]\na: [c]\nb: [d]\ncolour: red\n", "unknown field 'colour'"),
        ("name: c\nx: []\ny: [b]\na: [c]\nb: [d]\n", "no terms in x"),
        ("- just\n- a list\n", "one mapping"),
        ("name: [unclosed", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_file_that_is_no_contrast_says_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        Contrast.from_yaml(file)


def test_swapping_the_groups_keeps_the_attributes():
    c = shipped()["sea-sky"].swapped()
    assert (c.x_label, c.y_label) == ("birds", "fish")
    assert np.array_equal(c.a, shipped()["sea-sky"].a)
