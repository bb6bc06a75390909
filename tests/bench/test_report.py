from __future__ import annotations

from html.parser import HTMLParser

import pytest

from tameshi.bench import run_check
from tameshi.bench.report import render
from tameshi.bench.result import Result
from tameshi.bench.store import Store
from tameshi.nouns import Items, Row

BASE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "</svg><script>alert(1)</script>",
    "<iframe src=javascript:alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "javascript:alert(1)",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "<!--",
    "-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "]]>",
    "<?xml version='1.0'?>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<object data=data:text/html,x>",
    "<embed src=x>",
    "<form action=https://example.invalid><input name=x>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid'>",
    "<base href=https://example.invalid/>",
    "<link rel=stylesheet href=https://example.invalid/x.css>",
    "<style>@import url(https://example.invalid)</style>",
    "<div style='background:url(https://example.invalid)'>",
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "{# comment #}",
    "${7*7}",
    "#{7*7}",
    "%(name)s",
    "{0.__class__}",
    "$\\frac{1}{2}$",
    "$unclosed",
    "\\N{BULLET}",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://example.invalid\x07link\x1b]8;;\x07",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\x07\x08\x0c",
    "line\nbreak\r\n",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "\u200b\u200d\ufeff",
    "\u2028\u2029",
    "\ud800",
    "\udcff broken",
    "\ufffe\uffff",
    "\x00nul",
    "[bold red]rich[/bold red]",
    "[link=https://example.invalid]x[/link]",
    "試し' OR 1=1 --",
    "x" * 1_000_000,
]  # fmt: skip
ALLOWED = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "https://arxiv.org/abs/2001.00001"}


class Active(HTMLParser):
    """Collects everything in a page that could run, load or lead somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {
            "script",
            "iframe",
            "object",
            "embed",
            "form",
            "base",
            "link",
            "img",
            "image",
            "foreignobject",
            "input",
        }:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                self.found.append(f"{tag} {name}")
            leads = name in {"href", "src", "xlink:href", "action", "data", "xmlns", "xmlns:xlink"} and value
            if leads and value not in ALLOWED and not str(value).startswith("#"):
                self.found.append(f"{tag} {name}={value}")
            if name == "http-equiv" and value != "Content-Security-Policy":
                self.found.append(f"meta {value}")
            if name == "style" and value and "url(" in value and "url(#" not in value:
                self.found.append(f"{tag} {value}")


def active(page: str) -> list[str]:
    parser = Active()
    parser.feed(page)
    return parser.found


def hostile_run(text: str) -> Result:
    """A stored run in which every name that can come from outside is hostile."""
    facts = {
        "command": ["tameshi", "check", text],
        "options": {text: text},
        "subjects": {text: {"name": text, "sha256": text}},
        "versions": {text: text},
        "machine": {"system": text, "gpu": text},
        "seeds": [0],
    }
    with Store() as store:
        run = store.begin("toy", "id", _encodable(facts))
        for method in ("one", "baseline", "nothing", text):
            for seed in (0, 1):
                store.commit(run.id, _row(method, text, seed))
        store.commit(run.id, Row("adding", _safe(text), {"scale": 9}, 0, error=_safe(text)))
        store.finish(run.id, run_check("toy").run.verdicts)
        return Result.of(store, run.id)


def _safe(text: str) -> str:
    """SQLite and JSON hold no lone surrogates: what a file system hands over reaches the store escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encodable(value):
    if isinstance(value, dict):
        return {_safe(k): _encodable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_encodable(v) for v in value]
    return _safe(value) if isinstance(value, str) else value


def _row(method: str, text: str, seed: int) -> Row:
    values = {"value": Items([1.0 + seed, 2.0, 3.0]), _safe(text)[:200]: 1.0}
    return Row("adding", _safe(method), {"scale": 1, _safe(text)[:200]: _safe(text)}, seed, values=values)


@pytest.mark.parametrize("text", BASE, ids=[ascii(t[:24]) for t in BASE])
def test_hostile_text_anywhere_is_shown_as_text(text):
    page = render(hostile_run(text))
    assert active(page) == []
    assert "\x1b" not in page
    assert not any(character in page for character in "\u202e\u2066\u200b\x07\x00\x9b")
    assert ("{{ 7 * 7 }}" in page) == (text == "{{ 7 * 7 }}")
    assert len(page) < 5_000_000


def test_the_report_says_everything_that_was_found():
    result = run_check("toy")
    page = render(result)
    for said in (
        "A Toy Paper for the Tests",
        "Adding one makes numbers larger.",
        "holds",
        "fails",
        "Values by method",
        result.run.id,
        "Environment",
    ):
        assert said in page
    assert active(page) == []
    assert page.count("<svg") >= 3


def test_the_report_in_japanese_is_japanese():
    page = render(run_check("toy"), lang="ja")
    for said in ('lang="ja"', "テスト用のおもちゃの論文", "不成立", "手法ごとの値", "判定が変わる条件", "再実行の方法"):
        assert said in page


def test_a_plot_that_cannot_be_drawn_is_said_in_its_place(monkeypatch):
    from dataclasses import replace

    from tameshi.bench import report

    broken = report.stand("toy")

    def fails(rows):
        raise KeyError("nothing to draw")

    figures = tuple(replace(f, function=fails) for f in broken.figures)
    monkeypatch.setattr(report, "stand", lambda slug: replace(broken, figures=figures))
    assert "could not be drawn: KeyError" in render(run_check("toy"))


def test_a_stopped_run_says_that_nothing_is_judged_yet():
    with Store() as store:
        run = store.begin("toy", "id", {"command": ["tameshi"]})
        store.commit(run.id, _row("one", "x", 0))
        store.finish(run.id, {}, status="stopped")
        page = render(Result.of(store, run.id))
    assert "This run was stopped before its end" in page
    assert "not judged" in page


def test_a_strip_shows_the_rows_of_its_own_conditions_and_no_others():
    from tameshi.bench.report.plots import _levels
    from tameshi.nouns import Beats, Rows

    rows = Rows(
        Row("c", method, {"noise": noise}, 0, values={"v": noise}) for method in ("a", "b") for noise in (0.1, 0.5)
    )
    rule = Beats("C1", "a", "b", metric="v", better="higher", where={"noise": 0.5})
    ((name, shown),) = _levels(rule, rows)
    assert name == "noise=0.5"
    assert shown.numbers("v") == [0.5, 0.5]
    each = Beats("C1", "a", "b", metric="v", better="higher", each=("noise",))
    assert [(name, part.numbers("v")) for name, part in _levels(each, rows)] == [
        ("noise=0.1", [0.1, 0.1]),
        ("noise=0.5", [0.5, 0.5]),
    ]
