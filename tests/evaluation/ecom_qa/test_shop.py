"""The generated shop, its audit, retrieval on it, and the pipeline that builds a benchmark."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tameshi.evaluation.ecom_qa import (
    BM25,
    TASKS,
    Candidate,
    Pipeline,
    Shopper,
    audit,
    build_benchmark,
    from_records,
    make_shop,
    score_items,
    summary,
    with_passages,
)
from tameshi.evaluation.ecom_qa.audit import query_of
from tameshi.evaluation.ecom_qa.retrieval import HEAD, terms
from tameshi.evaluation.ecom_qa.shop import read_passages

SHOP = make_shop(0)


def test_the_shop_has_thirty_questions_on_each_of_ten_tasks_and_comes_again_with_its_seed() -> None:
    assert Counter(i.task for i in SHOP.items) == dict.fromkeys(TASKS, 30)
    assert make_shop(0) == SHOP
    assert make_shop(1) != SHOP
    with pytest.raises(ValueError, match="2 to 800 brands"):
        make_shop(0, n_brands=1)
    with pytest.raises(ValueError, match="60 brands give 180 questions on brands, not 181"):
        make_shop(0, per_task=181)  # would look for the last one for ever


@pytest.mark.parametrize("knowledge", [0, 0.25, 0.5, 0.75, 1])
def test_the_score_recovers_what_a_shopper_knows(knowledge: float) -> None:
    found = []
    for seed in range(3):
        shop = make_shop(seed)
        shopper = Shopper(shop, knowledge, seed=seed)
        found.append(summary(score_items(shop.items, [shopper.answer(i) for i in shop.items])).macro)
    assert sum(found) / 3 == pytest.approx(knowledge, abs=0.05)


def test_who_knows_more_knows_everything_that_one_who_knows_less_does() -> None:
    little, much = (Shopper(SHOP, q, seed=4).known for q in (0.25, 0.5))
    assert little < much
    with pytest.raises(ValueError, match="share of the facts"):
        Shopper(SHOP, 1.5)


def test_retrieval_lifts_by_what_is_missing_times_the_rate_of_hits() -> None:
    find = BM25(SHOP.passages)
    items = [i for i in SHOP.items if i.task in ("CC", "BC")]
    passages = [find(i.prompt, 3) for i in items]
    hits = sum(read_passages(i, p) is not None for i, p in zip(items, passages, strict=True)) / len(items)
    assert hits > 0.7
    for knowledge in (0.25, 0.5):
        shopper = Shopper(SHOP, knowledge)
        scored = score_items(items, [shopper.answer(i, p) for i, p in zip(items, passages, strict=True)])
        expected = knowledge + (1 - knowledge) * hits
        assert sum(s.correct for s in scored) / len(scored) == pytest.approx(expected, abs=0.08)


def test_bm25_by_hand() -> None:
    find = BM25(["red shoe", "blue shoe shoe", "green hat"], k1=1.2, b=0.0)
    scores = find.scores("shoe")
    weight = __import__("math").log(1 + (3 - 2 + 0.5) / 2.5)
    assert scores[0] == pytest.approx(weight * 2.2 / 2.2)
    assert scores[1] == pytest.approx(weight * 2 * 2.2 / 3.2)
    assert scores[2] == 0
    assert find("shoe", 5) == ["blue shoe shoe", "red shoe"]
    assert find("unknown", 2) == []
    assert terms("登山靴 X1") == ["登山", "山靴", "x1"]
    with pytest.raises(ValueError, match="at least one passage"):
        BM25([])


def test_passages_stand_before_the_question() -> None:
    text = with_passages(SHOP.items[0], ["甲", "乙"])
    assert text.startswith(HEAD + "[1] 甲\n[2] 乙\n\n")
    assert text.endswith(SHOP.items[0].prompt)
    assert with_passages(SHOP.items[0], []) == SHOP.items[0].prompt


def test_the_audit_finds_what_is_planted() -> None:
    def record(task: str, prompt: str, gold: str) -> dict[str, str]:
        return {"system_prompt": "", "prompt": prompt, "gt": gold, "task": task}

    records = [
        *(record("RVC", f"评论{n}", "正确" if n < 9 else "错误") for n in range(10)),
        *(record("SC", f"***query***：词{n}\n***答案***：", f"词{n}" if n < 2 else "别的") for n in range(4)),
        record("AC", "同一个", "甲"),
        record("AC", "同一个", "乙"),
        record("RLC", '纬度列表：\n["甲","乙"]', "甲\n\n#逻辑链"),
        record("ITC", "***query***：什么\n答案：\n***答案***：", "怎么办"),
        record("IC", "网页：网球拍\n***候选类目***：网球,拉丁舞\n答案", "网球"),
    ]
    found = audit(from_records(enumerate(records, 1)))
    assert found.trivial["RVC"] == (0.9, "the commonest label")
    assert found.trivial["SC"] == (0.5, "copy the query")
    assert found.trivial["IC"][0] == 1
    assert (found.duplicates, found.hidden, found.double_markers) == ((1, 1), 1, 1)
    assert found.macro == pytest.approx(sum(score for score, _ in found.trivial.values()) / len(found.trivial))
    assert "90.0%" in str(found)
    assert found.separates({"RVC": 0.85, "SC": 0.9}) == {"RVC": False, "SC": True}
    with pytest.raises(ValueError, match="nothing to audit"):
        audit([])


def test_the_query_of_a_prompt() -> None:
    assert query_of(replace(SHOP.items[0], prompt="***query***：麗致天成\n***答案***：")) == "麗致天成"
    assert query_of(replace(SHOP.items[0], prompt="没有")) == ""


CANDIDATES = [Candidate(str(n), f"s{n}", f"问题{n}？", f"答{n}") for n in range(6)]


def generate(snippet: str) -> list[Candidate]:
    return [CANDIDATES[int(snippet)]]


def test_two_of_three_votes_keep_a_question() -> None:
    votes = [lambda c, k=k: int(c.id) < k for k in (2, 3, 4)]
    found = build_benchmark([str(n) for n in range(6)], generate, votes)
    assert [c.id for c in found.kept] == ["0", "1", "2"]
    assert found.counts() == {"kept": 3, "failed validation": 3}
    assert found.records[3].votes == (False, False, True)


def test_retrieval_that_contradicts_drops_and_retrieval_that_does_not_say_keeps() -> None:
    told = {"0": "答0。", "1": "别的", "2": ""}
    pipeline = Pipeline(generate, retriever=lambda q, k: [q], reader=lambda c, p: told[c.id])
    found = pipeline.run(["0", "1", "2"])
    assert [r.fate for r in found.records] == ["kept", "failed retrieval", "kept"]
    assert found.records[0].passages == ("问题0？",)


def test_what_all_of_three_models_get_right_is_too_easy() -> None:
    models = [lambda c, p, k=k: c.answer if int(c.id) >= k else "错" for k in (1, 2, 3)]
    found = Pipeline(generate, references=models).run([str(n) for n in range(5)])
    assert [r.fate for r in found.records] == ["kept"] * 3 + ["too easy"] * 2
    assert Pipeline(generate, references=models[:2]).run(["4"]).records[0].fate == "kept"


def test_people_have_the_last_word_and_see_a_sample_of_what_was_dropped() -> None:
    everyone = [str(n % 6) for n in range(6)]
    pipeline = Pipeline(generate, validators=[lambda c: int(c.id) < 3], needed=1, audited=1.0)
    found = pipeline.run(everyone)
    assert len(found.for_people) == 6
    decided = found.decided({"0": False, "5": True})
    assert [c.id for c in decided.kept] == ["1", "2", "5"]
    assert len(decided.for_people) == 4
    with pytest.raises(ValueError, match="no candidate 'x'"):
        found.decided({"x": True})
    assert len(Pipeline(generate, [lambda c: False], 1, audited=0.0).run(everyone).for_people) == 0


def test_questions_that_stand_twice_or_say_nothing_are_dropped() -> None:
    def write(snippet: str) -> list[Candidate]:
        return [
            CANDIDATES[0],
            replace(CANDIDATES[1], question="问题0?"),
            Candidate("e", "s", "？", "答"),
            Candidate("f", "s", "问", " "),
        ]

    assert Pipeline(write).run(["s"]).counts() == {"kept": 1, "duplicate": 1, "no question": 2}


def test_stages_may_be_coroutines() -> None:
    async def slowly(candidate: Candidate) -> bool:
        await asyncio.sleep(0)
        return True

    assert len(Pipeline(generate, [slowly], 1).run(["0", "1"]).kept) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validators": [lambda c: True], "needed": 2}, "between 1 and 1"),
        ({"retriever": lambda q, k: []}, "both a retriever and a reader"),
        ({"audited": 2.0}, "share of what was dropped"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(generate, **settings)


def test_three_votes_of_85_percent_remove_what_the_binomial_law_says(tmp_path: Path) -> None:
    import numpy as np

    truth = {str(n): n % 5 > 0 for n in range(2000)}
    made = {n: Candidate(n, n, f"问{n}", "答") for n in truth}
    rng = np.random.default_rng(0)
    votes = {(n, v): truth[n] == (rng.random() < 0.85) for n in truth for v in range(3)}
    pipeline = Pipeline(lambda s: [made[s]], [lambda c, v=v: votes[c.id, v] for v in range(3)])
    kept = {c.id for c in pipeline.run(list(truth)).kept}
    removed = [n for n in truth if n not in kept]
    right = 0.85**3 + 3 * 0.85**2 * 0.15
    assert right == pytest.approx(0.93925)
    bad = [n for n in truth if not truth[n]]
    assert sum(n not in kept for n in bad) / len(bad) == pytest.approx(right, abs=0.03)
    precision = sum(not truth[n] for n in removed) / len(removed)
    assert precision == pytest.approx(0.2 * right / (0.2 * right + 0.8 * (1 - right)), abs=0.05)
