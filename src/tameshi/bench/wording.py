"""What a verdict says, in English and Japanese: the names of figures, their numbers, and the sentences around them.

Names of methods and metrics come from the checks; reasons and errors can come from anywhere and pass the screen's
door.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tameshi.doors.screen import plain

Words = dict[str, str]

UNITS = {
    "items": ("item", "items", "項目"),
    "groups": ("group", "groups", "グループ"),
    "seeds": ("seed", "seeds", "シード"),
}
NOUNS = {
    "difference": ("difference", "差"),
    "ratio": ("ratio", "比"),
    "share": ("share", "割合"),
    "mean": ("mean", "平均"),
    "correlation": ("correlation", "相関"),
}


def difference(metric: str, method: str, other: str) -> Words:
    return {"en": f"{metric}: {method} minus {other}", "ja": f"{metric} の差（{method} − {other}）"}


def ratio(metric: str, method: str, other: str, gap_to: str | None) -> Words:
    if gap_to is None:
        return {"en": f"ratio of {metric}, {method} to {other}", "ja": f"{metric} の比（{method} ÷ {other}）"}
    return {
        "en": f"ratio of the {metric} gap to {gap_to}, {method} to {other}",
        "ja": f"{gap_to} との {metric} の差についての比（{method} ÷ {other}）",
    }


def share(metric: str, method: str, target: str) -> Words:
    return {
        "en": f"{metric} of {method} as a share of {target}'s",
        "ja": f"{target} の {metric} に対する {method} の割合",
    }


def mean(metric: str, method: str) -> Words:
    return {"en": f"mean {metric} of {method}", "ja": f"{method} の {metric} の平均"}


def order(metric: str, method: str, along: str) -> Words:
    return {
        "en": f"rank correlation of {metric} with {along}, {method}",
        "ja": f"{along} と {metric} の順位相関（{method}）",
    }


def correlation(metric: str, other: str, method: str, *, ranked: bool = True) -> Words:
    en, ja = ("rank correlation", "順位相関") if ranked else ("correlation", "相関")
    return {"en": f"{en} of {metric} and {other}, {method}", "ja": f"{metric} と {other} の{ja}（{method}）"}


def number(value: float, *, signed: bool = False) -> str:
    """Three digits that count, no more."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    size = abs(value)
    if size < 1e-15:
        return "0"  # what is left of nothing when a bar was taken away and added again
    if size < 1e-4:
        shown = f"{value:+.1e}" if signed else f"{value:.1e}"
    elif size >= 1000:
        shown = f"{value:+,.0f}" if signed else f"{value:,.0f}"
    else:
        digits = max(0, 2 - math.floor(math.log10(size)))
        shown = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return shown.replace("-", "−", 1) if shown.startswith("-") else shown


def quantity(value: float, noun: str, points: bool) -> Words:
    """A figure as its reader knows it: rates in percent, their differences in points."""
    if points and noun == "difference":
        return {
            "en": f"{number(100 * value, signed=True)} points",
            "ja": f"{number(100 * value, signed=True)} ポイント",
        }
    if (points and noun == "mean") or noun == "share":
        return dict.fromkeys(("en", "ja"), f"{number(100 * value)} %")
    return dict.fromkeys(("en", "ja"), number(value, signed=noun == "difference"))


def chance(p: float) -> str:
    """A p-value: "p = 0.03", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def count(n: int, unit: str) -> Words:
    one, many, ja = UNITS[unit]
    return {"en": f"{n:,} {one if n == 1 else many}", "ja": f"{n:,} {ja}" if unit != "seeds" else f"{n:,} 個のシード"}


def of_seeds(behind: Words, seeds: int) -> Words:
    return {"en": f"{behind['en']} of {seeds} seeds", "ja": f"{seeds} 個のシードの {behind['ja']}"}


def join(*sentences: Mapping[str, str] | None) -> Words:
    """Sentences one after the other."""
    said = [s for s in sentences if s and s["en"]]
    return {"en": " ".join(s["en"] for s in said), "ja": "".join(s["ja"] for s in said)}


def measured(
    figure: Words, interval: tuple[Words, Words] | None, behind: Words, bar: Words, side: float, outcome: str
) -> Words:
    """The figure, its interval, what the claim asks for and how they lie to each other."""
    span = {"en": "", "ja": ""}
    if interval is not None:
        low, high = interval
        span = {
            "en": f" (95 % interval {low['en']} to {high['en']})",
            "ja": f"（95 % 区間 {low['ja']}～{high['ja']}）",
        }
    lies = {
        "holds": (", and the whole interval lies there", "、区間全体がこれを満たす"),
        "fails": (", and the whole interval misses it", "、区間全体がこれを外れる"),
        "inconclusive": (", and the interval lies on both sides of that", "、区間はその境界をまたいでいる"),
        "": ("", ""),
    }[outcome]
    asks = ("more than", "より大きい値") if side > 0 else ("less than", "より小さい値")
    return {
        "en": f"{figure['en']}{span['en']} over {behind['en']}; the claim needs {asks[0]} {bar['en']}{lies[0]}.",
        "ja": f"{behind['ja']}で {figure['ja']}{span['ja']}。"
        f"主張が成り立つには {bar['ja']} {asks[1]}が必要{'で' if lies[1] else 'である'}{lies[1]}。",
    }


def no_interval() -> Words:
    return {
        "en": "The ratio has no interval of its own, since its lower part cannot be told from zero.",
        "ja": "分母が 0 と区別できないため、比そのものの区間は求められない。",
    }


def all_tied(behind: Words) -> Words:
    return {
        "en": f"Exactly on the bar on every one of {behind['en']}: there is no advantage at all.",
        "ja": f"{behind['ja']}のすべてで値が境界とちょうど一致し、優位はまったく見られない。",
    }


def few_differ(differing: int, behind: Words, p: float) -> Words:
    return {
        "en": f"Only {differing} of {behind['en']} differ, and so few fall on one side by chance ({chance(p)}).",
        "ja": f"{behind['ja']}のうち差があるのは {differing} だけで、偶然でも片側に偏りうる（{chance(p)}）。",
    }


def still_chance(p: float) -> Words:
    return {
        "en": f"The interval alone would decide, but the exact test leaves room for chance ({chance(p)}).",
        "ja": f"区間だけなら判定できるが、正確検定では偶然の可能性を排除できない（{chance(p)}）。",
    }


def too_few(n: int, unit: str) -> Words:
    if unit == "seeds":
        return {
            "en": "One seed has no spread, so there is no interval; run more seeds.",
            "ja": "シードが 1 個ではばらつきが分からず、区間を求められない。シードを増やして実行すること。",
        }
    behind = count(n, unit)
    return {
        "en": f"{behind['en'].capitalize()} cannot give an interval.",
        "ja": f"{behind['ja']}だけでは区間を求められない。",
    }


def one_seed(seed: int) -> Words:
    return {
        "en": f"Only seed {seed} was run, so this is about its items alone.",
        "ja": f"実行したシードは {seed} だけなので、その項目に限った結論である。",
    }


def seeds_decide(n: int) -> Words:
    return {
        "en": f"The seeds differ by more than their items explain, so the {n} seeds decide.",
        "ja": f"シード間の違いが項目のばらつきでは説明できないほど大きいため、{n} 個のシードを単位に判定した。",
    }


def left_out(missing: int, unpaired: int, reasons: tuple[str, ...]) -> Words | None:
    """What was not judged: values that are missing, and those that the other side lacks."""
    en, ja = [], []
    reason = plain(reasons[0], longest=120) if reasons else ""
    if missing:
        en.append(f"{missing:,} for a missing value" + (f" ({reason})" if reason else ""))
        ja.append(f"値の欠損 {missing:,} 件" + (f"（{reason}）" if reason else ""))
    if unpaired:
        en.append(f"{unpaired:,} measured on one side only")
        ja.append(f"片方にしか値がない {unpaired:,} 件")
    return {"en": f"Left out: {', '.join(en)}.", "ja": f"除外：{'、'.join(ja)}。"} if en else None


def errors(found: tuple[str, ...]) -> Words | None:
    if not found:
        return None
    first = plain(found[0], longest=200)
    n = len(found)
    return {
        "en": f"{n} {'row' if n == 1 else 'rows'} ended in an error: {first}.",
        "ja": f"エラーで終わった行が {n} 件ある（{first}）。",
    }


def no_rows(method: str, metric: str) -> Words:
    return {"en": f"{method} has no rows with {metric}.", "ja": f"{method} には {metric} の行がない。"}


def nothing_shared(names: tuple[str, ...]) -> Words:
    shown = ", ".join(names)
    return {
        "en": f"No unit has a value on all sides ({shown}), so there is nothing to pair.",
        "ja": f"すべて（{shown}）に値がそろった単位がなく、対にできない。",
    }


def one_level(along: str) -> Words:
    return {"en": f"An order needs two values of {along}.", "ja": f"順序を見るには {along} の値が 2 つ以上必要である。"}


def not_finite(method: str, n: int) -> Words:
    return {
        "en": f"{method} gave {n:,} {'value' if n == 1 else 'values'} that {'is' if n == 1 else 'are'} not finite.",
        "ja": f"{method} の値のうち {n:,} 件が有限でない（NaN または無限大）。",
    }


def mostly_missing(missing: int, of: int) -> Words:
    return {
        "en": f"{missing:,} of {of:,} values are missing; what is left cannot speak for them.",
        "ja": f"{of:,} 件のうち {missing:,} 件が欠けており、残りだけでは判断できない。",
    }


def blind(controls: Sequence[str]) -> Words:
    shown = ", ".join(controls)
    return {
        "en": f"The control {shown} would have held as well, so the measure says nothing.",
        "ja": f"対照の {shown} でも同じ条件が成り立ってしまうため、この測り方では何も言えない。",
    }


def control_missing(controls: Sequence[str]) -> Words:
    shown = ", ".join(controls)
    return {
        "en": f"The control {shown} was not measured, so nobody knows whether the measure is blind.",
        "ja": f"対照の {shown} が測られておらず、この測り方が有効かどうか分からない。",
    }


def after_holm(p: float, p_holm: float, claims: int) -> Words:
    return {
        "en": f"By itself it would be decided ({chance(p)}), but not among the {claims} claims of this run "
        f"({chance(p_holm)} after Holm).",
        "ja": f"単独なら判定できる（{chance(p)}）が、この実行の {claims} 件の主張を合わせて Holm 法で補正すると"
        f"判定できない（{chance(p_holm)}）。",
    }


OPEN = {
    "fails": ("fail", "不成立"),
    "inconclusive": ("inconclusive", "判定不能"),
    "blind": ("blind", "対照も成立"),
    "out of reach here": ("out of reach here", "ここでは検証不能"),
}


def composed(outcomes: Mapping[str, int], needed: int, parts: int) -> Words:
    """How the parts came out, and how many had to hold."""
    held = outcomes.get("holds", 0)
    rest = [(n, *OPEN[outcome]) for outcome, n in outcomes.items() if outcome != "holds" and n]
    en = "".join(f", {n} {word}" for n, word, _ in rest)
    ja = "".join(f"、{word} {n}" for n, _, word in rest)
    return {
        "en": f"{held} of {parts} parts hold{en}; {needed} must.",
        "ja": f"{parts} つの部分のうち {held} つが成立{ja}（必要なのは {needed} つ）。",
    }


def which_parts(labels: Sequence[Words], outcomes: Sequence[str]) -> Words | None:
    """The name of each part with its outcome, where they differ and are few."""
    if len(set(outcomes)) < 2 or len(outcomes) > 6:
        return None
    en = [f"{label['en']}: {o}" for label, o in zip(labels, outcomes, strict=True)]
    ja = [f"{label['ja']}：{'成立' if o == 'holds' else OPEN[o][1]}" for label, o in zip(labels, outcomes, strict=True)]
    return {"en": f"({'; '.join(en)})", "ja": f"（{'、'.join(ja)}）"}


def parts_together() -> Words:
    return {
        "en": "Taken together, the parts do not decide it.",
        "ja": "部分をまとめて見ると、判定には足りない。",
    }


def within_part(label: Words, sentence: Mapping[str, str]) -> Words:
    """A sentence, or the name of a figure, with the part it belongs to before it."""
    if not sentence:
        return {}
    return {"en": f"{label['en']}: {sentence['en']}", "ja": f"{label['ja']}：{sentence['ja']}"}


def nth_part(place: int) -> Words:
    return {"en": f"Part {place}", "ja": f"{place} つ目"}


def against(baseline: str) -> Words:
    return {"en": f"Against {baseline}", "ja": f"{baseline} との比較"}


def missed_half(n: Words, noun: str, value: Words) -> Words:
    en, ja = NOUNS[noun]
    return {
        "en": f"With {n['en']}, a true {en} of {value['en']} would be missed half the time.",
        "ja": f"{n['ja']}では、真の{ja}が {value['ja']} のとき、半分の確率で見逃す。",
    }


def would_settle(noun: str, figure: Words, n: int, unit: str) -> Words:
    en, ja = NOUNS[noun]
    units = count(n, unit)
    return {
        "en": f"If the true {en} is the {figure['en']} seen here, "
        f"{units['en']} would settle it four times out of five.",
        "ja": f"真の{ja}がここで見えた {figure['ja']} なら、"
        f"{units['ja']}{'が' if unit == 'seeds' else ''}あれば 5 回に 4 回は決着する。",
    }


def never_settles(noun: str) -> Words:
    en, ja = NOUNS[noun]
    return {
        "en": f"The {en} seen lies so close to the bar that a million would not settle it.",
        "ja": f"見えた{ja}は境界に近すぎて、100 万あっても決着しない。",
    }
