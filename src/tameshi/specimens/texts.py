"""Texts: the user's own file or folder, or a corpus that is always there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tameshi.specimens import corpora

FIELDS = ("text", "output", "response", "conversation")  # in this order
LONGEST = 200_000_000  # bytes of one text file; more is a data set and wants a loader of its own


@dataclass(frozen=True)
class Texts(Sequence[str]):
    """Texts in a stated order.

    Args:
        name: for people.
        fingerprint: sha256 of all texts.
        texts: one a document.
    """

    name: str
    fingerprint: str
    texts: tuple[str, ...]

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Open "specimen:prose" or "specimen:code" (also "specimen:prose/test"), a text file, JSON Lines, or a folder of .txt files.

        A text file is split at blank lines that are doubled or more, or taken whole. Of JSON Lines (.jsonl, .ndjson, or .json, where
        a list will do as well) the field "text" is read, or the first of output, response and conversation, by which the public
        files of answers call it.

        Raises:
            ValueError: not there, empty, not UTF-8, no such field; names the file.
        """
        if address.startswith("specimen:"):
            return cls.of(address.removeprefix("specimen:"), corpora.texts(address.removeprefix("specimen:")))
        path = Path(address).expanduser()
        if path.is_dir():
            files = sorted(path.glob("*.txt"))
            if not files:
                raise ValueError(f"the folder {path} holds no .txt file")
            return cls.of(str(path), [_read(file) for file in files])
        text = _read(path)
        if path.suffix in {".json", ".jsonl", ".ndjson"}:
            return cls.of(str(path), [_field(path, number, record) for number, record in _records(path, text)])
        return cls.of(str(path), [part for part in text.split("\n\n\n") if part.strip()])

    @classmethod
    def of(cls, name: str, texts: Sequence[str]) -> Self:
        """Texts that are in memory already."""
        kept = tuple(texts)
        if not any(text.strip() for text in kept):
            raise ValueError(f"{name} holds no text")
        digest = hashlib.sha256()
        for text in kept:
            digest.update(len(text).to_bytes(8) + text.encode(errors="surrogatepass"))
        return cls(name, digest.hexdigest(), kept)

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:  # type: ignore[override]  # a slice gives a tuple
        return self.texts[index]

    def __len__(self) -> int:
        return len(self.texts)


def _read(file: Path) -> str:
    if not file.is_file():
        raise ValueError(f"the text file {file} does not exist")
    if file.stat().st_size > LONGEST:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; a text file may have {LONGEST:,}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error


def _records(file: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The records of a JSON list, or of JSON Lines, with their numbers from 1."""
    if file.suffix == ".json" and text.lstrip().startswith("["):
        yield from enumerate(_json(file, 1, text), 1)
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _json(file, number, line)


def _json(file: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file}, line {number}, is not JSON: {error}") from error


def _field(file: Path, number: int, record: Any) -> str:
    found = [record[name] for name in FIELDS if isinstance(record, dict) and isinstance(record.get(name), str)]
    if not found:
        raise ValueError(f'{file}, line {number}, has no field "text" (or {", ".join(FIELDS[1:])})')
    return str(found[0])
