"""Door: files are written beside their place, flushed to disk, and renamed. They appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil


def home() -> Path:
    """The folder of runs: TAMESHI_HOME, or the user's data folder of this system."""
    given = os.environ.get("TAMESHI_HOME")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("tameshi", appauthor=False))


def caches() -> Path:
    """The folder of what can be made again: TAMESHI_HOME/cache, or the user's cache folder of this system."""
    if os.environ.get("TAMESHI_HOME"):
        return home() / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("tameshi", appauthor=False))


class NotWritten(OSError):
    """A file could not be written; what stood in its place is untouched."""


def write(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a whole file; text as UTF-8. Folders on the way are made.

    Raises:
        NotWritten: naming the path, the bytes and the reason.
    """
    content = content.encode() if isinstance(content, str) else content
    with writing(path) as beside:
        try:
            beside.write_bytes(content)
        except OSError as error:
            raise NotWritten(f"could not write {len(content):,} bytes to {path}: {error.strerror}") from error
    return Path(path)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """Give a path beside `path` to write to; when the block ends well, flush and rename it into place.

    With `folder`, a fresh folder is given, and it may only take the place of nothing or of an empty folder: a folder that
    holds something is never replaced. If the block raises, everything written is removed.

    Raises:
        NotWritten: the place cannot be written to, or is taken.
    """
    place = Path(path)
    if folder and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise NotWritten(f"{place} already holds something; name a new folder, or remove it first")
    if not folder and place.is_dir():
        raise NotWritten(f"{place} is a folder; name a file in it")
    beside = place.with_name(f".{place.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place)
        if folder:
            beside.mkdir()
    except OSError as error:
        raise NotWritten(f"could not write to {place.parent}: {error.strerror}") from error
    try:
        yield beside
        _flush(beside)
        if folder and place.exists():
            place.rmdir()  # empty, or this raises
        beside.replace(place)
        _flush_entry(place.parent)
    except NotWritten:
        _remove(beside)
        raise
    except OSError as error:
        size = _bytes(beside)
        _remove(beside)
        raise NotWritten(f"could not write {place} ({size:,} bytes so far): {error.strerror or error}") from error
    except BaseException:
        _remove(beside)
        raise


def _bytes(path: Path) -> int:
    parts = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in parts)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_abandoned(place: Path) -> None:
    """Remove what killed processes left of earlier attempts at the same place."""
    for left in place.parent.glob(f".{place.name}.*.partial"):
        writer = left.name.removesuffix(".partial").rsplit(".", 1)[-1].split("-")[0]
        if writer.isdigit() and not psutil.pid_exists(int(writer)):
            _remove(left)


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _flush_entry(folder: Path) -> None:
    """Flush the folder's own entry where the system allows it, so that the rename survives a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
