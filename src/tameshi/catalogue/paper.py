"""One paper of the catalogue: `papers/SLUG.toml`, validated, with file and field named where something is wrong."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

FOLDER = Path(__file__).parent / "papers"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Language = Literal["en", "ja"]
Wing = Literal[
    "kv", "merging", "sparsity", "decoding", "alignment", "finetuning", "data", "evaluation",
    "retrieval", "translation", "multimodal", "graphs", "tabular", "control", "diffusion", "theory",
]  # fmt: skip


class CatalogueError(ValueError):
    """A catalogue file that is not as it should be; the sentence names the file and the field."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bilingual(_Strict):
    """The same words in English and Japanese."""

    en: Text
    ja: Text

    def __getitem__(self, language: str) -> str:
        return self.ja if language == "ja" else self.en


class Claim(_Strict):
    """One headline statement of a paper, in our words.

    Args:
        id: as the rules of the check name it.
        direction: in which direction the paper says the metric goes; "none" for a statement of shape or existence.
        statement: what is claimed.
        metric: what it is measured with.
        figure: the paper's own figure.
        conditions: under which the paper has it.
        source: where in the paper it stands.
    """

    id: Text
    direction: Literal["higher", "lower", "none"]
    statement: Bilingual
    metric: Bilingual
    figure: Bilingual
    conditions: Bilingual
    source: Bilingual


class Code(_Strict):
    """A public repository: the authors' own, or another's."""

    url: Annotated[str, StringConstraints(pattern=r"^https://[^\s]+$")]
    licence: Text
    official: bool


class Use(_Strict):
    """How the working part is used in code: one import line that runs."""

    code: Text


class Paper(_Strict):
    """Everything the catalogue knows of one paper. Field order is that of the files."""

    arxiv: Annotated[str, StringConstraints(pattern=r"^\d{4}\.\d{4,5}$")]
    title: Text
    title_ja: Text
    authors: Annotated[tuple[Text, ...], Field(min_length=1)]
    date: date
    date_precision: Literal["day", "month"]
    categories: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[a-z-]+(\.[A-Za-z-]+)?$")], ...], Field(min_length=1)
    ]
    venue: Text | None = None
    wing: Wing
    code: tuple[Code, ...] = ()
    use: Use | None = None
    summary: Bilingual
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]
    slug: Text

    @model_validator(mode="after")
    def _claims_are_told_apart(self) -> Paper:
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError(f"claim {next(i for i in ids if ids.count(i) > 1)} stands twice")
        return self

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def day(self) -> str:
        """The date of the first version, as precisely as it is known."""
        return self.date.isoformat() if self.date_precision == "day" else self.date.strftime("%Y-%m")

    def heading(self, language: str) -> str:
        """The title in a language: the paper's own, or our Japanese one."""
        return self.title_ja if language == "ja" else self.title

    def claim(self, claim_id: str) -> Claim | None:
        return next((claim for claim in self.claims if claim.id == claim_id), None)


def load(file: Path) -> Paper:
    """Read one file of the catalogue.

    Raises:
        CatalogueError: not TOML, or a field is missing, unknown or wrong; names file and field.
    """
    try:
        facts = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{file.name} is not TOML: {error}") from error
    try:
        return Paper.model_validate({**facts, "slug": file.stem})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file as a whole"
        raise CatalogueError(f"{file.name}: {field}: {first['msg']}") from error


def _files() -> dict[str, Path]:
    """slug -> file, ours and those of the folder that TAMESHI_SHELF names."""
    own = os.environ.get("TAMESHI_SHELF")
    folders = [FOLDER, *([Path(own).expanduser() / "papers"] if own else [])]
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.toml"))}


@cache
def papers() -> Mapping[str, Paper]:
    """Every paper on the shelf, by slug, in alphabetical order."""
    return {slug: load(file) for slug, file in sorted(_files().items())}


def paper(slug: str) -> Paper:
    """One paper, without reading the others.

    Raises:
        ValueError: there is none of that name.
    """
    files = _files()
    if slug not in files:
        raise ValueError(f"there is no paper {slug!r} on the shelf")
    return load(files[slug])


def found(
    shelf: Iterable[Paper], *, wing: str | None = None, category: str | None = None, text: str | None = None
) -> list[Paper]:
    """The papers of a wing, of a category, that hold a text (in any language, whatever the case)."""
    wanted = (text or "").casefold()
    return [
        p
        for p in shelf
        if (wing is None or p.wing == wing)
        and (category is None or category in p.categories)
        and wanted in _words(p).casefold()
    ]


def _words(p: Paper) -> str:
    told = (part for c in p.claims for part in (c.statement.en, c.statement.ja))
    return "\n".join([p.slug, p.arxiv, p.title, p.title_ja, *p.authors, p.summary.en, p.summary.ja, *told])
