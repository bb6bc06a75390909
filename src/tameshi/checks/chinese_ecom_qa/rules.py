"""How each claim of ChineseEcomQA is judged."""

from __future__ import annotations

from tameshi.checks.chinese_ecom_qa.pipeline import CLEAN
from tameshi.nouns import AllOf, Beats, Orders, OutOfReach, Ratio, Reaches, Rule


def _beyond(claim: str, en: str, ja: str, option: str, then: Rule) -> Rule:
    return OutOfReach(claim=claim, reason={"en": en, "ja": ja}, option=option, then=then)


RULES: list[Rule] = [
    AllOf(
        "C1",
        (
            Beats(
                claim="C1", method="model", baseline="trivial policy", metric="correct", better="higher",
                check="separation", each=("task",), control=("model, golds shuffled",),
            ),
            Orders(claim="C1", method="shopper", metric="correct", along="knowledge", direction="rises", check="shoppers"),
        ),
    ),
    _beyond(
        "C2",
        "two sizes of one family of real models are needed, and none ships.",
        "同じ系列の大小二つの実モデルが必要で、同梱していない。",
        "--model openai/SMALL --larger openai/LARGE --data ChineseEcomQA.jsonl",
        Beats(claim="C2", method="larger", baseline="model", metric="correct", better="higher", check="separation"),
    ),
    _beyond(
        "C3",
        "a model and its distillation for reasoning are needed, and none ships.",
        "元のモデルと、それを推論向けに蒸留したモデルが必要で、同梱していない。",
        "--model openai/BASE --distilled openai/ITS-DISTILLATION --data ChineseEcomQA.jsonl",
        Beats(claim="C3", method="distilled", baseline="model", metric="correct", better="lower", check="separation"),
    ),
    AllOf(
        "C4",
        (
            Beats(
                claim="C4", method="with retrieval", baseline="without retrieval", metric="answered", better="higher",
                check="shoppers", each=("knowledge",), control=("with random passages",),
            ),
            Beats(
                claim="C4", method="with retrieval", baseline="without retrieval", metric="gap", better="lower",
                by=Ratio(0.5), check="shoppers", control=("with random passages",),
            ),
        ),
    ),
    _beyond(
        "C5",
        "stated confidence means something only from real models, and two sizes of one are needed.",
        "確信度の申告は実モデルでなければ意味がなく、同じ系列の大小二つが必要である。",
        "--model openai/SMALL --larger openai/LARGE --confidence --data ChineseEcomQA.jsonl",
        AllOf(
            "C5",
            (
                Reaches(claim="C5", method="model", target=0.0, metric="overconfidence", better="higher", check="separation"),
                Beats(
                    claim="C5", method="larger", baseline="model", metric="overconfidence", better="lower",
                    check="separation",
                ),
            ),
        ),
    ),
    AllOf(
        "C6",
        (
            Beats(
                claim="C6", method=CLEAN, baseline="no check", metric="flawed kept", better="lower", by=Ratio(0.1),
                check="cleaning", control=("random removal",),
            ),
            Reaches(claim="C6", method=CLEAN, target=0.15, metric="good lost", better="lower", check="cleaning"),
        ),
    ),
]  # fmt: skip
