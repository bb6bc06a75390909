"""A table as a subject: CSV or Parquet of the user's own with a target column, or a specimen.

Specimens: `diabetes` (442 patients, ships with scikit-learn), `sinc` and `friedman` (generated, with the truth beside
the noisy target), `chf` (generated critical heat flux, in SI).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tameshi.doors.models import sha256_of
from tameshi.doors.screen import plain

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.float64]

SPECIMENS = ("chf", "diabetes", "friedman", "sinc")
READ = {".csv": "CSV", ".parquet": "Parquet"}


@dataclass(frozen=True)
class Table:
    """Columns of finite numbers.

    Args:
        name: for people: "specimen:sinc", or the path as given.
        fingerprint: sha256 of the file, or of the specimen's numbers.
        columns: names, in order.
        values: (rows, columns).
        target: the column that a specimen is about; None in a file, where the user says.
        truth: (rows,), the target without its noise, where it was generated; else None.
        groups: what the rows come from (a rig, a patient), where it is known; else empty.
        units: column -> unit, where the file has a line of units or the table is known.
    """

    name: str
    fingerprint: str
    columns: tuple[str, ...]
    values: Floats = field(repr=False)
    target: str | None = None
    truth: Floats | None = field(default=None, repr=False)
    groups: tuple[str, ...] = field(default=(), repr=False)
    units: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Read "specimen:NAME", a .csv or a .parquet file.

        Raises:
            ValueError: not there, another kind of file, a column that is not numbers, a value that is missing or not
                finite, fewer than two rows or columns.
        """
        if address.startswith("specimen:"):
            return cls._specimen(address)
        path = Path(address).expanduser()
        if path.suffix.lower() not in READ:
            raise ValueError(f"a table is a .csv or .parquet file, or one of {_specimens()}, got {plain(address)}")
        if not path.is_file():
            raise ValueError(f"the table {plain(address)} does not exist")
        frame, units, groups = _public(path) or (*_frame(path), ())
        return cls(
            address,
            sha256_of(path),
            tuple(str(c) for c in frame.columns),
            _numbers(frame, address),
            groups=groups,
            units=units,
        )

    def xy(self, target: str | None = None) -> tuple[Floats, Floats]:
        """The rows without the target (rows, columns - 1), and the target (rows,).

        Raises:
            ValueError: no target was named, or there is no such column.
        """
        target = self.target if target is None else target
        if target is None:
            raise ValueError(f"name the target column of {plain(self.name)}; it has {self._names()}")
        if target not in self.columns:
            raise ValueError(f"{plain(self.name)} has no column {plain(target)!r}; it has {self._names()}")
        place = self.columns.index(target)
        return np.delete(self.values, place, axis=1), self.values[:, place]

    def column(self, name: str) -> Floats:
        """One column, (rows,)."""
        if name not in self.columns:
            raise ValueError(f"{plain(self.name)} has no column {plain(name)!r}; it has {self._names()}")
        return self.values[:, self.columns.index(name)]

    def lagged(self, target: str | None, lags: int) -> tuple[Floats, Floats]:
        """The target as a series: each value with the `lags` before it as its row, (rows - lags, lags)."""
        series = self.xy(target)[1]
        if not 1 <= lags < len(series) - 1:
            raise ValueError(f"lags must be at least 1 and leave two rows of {len(series)}, got {lags}")
        windows = np.lib.stride_tricks.sliding_window_view(series, lags + 1)
        return windows[:, :-1].copy(), windows[:, -1].copy()

    def _names(self) -> str:
        shown = ", ".join(plain(c, longest=60) for c in self.columns[:12])
        return shown + (f" and {len(self.columns) - 12} more" if len(self.columns) > 12 else "")

    @classmethod
    def _specimen(cls, address: str) -> Self:
        made = {"chf": _chf, "diabetes": _diabetes, "friedman": _friedman, "sinc": _sinc}
        name = address.removeprefix("specimen:")
        if name not in made:
            raise ValueError(f"there is no specimen table {plain(name)!r}; there are {_specimens()}")
        columns, values, truth, units = made[name]()
        print_of = hashlib.sha256(" ".join(columns).encode() + np.ascontiguousarray(values).tobytes()).hexdigest()
        return cls(address, print_of, tuple(columns), values, columns[-1], truth, units=units)


Made = tuple[list[str], Floats, Floats | None, dict[str, str]]


def _diabetes() -> Made:
    from sklearn.datasets import load_diabetes

    held = load_diabetes()
    return [*held.feature_names, "progression"], np.column_stack([held.data, held.target]), None, {}


def _sinc(rows: int = 4000) -> Made:
    """sin(x)/x on [-4 pi, 4 pi], noise of a tenth of its standard deviation."""
    rng = np.random.default_rng(81)
    x = rng.uniform(-4 * np.pi, 4 * np.pi, rows)
    truth = np.sinc(x / np.pi)
    return ["x", "y"], np.column_stack([x, truth + 0.1 * truth.std() * rng.standard_normal(rows)]), truth, {}


def _friedman(rows: int = 18_000) -> Made:
    """Friedman's first function of five uniform columns, noise of a tenth of its standard deviation."""
    rng = np.random.default_rng(82)
    x = rng.uniform(size=(rows, 5))
    truth = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    noisy = truth + 0.1 * truth.std() * rng.standard_normal(rows)
    return [*(f"x{i + 1}" for i in range(5)), "y"], np.column_stack([x, noisy]), truth, {}


def _chf(rows: int = 6000) -> Made:
    from tameshi.specimens.chf import BASE_UNITS, make_chf

    x, y = make_chf(rows, seed=0)
    return list(BASE_UNITS), np.column_stack([x, y]), None, dict(BASE_UNITS)


def _specimens() -> str:
    return ", ".join(f"specimen:{name}" for name in SPECIMENS)


def _public(path: Path) -> tuple[pandas.DataFrame, dict[str, str], tuple[str, ...]] | None:
    """A public file of critical heat flux in the form of `specimen:chf`, if it is one."""
    from tameshi.specimens.chf import BASE_UNITS
    from tameshi.specimens.chf_files import is_public, load_chf

    if path.suffix.lower() != ".csv" or not is_public(path):
        return None
    import pandas

    x, y, references = load_chf(path)
    return pandas.DataFrame(np.column_stack([x, y]), columns=list(BASE_UNITS)), dict(BASE_UNITS), tuple(references)


def _frame(path: Path) -> tuple[pandas.DataFrame, dict[str, str]]:
    """The file as a frame, and the units if the first line under the header holds them."""
    import pandas

    kind = READ[path.suffix.lower()]
    try:
        frame = pandas.read_csv(path, encoding="utf-8-sig") if kind == "CSV" else pandas.read_parquet(path)
    except (ValueError, OSError, KeyError) as error:  # pandas and pyarrow raise kinds of these
        raise ValueError(f"{plain(path)} does not read as {kind}: {plain(str(error).splitlines()[0])}") from error
    if len(frame) < 2 or len(frame.columns) < 1:
        raise ValueError(f"{plain(path)} must hold at least two rows and one column, got {len(frame)} rows")
    if len(set(frame.columns)) < len(frame.columns):
        raise ValueError(f"{plain(path)} has two columns of the same name")
    words = [c for c in frame.columns if not pandas.api.types.is_numeric_dtype(frame[c])]
    rest = frame.iloc[1:]
    if kind == "CSV" and len(words) == len(frame.columns) and all(_number(cell) is None for cell in frame.iloc[0]):
        numeric = {c: pandas.to_numeric(rest[c], errors="coerce") for c in words}
        if all(numeric[c].notna().eq(rest[c].notna()).all() for c in words):
            units = {str(c): str(frame.iloc[0][c]).strip() for c in words}
            return rest.assign(**numeric).reset_index(drop=True), units
    return frame, {}


def _numbers(frame: pandas.DataFrame, address: str) -> Floats:
    import pandas

    for column in frame.columns:
        held, name = frame[column], plain(column, longest=60)
        if not pandas.api.types.is_numeric_dtype(held) or pandas.api.types.is_complex_dtype(held):
            example = next((c for c in held if _number(c) is None), held.iloc[0])
            raise ValueError(
                f"column {name!r} of {plain(address)} is not numbers (it holds {plain(example, longest=40)!r}); "
                "leave it out, or encode it as numbers first"
            )
        values = held.to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(
                f"column {name!r} of {plain(address)} has a value that is missing or not finite in data row {row + 1}"
            )
    return np.asarray(frame.to_numpy(dtype=np.float64))


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None
