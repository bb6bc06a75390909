from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tameshi.catalogue import CatalogueError, load, papers
from tameshi.catalogue.paper import FOLDER, found

OURS = [p for p in papers().values() if (FOLDER / f"{p.slug}.toml").exists()]
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")


def words(paper):
    told = [paper.summary]
    for claim in paper.claims:
        told += [claim.statement, claim.metric, claim.figure, claim.conditions, claim.source]
    return told


def test_fifty_papers_and_more_than_two_hundred_claims():
    assert len(OURS) == 50
    assert sum(len(p.claims) for p in OURS) > 200


@pytest.mark.parametrize("paper", OURS, ids=lambda p: p.slug)
def test_everything_a_reader_sees_stands_in_both_languages(paper):
    assert JAPANESE.search(paper.title_ja)
    for told in words(paper):
        assert JAPANESE.search(told.ja) or re.fullmatch(r"[\W\d.A-Za-z@%/+-]+", told.ja), told.ja
        assert not JAPANESE.search(told.en), told.en


@pytest.mark.parametrize("paper", OURS, ids=lambda p: p.slug)
def test_a_summary_has_three_to_five_sentences_in_both_languages(paper):
    assert 3 <= len(re.findall(r"[.!?](?=\s|$)", paper.summary.en)) <= 5
    assert 3 <= paper.summary.ja.count("。") <= 5


@pytest.mark.parametrize("paper", OURS, ids=lambda p: p.slug)
def test_the_figure_says_the_same_numbers_in_both_languages(paper):
    for claim in paper.claims:
        numbers = [set(re.findall(r"\d+\.\d+", text)) for text in (claim.figure.en, claim.figure.ja)]
        assert numbers[0] == numbers[1], claim.id


def test_no_arxiv_id_stands_twice():
    ids = [p.arxiv for p in papers().values()]
    assert len(set(ids)) == len(ids)


def broken(tmp_path: Path, old: str, new: str) -> Path:
    text = (FOLDER / "q-filters.toml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "q-filters.toml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('arxiv = "2503.02812"', 'arxiv = "abs/2503.02812"', r"q-filters\.toml: arxiv: "),
        ('wing = "kv"', 'wing = "wings"', r"q-filters\.toml: wing: "),
        ('statement.en = "', 'statement.de = "', r"q-filters\.toml: claims\.0\.statement\.en: Field required"),
        ('id = "C2"', 'id = "C1"', r"claim C1 stands twice"),
        ('direction = "higher"', 'direction = "up"', r"claims\.0\.direction: "),
        ("[summary]", "[summary", r"q-filters\.toml is not TOML"),
        ("date = 2025-03-04", 'date = "spring"', r"q-filters\.toml: date: "),
    ],
)
def test_an_error_names_file_and_field(tmp_path, old, new, said):
    with pytest.raises(CatalogueError, match=said):
        load(broken(tmp_path, old, new))


def test_search_finds_either_language_whatever_the_case():
    assert [p.slug for p in found(OURS, text="q-FILTERS")] == ["q-filters"]
    assert "q-filters" in [p.slug for p in found(OURS, text="キャッシュ")]
    assert {p.wing for p in found(OURS, wing="kv")} == {"kv"}
    assert all("cs.CL" in p.categories for p in found(OURS, category="cs.CL"))
    assert found(OURS, text="no such words at all") == []


@pytest.mark.parametrize("paper", [p for p in OURS if p.use], ids=lambda p: p.slug)
def test_the_import_line_of_a_paper_runs(paper):
    code = "\n".join(line for line in paper.use.code.splitlines() if line.startswith(("from ", "import ")))
    assert code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
