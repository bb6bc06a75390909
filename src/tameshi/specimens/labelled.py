"""Labelled examples for classification: the digits that ship with scikit-learn, or the user's own table."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tameshi.specimens.image_files import images

Floats = npt.NDArray[np.float64]
LARGEST = 2_000_000_000  # bytes of one file


@dataclass(frozen=True)
class Examples:
    """Inputs (n, d), labels (n,), and whose each row is (n,), if somebody's."""

    inputs: Floats
    labels: npt.NDArray[Any]
    owners: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Labelled:
    """A table of examples.

    Args:
        name: for people.
        fingerprint: sha256 of the content.
        columns: name -> values; the inputs of the digits are one column "pixels" of shape (n, 64).
        pairs: of classes that are told apart unless somebody says otherwise.
    """

    name: str
    fingerprint: str
    columns: dict[str, npt.NDArray[Any]]
    pairs: tuple[str, ...] = ()

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Open "specimen:digits", a CSV or Parquet table, a `.npz` with X (n, d) and y (n,), or a folder of MNIST or CIFAR-10.

        Raises:
            ValueError: not there, or not such a file.
        """
        if address.startswith("specimen:"):
            if address != "specimen:digits":
                raise ValueError(f"there is no {address}; there is specimen:digits")
            from sklearn.datasets import load_digits

            digits = load_digits()
            return cls._of(address, {"pixels": digits.data / 16, "label": digits.target}, ("3-8", "1-7"))
        path = Path(address).expanduser()
        if path.is_dir():
            pixels, labels = images(path)
            return cls._of(str(path), {"pixels": (pixels / 255).astype(np.float32), "label": labels})
        if not path.is_file():
            raise ValueError(
                f"the table {path} does not exist; pass a CSV, Parquet or .npz file, a folder of MNIST or CIFAR-10, or specimen:digits"
            )
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes; {LARGEST:,} are read at most")
        if path.suffix == ".npz":
            return cls._of(str(path), _npz(path))
        import pandas as pd

        try:
            frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        except (ValueError, OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
            raise ValueError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
        return cls._of(str(path), {str(name): frame[name].to_numpy() for name in frame.columns})

    @classmethod
    def _of(cls, name: str, columns: dict[str, npt.NDArray[Any]], pairs: tuple[str, ...] = ()) -> Self:
        digest = hashlib.sha256()
        for column, values in columns.items():
            content = values.tobytes() if values.dtype != object else "\0".join(map(str, values)).encode()
            digest.update(f"{column} {values.dtype} {values.shape} ".encode() + content)
        return cls(name, digest.hexdigest(), columns, pairs)

    def examples(self, target: str = "label", agents: str | None = None) -> Examples:
        """Inputs, labels and owners; every column that is neither target nor agents is an input.

        Raises:
            ValueError: a column that is not there, or inputs that are not finite numbers; names the column.
        """
        labels = self.column(target)
        whose = None if agents is None else self.column(agents, "--agents")
        inputs = []
        for name, values in self.columns.items():
            if name in (target, agents):
                continue
            if values.dtype.kind not in "fiub":
                raise ValueError(f"column {name!r} of {self.name} holds no numbers; leave it out, or encode it")
            if not np.isfinite(values.astype(np.float64)).all():
                raise ValueError(f"column {name!r} of {self.name} holds missing or infinite values")
            inputs.append(values.astype(np.float64).reshape(len(values), -1))
        if not inputs:
            raise ValueError(f"{self.name} has no column beside {target!r} to learn from")
        owners = None if whose is None else np.unique(whose, return_inverse=True)[1].astype(np.int64)
        return Examples(np.hstack(inputs), labels, owners)

    def pair(self, words: str, target: str = "label", agents: str | None = None) -> Examples:
        """Only the examples of two classes, written "3-8"; inputs have their mean taken off.

        Raises:
            ValueError: not two classes, or a class without examples.
        """
        named, examples = self.classes(words, target), self.examples(target, agents)
        as_words = examples.labels.astype(str)
        kept = np.isin(as_words, named)
        inputs = examples.inputs[kept]
        owners = None
        if examples.owners is not None:
            owners = np.unique(examples.owners[kept], return_inverse=True)[1].astype(np.int64)
        return Examples(inputs - inputs.mean(axis=0), as_words[kept], owners)

    def classes(self, words: str, target: str = "label") -> tuple[str, str]:
        """The two classes of a pair that is written "3-8".

        Raises:
            ValueError: not two classes, or a class without examples.
        """
        named = re.fullmatch(r"(.+?)-(.+)", words)
        if not named or named[1] == named[2]:
            raise ValueError(f"a pair of classes is written like 3-8, got {words!r}")
        as_words = self.column(target).astype(str)
        for word in (named[1], named[2]):
            if not (as_words == word).any():
                raise ValueError(f"{self.name} has no example of class {word!r}")
        return named[1], named[2]

    def column(self, name: str, option: str = "--target") -> npt.NDArray[Any]:
        """The values (n,) of a column; ValueError with the option that names another where there is none."""
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise ValueError(f"{self.name} has no column {name!r} (it has {known}); name one with {option}")
        return self.columns[name]

    def usual_pairs(self, target: str = "label") -> tuple[str, ...]:
        """The pairs to tell apart: those of the specimen, or the two classes that there are.

        Raises:
            ValueError: more or fewer than two classes, and nobody has said which.
        """
        labels = self.column(target)
        if self.pairs:
            return self.pairs
        classes = np.unique(labels.astype(str)).tolist()
        if len(classes) != 2:
            raise ValueError(
                f"{self.name} has {len(classes)} classes in {target!r}; name two with --pairs, like {'-'.join(classes[:2])}"
            )
        return ("-".join(classes),)


def _npz(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays = {name: np.asarray(opened[name]) for name in opened.files}
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{file} cannot be read (pickled arrays never are): {error}") from error
    if "X" not in arrays or "y" not in arrays or len(arrays["X"]) != len(arrays["y"]):
        raise ValueError(f"{file} must hold X (n, d) and y (n,), as many rows each")
    named = {"X": arrays["X"], "label": arrays["y"]}
    return named | {
        name: values for name, values in arrays.items() if name not in ("X", "y") and len(values) == len(named["label"])
    }
