"""Texts: the user's own file or folder, or a corpus that is always there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tameshi.specimens import corpora

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

        A text file is split at blank lines that are doubled or more, or taken whole; of JSON Lines the field "text" is read.

        Raises:
            ValueError: not there, empty, not UTF-8, no "text" field; names the file.
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
        if path.suffix in {".jsonl", ".ndjson"}:
            return cls.of(
                str(path),
                [_field(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()],
            )
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


def _field(file: Path, number: int, line: str) -> str:
    try:
        read = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}, line {number}, is not JSON: {error}") from error
    if not isinstance(read, dict) or not isinstance(read.get("text"), str):
        raise ValueError(f'{file}, line {number}, has no field "text"')
    return str(read["text"])
