"""`tameshi papers` and `tameshi show`: what stands on the shelf, in English or Japanese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tameshi.bench.shelf import built, resolve
from tameshi.cli.screen import as_json, out

if TYPE_CHECKING:
    from tameshi.catalogue import Paper

LANGUAGES = ("en", "ja")
Lang = Annotated[str, typer.Option("--lang", help="en or ja", metavar="en|ja")]

WORDS = {
    "en": {
        "papers": "papers", "slug": "paper", "wing": "wing", "title": "title", "check": "check", "built": "yes", "not built": "not built yet",
        "arxiv": "arXiv", "authors": "authors", "date": "first version", "categories": "categories", "venue": "published", "code": "code",
        "official": "official", "other": "by others", "none": "none found", "licence": "licence", "none stated": "none stated", "claims": "Claims", "claim": "claim",
        "paper's figure": "paper's figure", "verdict": "last verdict here", "never": "not checked yet", "metric": "metric",
        "no check": "The check of this paper is not built yet.", "how": "How to use it", "read": "check", "apply": "apply", "import": "import",
        "nothing": "no paper fits",
        "holds": "holds", "fails": "fails", "inconclusive": "inconclusive", "blind": "blind", "out of reach here": "out of reach here",
    },
    "ja": {
        "papers": "本の論文", "slug": "論文", "wing": "分野", "title": "題名", "check": "検証", "built": "あり", "not built": "未実装",
        "arxiv": "arXiv", "authors": "著者", "date": "初版", "categories": "カテゴリ", "venue": "発表", "code": "コード",
        "official": "公式", "other": "第三者", "none": "見つからず", "licence": "ライセンス", "none stated": "記載なし", "claims": "主張", "claim": "主張",
        "paper's figure": "論文の値", "verdict": "ここでの直近の判定", "never": "未検証", "metric": "指標",
        "no check": "この論文の検証はまだ実装されていない。", "how": "使い方", "read": "検証", "apply": "適用", "import": "インポート",
        "nothing": "該当する論文はない",
        "holds": "成立", "fails": "不成立", "inconclusive": "判定できず", "blind": "測れていない", "out of reach here": "ここでは検証不可",
    },
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Hang the two commands onto the command line."""
    app.command()(papers)
    app.command()(show)


def papers(
    wing: Annotated[str | None, typer.Option(help="only this wing: kv, merging, evaluation, ...")] = None,
    category: Annotated[str | None, typer.Option(help="only this arXiv category: cs.CL, ...")] = None,
    search: Annotated[str | None, typer.Option(help="only papers that hold this text, in either language")] = None,
    lang: Lang = "en",
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List the papers on the shelf."""
    from rich.table import Table
    from rich.text import Text

    from tameshi.catalogue.paper import found
    from tameshi.catalogue.paper import papers as catalogue

    language(lang)
    shelf = catalogue()
    wings = sorted({p.wing for p in shelf.values()})
    if wing is not None and wing not in wings:
        raise ValueError(f"there is no wing {wing!r}; there are {', '.join(wings)}")
    chosen = sorted(found(shelf.values(), wing=wing, category=category, text=search), key=lambda p: (p.wing, p.slug))
    checked = set(built())
    if json:
        as_json([paper_json(p, checked) for p in chosen])
        return
    words = WORDS[lang]
    if not chosen:
        out().print(words["nothing"])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(words["wing"], style="dim", no_wrap=True)
    table.add_column(words["slug"], no_wrap=True)
    table.add_column(words["title"], overflow="fold")
    table.add_column("arXiv", no_wrap=True)
    table.add_column(words["check"], no_wrap=True)
    for p in chosen:
        state = words["built"] if p.slug in checked else words["not built"]
        style = "green" if p.slug in checked else "dim"
        table.add_row(p.wing, p.slug, Text(p.heading(lang)), p.arxiv, Text(state, style=style))
    console = out()
    console.print(table)
    number = len(chosen)
    console.print(f"\n{number} {words['papers']}" if lang == "en" else f"\n{number}{words['papers']}")


def show(
    slug: Annotated[str, typer.Argument(help="a paper's slug, arXiv id or arXiv address")],
    lang: Lang = "en",
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show one paper: facts, summary, claims with the last verdict, and how to check, apply and import it."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from tameshi.catalogue import papers as catalogue

    language(lang)
    p = catalogue()[resolve(slug)]
    last = last_verdicts(p.slug)
    is_built = p.slug in built()
    if json:
        as_json({**paper_json(p, set(built())), "last_run": last[0], "verdicts": last[1]})
        return
    words, console = WORDS[lang], out()
    console.print(Text(p.heading(lang), style="bold"))
    if lang == "ja":
        console.print(Text(p.title, style="dim"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row(words["arxiv"], f"{p.arxiv}  {p.url}")
    facts.add_row(words["authors"], Text(", ".join(p.authors)))
    facts.add_row(words["date"], p.day)
    facts.add_row(words["categories"], ", ".join(p.categories))
    if p.venue:
        facts.add_row(words["venue"], Text(p.venue))
    facts.add_row(words["wing"], p.wing)
    for code in p.code:
        whose = words["official"] if code.official else words["other"]
        licence = words["none stated"] if code.licence == "none stated" else code.licence
        facts.add_row(words["code"], Text(f"{code.url}  ({whose}, {words['licence']}: {licence})"))
    if not p.code:
        facts.add_row(words["code"], words["none"])
    console.print(facts)
    console.print(Padding(Text(p.summary[lang]), (1, 0)))
    table = Table(title=words["claims"], title_justify="left", title_style="bold")
    for name in ("claim", "metric", "paper's figure", "verdict"):
        table.add_column(words[name], overflow="fold")
    for claim in p.claims:
        verdict = last[1].get(claim.id)
        state = words[verdict["outcome"]] if verdict else words["never"] if is_built else words["not built"]
        table.add_row(
            Text(f"{claim.id}  {claim.statement[lang]}"),
            *(Text(t) for t in (claim.metric[lang], claim.figure[lang], state)),
        )
    console.print(table)
    console.print(Text(words["how"], style="bold"))
    console.print(how(p, lang))


def how(p: Paper, lang: str) -> Any:
    """How to check, apply and import a paper, as lines of a table."""
    from rich.table import Table
    from rich.text import Text

    from tameshi.bench.applications import names

    words = WORDS[lang]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if p.slug not in built():
        table.add_row(words["read"], words["no check"])
        return table
    table.add_row(words["read"], f"tameshi check {p.slug}    tameshi check {p.slug} --help")
    for line in names(p.slug):
        table.add_row(words["apply"], f"tameshi apply {line} --help")
    if p.use:
        table.add_row(words["import"], Text(p.use.code))
    return table


def language(lang: str) -> None:
    """Refuse a language that we do not speak."""
    if lang not in LANGUAGES:
        raise ValueError(f"--lang takes en or ja, got {lang!r}")


def last_verdicts(slug: str) -> tuple[str | None, Mapping[str, Any]]:
    """The newest finished run of a paper in the user's store, and its verdicts."""
    from tameshi.bench.store import Store
    from tameshi.doors.files import home

    if not (home() / "runs.sqlite").exists():
        return None, {}
    with Store(make=False) as store:
        for run in store.runs(slug):
            if run.status == "finished":
                return run.id, run.verdicts
    return None, {}


def paper_json(p: Paper, checked: set[str]) -> dict[str, Any]:
    """A paper as JSON, with whether its check is built."""
    return {
        "slug": p.slug,
        "check_built": p.slug in checked,
        **p.model_dump(mode="json", exclude={"slug"}, exclude_none=True),
    }
