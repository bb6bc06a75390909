"""A generated shop: brands and products that do not exist, their facts, and questions on all ten tasks in the public
form.

Nothing is downloaded and nothing can be contaminated: no model has seen these names. A *shopper* is a rule that knows a
stated share of the facts and nothing else, so that what a benchmark should say about it is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, TypeVar

import numpy as np

from tameshi.evaluation.ecom_qa.items import Item, from_records

T = TypeVar("T")

SYLLABLES = ("洛", "维", "卡", "桑", "铎", "弥", "澄", "芮", "柏", "珂", "禾", "屿", "朗", "岚", "璞", "蔓")
LATIN = ("zor", "vel", "kim", "dax", "lum", "ner", "pol", "rik", "sov", "tab")
COUNTRIES = ("冰岛", "秘鲁", "芬兰", "智利", "摩洛哥", "越南", "葡萄牙", "肯尼亚", "波兰", "新西兰")
CATEGORIES = (
    "登山靴",
    "电热水壶",
    "羽绒被",
    "蓝牙音箱",
    "猫爬架",
    "钓鱼竿",
    "婴儿推车",
    "护手霜",
    "办公椅",
    "咖啡豆",
    "瑜伽垫",
    "电动牙刷",
)
COARSE = (
    "运动户外",
    "家用电器",
    "家居用品",
    "影音设备",
    "宠物用品",
    "运动户外",
    "母婴用品",
    "美妆个护",
    "办公用品",
    "食品饮料",
    "运动户外",
    "家用电器",
)
COLOURS = ("曜石黑", "雾霾蓝", "米白", "橄榄绿", "砖红", "姜黄")
INDUSTRIES = ("户外装备", "厨房小电", "床上用品", "数码影音", "宠物玩具", "垂钓用品", "母婴出行", "手部护理")
INTENTS = {
    "买什么": "适合{who}的{category}礼物",
    "怎么办": "{category}坏了怎么处理",
    "怎么样": "{brand}的{category}好用吗",
    "电商通用百科知识": "预售定金能退吗{brand}",
    "怎么挑/怎么买": "什么样的{category}适合{who}",
}
WHO = ("学生", "老人", "新手爸妈", "上班族", "露营爱好者", "独居青年")
DIMENSIONS = ("颜色", "规格", "材质", "品牌")
PC_TASTES = dict(
    zip(
        CATEGORIES,
        ("爬山", "泡茶", "睡眠", "听歌", "养猫", "钓鱼", "带娃", "护肤", "加班", "手冲", "练瑜伽", "口腔护理"),
        strict=True,
    )
)

MOST_PER_TASK = 180  # three questions for each of the 60 brands that a shop has unless told otherwise

SYSTEM = {
    "IC": "任务：电商网页类目问答\n从候选类目中选出所有相关的类目，用逗号分隔。",
    "IDC": "根据电商知识问题，回答一个事实性知识短语。",
    "CC": "任务：商品品类问答\n根据商品信息回答。",
    "BC": "任务：品牌知识问答\n仿照示例回答事实性短语或短句。",
    "AC": "任务：功能属性问答\n输出query中属于特定属性的词语。",
    "SC": "任务：模糊query理解问答。\n如果query需要纠错，则输出纠错后的query，否则输出原始query。",
    "ITC": f"任务：用户意图问答\n候选意图有'{'、'.join(INTENTS)}'，输出用户query的意图。",
    "RVC": "任务：评论知识问答\n判断分析维度总结是否正确，回答正确或错误。",
    "RLC": "任务：相关性问答\n回答query和商品相关性的档位：相关或不相关。",
    "PC": "任务：个性化偏好问答\n选择最适合推荐给该用户的新品类，输出正确选项。",
}


@dataclass(frozen=True)
class Brand:
    """A brand that does not exist."""

    name: str
    country: str
    year: int
    category: str


@dataclass(frozen=True)
class Product:
    """A product that does not exist: its code says nothing of what it is."""

    name: str
    brand: str
    category: str
    colour: str


@dataclass(frozen=True)
class Shop:
    """Brands, products, and the questions about them.

    Args:
        brands, products: as generated.
        records: questions in the public form.
        facts: for each question, which fact decides it.
    """

    brands: tuple[Brand, ...]
    products: tuple[Product, ...]
    records: tuple[dict[str, str], ...]
    facts: tuple[str, ...] = field(repr=False, default=())

    @cached_property
    def items(self) -> list[Item]:
        """The questions."""
        return from_records(enumerate(self.records, 1), source="the generated shop")

    @cached_property
    def passages(self) -> list[str]:
        """What the shop says about itself: three sentences a brand, two a product. This is what retrieval finds."""
        found = []
        for b in self.brands:
            found += [
                f"{b.name}品牌的发源地是{b.country}，设计团队常驻当地。",
                f"{b.name}品牌创立于{b.year}年，门店遍布各地。",
                f"{b.name}品牌主营{b.category}，口碑稳定。",
            ]
        for p in self.products:
            found += [f"{p.brand}旗下的{p.name}是一款{p.category}。", f"{p.brand}旗下的{p.name}有{p.colour}可选。"]
        return found


def make_shop(seed: int = 0, *, n_brands: int = 60, n_products: int = 400, per_task: int = 30) -> Shop:
    """Generate a shop.

    Args:
        seed: of everything.
        n_brands: at most 800.
        n_products: how many.
        per_task: questions on each of the ten tasks; at most three a brand.

    Raises:
        ValueError: sizes that cannot be had.
    """
    if not 2 <= n_brands <= 800 or n_products < 2 or per_task < 1:
        raise ValueError(
            f"a shop needs 2 to 800 brands, 2 products and a question a task, got {n_brands}, {n_products}, {per_task}"
        )
    if per_task > 3 * n_brands:
        raise ValueError(
            f"{n_brands} brands give {3 * n_brands} questions on brands, not {per_task}; ask for more brands"
        )
    rng = np.random.default_rng(seed)
    names = _names(n_brands, rng)
    brands = tuple(Brand(n, _one(COUNTRIES, rng), int(rng.integers(1920, 2020)), _one(CATEGORIES, rng)) for n in names)
    products = []
    for index in range(n_products):
        brand = _draw(brands, rng)
        code = f"{_one(LATIN, rng).upper()}-{index:03d}{_one('ABCDEFGH', rng)}"
        products.append(
            Product(
                code, brand.name, brand.category if rng.random() < 0.5 else _one(CATEGORIES, rng), _one(COLOURS, rng)
            )
        )
    made: list[tuple[dict[str, str], str]] = []
    for task, build in _BUILDERS.items():
        seen: set[str] = set()
        while len(seen) < per_task:
            prompt, gold, fact = build(brands, products, rng)
            if prompt in seen:
                continue
            seen.add(prompt)
            made.append(({"system_prompt": SYSTEM[task], "prompt": prompt, "gt": gold, "task": task}, f"{task}:{fact}"))
    return Shop(brands, tuple(products), tuple(r for r, _ in made), tuple(f for _, f in made))


def read_passages(item: Item, passages: Sequence[str]) -> str | None:
    """Answer a question on brands or categories out of passages alone, or None where they do not say."""
    text = "\n".join(passages)
    if asked := re.search(r"：(\S+?)(?:品牌)?的发源地是哪个国家", item.prompt):
        found = re.search(rf"{re.escape(asked[1])}品牌的发源地是(.+?)，", text)
        return found[1] if found else None
    if asked := re.search(r"：(\S+?)品牌创立于哪一年", item.prompt):
        found = re.search(rf"{re.escape(asked[1])}品牌创立于(\d+)年", text)
        return f"{found[1]}年" if found else None
    if asked := re.search(r"：(\S+?)品牌的主营类目是什么", item.prompt):
        found = re.search(rf"{re.escape(asked[1])}品牌主营(.+?)，", text)
        return found[1] if found else None
    if asked := re.search(r"商品(\S+?)是(\S+?)吗", item.prompt):
        found = re.search(rf"旗下的{re.escape(asked[1])}是一款(.+?)。", text)
        return ("是" if found[1] == asked[2] else "否") if found else None
    if asked := re.search(r"商品标题\*+：(\S+)", item.prompt):
        found = re.search(rf"旗下的{re.escape(asked[1])}是一款(.+?)。", text)
        return found[1] if found else None
    return None


class Shopper:
    """A rule that knows a share of the facts: `Shopper(shop, 0.5).answer(item)`.

    What it knows it answers, in the many forms in which models answer; what it does not know it gets wrong, so that its
    accuracy on a task is the share of that task's facts that it holds.

    Args:
        shop: whose facts.
        knowledge: share of the facts, in [0, 1]; exact within each task.
        seed: which facts, and which forms.
    """

    def __init__(self, shop: Shop, knowledge: float, *, seed: int = 0) -> None:
        if not 0 <= knowledge <= 1:
            raise ValueError(f"knowledge is a share of the facts, got {knowledge}")
        self.shop, self.knowledge = shop, knowledge
        rng = np.random.default_rng([seed, 17])
        self.known: set[str] = set()
        for task in dict.fromkeys(i.task for i in shop.items):
            own = [i.id for i in shop.items if i.task == task]
            # one order for all shoppers of a seed: whoever knows more knows everything that one who knows less does
            self.known.update(own[j] for j in rng.permutation(len(own))[: round(knowledge * len(own))])
        self._seed = seed

    def answer(self, item: Item, passages: Sequence[str] = ()) -> str:
        """The answer, with what the passages say where they say it."""
        rng = np.random.default_rng([self._seed, int(item.id)])
        read = read_passages(item, passages) if passages else None
        if read is not None:
            return _written(item, read, rng)
        return _written(item, item.gold, rng) if item.id in self.known else _wrong(item, rng)


def _written(item: Item, answer: str, rng: np.random.Generator) -> str:
    forms: list[Callable[[str], str]] = [
        lambda a: a,
        lambda a: f"答案：{a}",
        lambda a: f"***答案***：{a}。",
        lambda a: f" {a} \n",
    ]
    if item.kind in ("label", "letter"):
        forms += [
            lambda a: f"结合给出的信息逐项比较之后，答案是{a}",
            lambda a: f"先看条件，再看选项。\n最终答案：{a}。",
        ]
    if item.kind == "set":
        parts = answer.split(",")
        answer = _one((",", "，", "、", "; "), rng).join(parts[i] for i in rng.permutation(len(parts)))
    return forms[rng.integers(len(forms))](answer)


def _wrong(item: Item, rng: np.random.Generator) -> str:
    others = [o for o in item.options if o not in item.golds]
    if item.kind in ("label", "letter", "set") and others and set(others) != set(item.golds):
        return _written(item, _one(others, rng), rng)
    return _one(("不知道。", "无法确定", "抱歉，我不清楚这个品牌。"), rng)


def _names(count: int, rng: np.random.Generator) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        latin = "".join(_one(LATIN, rng) for _ in range(2)).upper()
        names[f"{latin}/{''.join(_one(SYLLABLES, rng) for _ in range(2))}"] = None
    return list(names)


def _draw(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _one(options: Sequence[str], rng: np.random.Generator) -> str:
    return _draw(options, rng)


Built: TypeAlias = tuple[str, str, str]
Brands: TypeAlias = Sequence[Brand]
Products: TypeAlias = Sequence[Product]


def _bc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    b = _draw(brands, rng)
    asked = (("的发源地是哪个国家？", b.country), ("创立于哪一年？", f"{b.year}年"), ("的主营类目是什么？", b.category))
    question, gold = _draw(asked, rng)
    return f"***query***：{b.name}品牌{question}***答案***：", gold, b.name


def _cc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    p = _draw(products, rng)
    if rng.random() < 0.7:
        offered = p.category if rng.random() < 0.5 else _one([c for c in CATEGORIES if c != p.category], rng)
        return f"商品{p.name}是{offered}吗？\n***答案***：", "是" if offered == p.category else "否", p.name
    listed = _options(p.category, CATEGORIES, 5, rng)
    coarse = COARSE[CATEGORIES.index(p.category)]
    head = f"***商品标题***：{p.name}\n***粗粒度品类***：{coarse}\n***候选细粒度品类***："
    return f"{head}{','.join(listed)}\n***答案***：", p.category, p.name


def _ic(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    right = [str(i) for i in rng.permutation(INDUSTRIES)[: rng.integers(1, 4)]]
    rest = [i for i in INDUSTRIES if i not in right]
    listed = [str(i) for i in rng.permutation([*right, *rest[: rng.integers(2, 5)]])]
    p = _draw(products, rng)
    page = f"{p.brand} {p.name} 新品上架，咨询请私聊，编号{int(rng.integers(10_000))}"
    return f"***电商网页***：{page}\n***候选类目***：{','.join(listed)}\n***答案***：", ",".join(right), p.name


def _idc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    b = _draw(brands, rng)
    rule = f"{b.name.split('/')[1]}标准"
    number = int(rng.integers(2, 90))
    return f"***问题***行业内所说的“{rule}”第{number}条对应的是哪一类商品？\n***答案***：", b.category, rule


def _ac(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    p = _draw(products, rng)
    words = {"颜色": p.colour, "品牌": p.brand.split("/")[1], "人群": _one(WHO, rng)}
    asked = _one(tuple(words), rng)
    query = "".join(str(w) for w in rng.permutation([*words.values(), p.category]))
    return f"***query***：{query}\n***属性***：{asked}\n***答案***：", words[asked], query


def _sc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    b = _draw(brands, rng)
    query = f"{b.name.split('/')[1]}{b.category}{_one(COLOURS, rng)}"
    shown = query
    if rng.random() < 0.6:
        place = int(rng.integers(2))
        wrong = _one([s for s in SYLLABLES if s != query[place]], rng)
        shown = query[:place] + wrong + query[place + 1 :]
    return f"***query***：{shown}\n***答案***：", query, query


def _itc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    intent = _one(tuple(INTENTS), rng)
    b = _draw(brands, rng)
    query = INTENTS[intent].format(brand=b.name, category=_one(CATEGORIES, rng), who=_one(WHO, rng))
    return f"***query***：{query}（{b.name}）\n***答案***：", intent, query


def _rvc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    p = _draw(products, rng)
    said = _one(COLOURS, rng)
    right = rng.random() < 0.5
    told = said if right else _one([c for c in COLOURS if c != said], rng)
    review = f"{p.name}颜色是{said}，质感不错"
    text = f"***用户评论***：{review}\n***评论分析维度***：颜色\n***分析维度总结***：{told}\n***答案***："
    return text, "正确" if right else "错误", review


def _rlc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    p, other = (products[int(i)] for i in rng.permutation(len(products))[:2])
    if rng.random() < 0.3:
        dimension = _one(DIMENSIONS, rng)
        head = f"商品A：[{p.name} {p.colour}]\n商品B：[{other.name} {other.colour}]\n请选择唯一不一致的维度。"
        listed = ",".join(f'"{d}"' for d in DIMENSIONS)
        return f"{head}\n纬度列表：\n[{listed}]\n***答案***：", dimension, p.name
    right = rng.random() < 0.5
    query = f"{p.colour}{p.category if right else _one([c for c in CATEGORIES if c != p.category], rng)}"
    text = f"***query***：{query}\n***商品信息***：{p.name} {p.category} {p.colour}\n***答案***："
    return text, "相关" if right else "不相关", p.name


def _pc(brands: Brands, products: Products, rng: np.random.Generator) -> Built:
    liked = _one(CATEGORIES, rng)
    listed = _options(liked, CATEGORIES, 4, rng)
    options = ";".join(f"{letter}.{c}" for letter, c in zip("ABCD", listed, strict=True))
    person = f'{{"年龄": "{int(rng.integers(18, 70))}岁", "兴趣": "{PC_TASTES[liked]}", "编号": {int(rng.integers(10_000))}}}'
    text = f"***个性化偏好***：{person}\n***候选品类***：{options}\n***答案***："
    return text, "ABCD"[listed.index(liked)], liked


def _options(right: str, pool: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    others = [str(o) for o in rng.permutation([o for o in pool if o != right])[: count - 1]]
    return [str(o) for o in rng.permutation([right, *others])]


_BUILDERS: dict[str, Callable[[Brands, Products, np.random.Generator], Built]] = {
    "IC": _ic, "IDC": _idc, "CC": _cc, "BC": _bc, "AC": _ac, "SC": _sc, "ITC": _itc, "RVC": _rvc, "RLC": _rlc, "PC": _pc,
}  # fmt: skip


def each_task(items: Sequence[Item], limit: int | None) -> Iterator[Item]:
    """At most `limit` items of every task, the first ones."""
    seen: dict[str, int] = {}
    for item in items:
        seen[item.task] = seen.get(item.task, 0) + 1
        if limit is None or seen[item.task] <= limit:
            yield item
