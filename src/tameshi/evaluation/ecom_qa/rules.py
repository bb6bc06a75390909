"""Named rules of this paper: `tameshi/shopper-50` knows half of the facts of the generated shop of its seed,
`tameshi/literal-judge` grades by how an answer ends.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from tameshi.evaluation.ecom_qa.items import Item
from tameshi.evaluation.ecom_qa.literal import grade
from tameshi.evaluation.ecom_qa.retrieval import HEAD
from tameshi.evaluation.ecom_qa.shop import Shop, Shopper, make_shop, read_passages
from tameshi.evaluation.messages import Message
from tameshi.evaluation.provider import Rule, rule, seeded_rule

PERCENT = (0, 25, 50, 75, 100)


@lru_cache(maxsize=8)
def shop_of(seed: int, per_task: int = 30) -> Shop:
    """The generated shop of a seed, kept."""
    return make_shop(seed, per_task=per_task)


def shopper_rule(shop: Shop, knowledge: float, *, seed: int = 0, malformed: float = 0.0) -> Rule:
    """A shopper as a rule that answers conversations; reads passages where they stand before the question."""
    shopper = Shopper(shop, knowledge, seed=seed)
    by_prompt: dict[str, Item] = {item.prompt: item for item in shop.items}

    def answer(messages: Sequence[Message], rng: random.Random) -> str:
        if rng.random() < malformed:
            return rng.choice(("", "{", "答案：", "￥￥￥", "是否是否", "ABCD"))
        text = messages[-1]["content"]
        passages: list[str] = []
        if text.startswith(HEAD):
            before, _, text = text.removeprefix(HEAD).partition("\n\n")
            passages = [re.sub(r"^\[\d+\] ", "", line) for line in before.split("\n")]
        asks_confidence = "信心：" in text
        item = by_prompt.get(text.split("\n请在最后另起一行写出你对答案的把握程度")[0])
        if item is None:
            return "我没有见过这个商店。"
        told = shopper.answer(item, passages)
        return f"{told}\n信心：{rng.choice((80, 90, 95))}" if asks_confidence else told

    return answer


def _named(percent: int) -> Callable[[int], Rule]:
    return lambda seed: shopper_rule(shop_of(seed), percent / 100, seed=seed)


@rule("shop-builder")
def _builder(messages: Sequence[Message], rng: random.Random) -> str:
    """Writes, validates and answers questions about passages of the generated shop: the default of the pipeline."""
    rules, text = messages[0]["content"], messages[-1]["content"]
    if rules.startswith("You write questions"):
        found = re.search(r"(\S+)品牌的发源地是(.+?)，", text)
        if not found:
            return "[]"
        return json.dumps(
            [{"question": f"***query***：{found[1]}品牌的发源地是哪个国家？", "answer": found[2]}], ensure_ascii=False
        )
    if rules.startswith("You check"):
        return "<reason>It names a brand.</reason>\nAnswer: " + ("KEEP" if "品牌" in text else "DROP")
    question = text.rsplit("\n", 1)[-1]
    item = Item("0", "BC", "", question, ("",), "free")
    return read_passages(item, text.split("\n")) or "UNKNOWN"


@rule("literal-judge")
def _literal(messages: Sequence[Message], rng: random.Random) -> str:
    return grade(messages[-1]["content"])


for _percent in PERCENT:
    seeded_rule(f"shopper-{_percent}")(_named(_percent))
