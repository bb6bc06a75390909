"""Checks of the critical heat flux hybrids: a correlation plus a learned residual against the network alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tameshi.nouns import AllOf, Beats, Items, Measurement, Ratio, Rows, Rule, apply, check, figure, measure
from tameshi.specimens.chf import in_si, rows_in_si
from tameshi.specimens.chf_split import Split, split
from tameshi.specimens.table import Table

Floats = NDArray[np.float64]

BASES = ("pure", "biasi", "bowring")
KINDS = ("ensemble", "bnn", "deep-gp")
SCARCE = 50  # training points up to which data are called scarce
SPECIMEN: Any = "specimen:chf"


@check("chf-hybrid", seeds=3)
def prediction(
    data: Table = SPECIMEN,
    *,
    units: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    points: int = 2000,
    split_by: Literal["point", "reference"] = "point",
    members: int = 5,
    start: Literal["uniform", "normal"] = "uniform",
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Relative error and calibration of pure networks, hybrids and bare correlations, on the same test points.

    Args:
        data: specimen:chf, a public file (NRC, Zhao 2020), or a table with the columns D, L, P, G, dh, chf.
        units: of the columns, where the table does not say: D=mm,L=m,P=MPa,G=kg/m2s,dh=kJ/kg,chf=kW/m2.
        columns: names of the columns, where they are others: D=Tube Diameter,chf=CHF.
        points: training points.
        split_by: point splits at random; reference keeps the points of one rig on one side, for random splits leak.
        members: networks of an ensemble.
        start: first weights of the networks; normal is rougher where points are few, and hurts the pure network most.
        limit: at most so many test points.
    """
    tests = 1000 if limit is None else limit
    drawn = cache(
        partial(split, data, _pairs("columns", columns), _pairs("units", units), split_by, points, tests, seed)
    )
    _refuse(members, points)
    drawn()  # missing units and too few points are refused before anything is fitted
    fitted = cache(partial(fit_arm, drawn, members, start, seed))
    for base in BASES:
        if base != "pure":
            yield measure(base, partial(bare, drawn, base), points=points)
        for kind in KINDS:
            yield measure(f"{base}-{kind}", partial(scored, fitted, drawn, base, kind, points), points=points)
        yield measure(f"{base}-ensemble-conformal", partial(rescaled, fitted, drawn, base, points), points=points)


@check("chf-hybrid", seeds=8)
def scarcity(
    data: Table = SPECIMEN,
    *,
    units: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    train: tuple[int, ...] = (9, 50, 200, 2000),
    split_by: Literal["point", "reference"] = "point",
    members: int = 5,
    start: Literal["uniform", "normal"] = "uniform",
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Relative error of ensembles with fewer and fewer training points, beside the bare correlations.

    Args:
        data: as for prediction.
        units: of the columns, where the table does not say.
        columns: names of the columns, where they are others.
        train: numbers of training points.
        split_by: point or reference.
        members: networks of an ensemble.
        start: first weights of the networks.
        limit: at most so many test points.
    """
    tests, most = 1000 if limit is None else limit, max(train)
    drawn = cache(partial(split, data, _pairs("columns", columns), _pairs("units", units), split_by, most, tests, seed))
    _refuse(members, *train)
    drawn()
    for count in sorted(set(train)):
        here = {"train": count, "scarce": count <= SCARCE}
        for base in BASES:
            if base != "pure":
                yield measure(base, partial(bare, drawn, base), **here)
            yield measure(f"{base}-ensemble", partial(error_of, drawn, members, start, seed, base, count), **here)


def fit_arm(drawn: Any, members: int, start: str, seed: int, base: str, kind: str, count: int) -> Any:
    """A base with a residual model, fitted to the first `count` training points."""
    from tameshi.tabular.bayesian import BayesianMLPRegressor
    from tameshi.tabular.chf import HybridCHFRegressor
    from tameshi.tabular.deep_gp import DeepGPRegressor
    from tameshi.tabular.ensemble import DeepEnsembleRegressor

    steps = 2500 if count > 500 else 500
    residual = {
        "ensemble": DeepEnsembleRegressor(members, steps=steps, start=start, random_state=seed),
        "bnn": BayesianMLPRegressor(random_state=seed),
        "deep-gp": DeepGPRegressor(random_state=seed),
    }[kind]
    X, y = drawn().train
    model = HybridCHFRegressor(None if base == "pure" else base, residual)
    return model.fit(X[:count], y[:count])


def scored(fitted: Any, drawn: Any, base: str, kind: str, count: int) -> dict[str, Any]:
    """Relative error of every test point, and the calibration over all of them."""
    held = drawn()
    return measured(held, *predicted(fitted(base, kind, count), held.test[0]))


def error_of(drawn: Any, members: int, start: str, seed: int, base: str, count: int) -> dict[str, Any]:
    """Relative error of an ensemble fitted to the first `count` training points."""
    held = drawn()
    mean, _ = predicted(fit_arm(drawn, members, start, seed, base, "ensemble", count), held.test[0])
    return {"relative_error": Items(np.abs(mean / held.test[1] - 1), held.ids, held.groups)}


def rescaled(fitted: Any, drawn: Any, base: str, count: int) -> dict[str, Any]:
    """The ensemble with its spread multiplied by one number, found on points held out: split conformal prediction."""
    from tameshi.tabular.calibration import conformal_scale

    held = drawn()
    model = fitted(base, "ensemble", count)
    factor = conformal_scale(held.held[1], *predicted(model, held.held[0]))
    mean, std = predicted(model, held.test[0])
    return {**measured(held, mean, factor * std), "factor": factor}


def predicted(model: Any, X: Floats) -> tuple[Floats, Floats]:
    """(mean, standard deviation) of every point, kW/m2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a check the error says it, in a file of predictions the remarks do
        mean, std = model.predict(X, return_std=True)
    return mean, std


def bare(drawn: Any, base: str) -> dict[str, Any]:
    """The correlation alone."""
    from tameshi.tabular.chf import COLUMNS, FORMULAS

    held = drawn()
    X, y = held.test
    found = FORMULAS[base](**dict(zip(COLUMNS.values(), X.T, strict=True)))
    return {"relative_error": Items(np.abs(found / y - 1), held.ids, held.groups)}


def measured(held: Split, mean: Floats, std: Floats) -> dict[str, Any]:
    from tameshi.tabular.calibration import LEVELS, calibration_report, coverage

    report = calibration_report(held.test[1], mean, std)
    return {
        "relative_error": Items(np.abs(mean / held.test[1] - 1), held.ids, held.groups),
        "median_error": report.median_error,
        "largest_error": report.largest_error,
        "rms_error": report.rms_error,
        "miscalibration": report.miscalibration,
        "miscalibration_area": report.miscalibration_area,
        "coverage_95": float(coverage(held.test[1], mean, std, [0.95])[0]),
        "sharpness": report.sharpness,
        "beyond_tenth": report.beyond_tenth,
        "coverage": Items(report.coverage, [f"{level:.2f}" for level in LEVELS]),
        "share_of_truth": Items((mean / held.test[1])[:300], held.ids[:300]),
        "truth": Items(held.test[1][:300], held.ids[:300]),
    }


def _refuse(members: int, *counts: int) -> None:
    if members < 2:
        raise ValueError(f"--members must be at least 2, for one network has no spread, got {members}")
    if min(counts, default=0) < 2:
        raise ValueError(f"a model needs at least 2 training points, got {', '.join(map(str, counts)) or 'none'}")


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE,... of an option as a mapping."""
    pairs = [text.partition("=") for text in given]
    wrong = next((text for text, (_, mark, value) in zip(given, pairs, strict=True) if not mark or not value), None)
    if wrong is not None:
        raise ValueError(f"--{option} takes D=...,P=...,chf=..., got {wrong!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _better(claim: str, method: str, baseline: str | tuple[str, ...], by: float = 1.0) -> Beats:
    return Beats(claim, method, baseline, metric="relative_error", better="lower", by=Ratio(by), check="prediction")


def _calmer(base: str) -> tuple[Rule, ...]:
    """A Bayesian hybrid is better calibrated than the ensemble, and at most half as much again off."""
    bnn, ensemble = f"{base}-bnn", f"{base}-ensemble"
    return (
        Beats("C2", bnn, ensemble, metric="miscalibration", better="lower", check="prediction", unit="seed"),
        _better("C2", bnn, ensemble, by=1.5),
    )


def _holds_up(base: str) -> tuple[Rule, ...]:
    """A hybrid beats the pure ensemble with any number of points, and by far with few; the bare formula must not."""
    hybrid = f"{base}-ensemble"
    rule: dict[str, Any] = {"metric": "relative_error", "better": "lower", "each": ("train",), "check": "scarcity"}
    rule |= {"control": (base,)}
    return (
        Beats("C4", hybrid, "pure-ensemble", **rule),
        Beats("C4", hybrid, "pure-ensemble", by=Ratio(0.6), where={"scarce": True}, **rule),
    )


OTHERS = tuple(name for b in BASES for k in KINDS if (name := f"{b}-{k}") != "biasi-ensemble") + BASES[1:]
RULES: list[Rule] = [
    _better("C1", "biasi-ensemble", OTHERS),
    AllOf("C2", (*_calmer("biasi"), *_calmer("bowring"))),
    AllOf("C3", tuple(_better("C3", f"{b}-{k}", f"{b}-deep-gp") for b in BASES[1:] for k in ("ensemble", "bnn"))),
    AllOf("C4", (*_holds_up("biasi"), *_holds_up("bowring"))),
]


@figure("chf-hybrid", en="Mean relative error by number of training points", ja="学習点数ごとの平均相対誤差")
def error_by_points(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    held = rows.where(check="scarcity", metric="relative_error")
    counts = held.levels("train")
    if not counts:
        return None
    drawing = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = drawing.subplots()
    styles = {"pure-ensemble": "o-", "biasi-ensemble": "s-", "bowring-ensemble": "D-", "biasi": "s:", "bowring": "D:"}
    for name, style in styles.items():
        errors = [100 * held.where(method=name, train=count).mean("relative_error") for count in counts]
        axes.plot([float(count) for count in counts], errors, style, label=name, alpha=0.6 if ":" in style else 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("n")
    axes.set_ylabel("%")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    return drawing


@figure(
    "chf-hybrid",
    en="Predicted over measured heat flux, most training points",
    ja="測定値に対する予測値の比（学習点が最多のとき）",
)
def parity(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    held = rows.where(metric="truth")
    names = [n for n in ("pure-ensemble", "biasi-ensemble", "bowring-ensemble", "bowring-bnn") if n in held.methods]
    if not names:
        return None
    drawing = Figure(figsize=(3 * len(names), 3), layout="constrained")
    for axes, name in zip(drawing.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        mine = held.where(method=name)
        axes.plot(mine.numbers("truth"), mine.numbers("share_of_truth"), ".", markersize=2, alpha=0.5)
        axes.axhspan(0.9, 1.1, alpha=0.15)
        axes.set_xscale("log")
        axes.set_ylim(0.6, 1.4)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("kW/m²")
    return drawing


@figure("chf-hybrid", en="Observed against nominal coverage of the intervals", ja="区間の名目被覆率と実測被覆率")
def calibration(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    held = rows.where(metric="coverage")
    if not len(held):
        return None
    levels = np.linspace(0.05, 0.95, 19)
    drawing = Figure(figsize=(8, 3.8), layout="constrained")
    for axes, base in zip(drawing.subplots(1, 2, sharey=True), ("bowring", "pure"), strict=True):
        for kind in ("ensemble", "ensemble-conformal", "bnn", "deep-gp"):
            curves = [row.values["coverage"].values for row in held.where(method=f"{base}-{kind}")]  # type: ignore[union-attr]  # items by construction
            if curves:
                axes.plot(levels, np.mean(np.array(curves, dtype=np.float64), axis=0), ".-", label=kind, markersize=4)
        axes.plot([0, 1], [0, 1], "k:", linewidth=1)
        axes.set_title(base, fontsize=9)
        axes.grid(alpha=0.3)
    drawing.axes[0].legend(fontsize=8)
    return drawing


@apply("chf-hybrid")
def fit(
    table: Path,
    *,
    output: Path,
    base: Literal["biasi", "bowring"] = "bowring",
    residual: Literal["ensemble", "bnn", "deep-gp"] = "ensemble",
    units: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    members: int = 20,
    extrapolate: bool = False,
) -> Mapping[str, Any]:
    """Fit a hybrid for critical heat flux to a table and save it: model.json and model.safetensors, no pickle.

    Args:
        table: .csv or .parquet with D, L, P, G, dh, chf, or a public file (NRC, Zhao 2020).
        output: a new folder for the model.
        base: the correlation that the residual is learned on.
        residual: ensemble of networks, Bayesian network, or deep Gaussian process.
        units: of the columns, where the table does not say: D=mm,L=m,P=MPa,G=kg/m2s,dh=kJ/kg,chf=kW/m2.
        columns: names of the columns, where they are others: D=Tube Diameter,chf=CHF.
        members: networks of an ensemble.
        extrapolate: also learn from points outside the range of the correlation.
    """
    from tameshi.tabular.bayesian import BayesianMLPRegressor
    from tameshi.tabular.chf import HybridCHFRegressor
    from tameshi.tabular.deep_gp import DeepGPRegressor
    from tameshi.tabular.ensemble import DeepEnsembleRegressor
    from tameshi.tabular.saved import save

    held = Table.open(str(table))
    named, given = _pairs("columns", columns), _pairs("units", units)
    X, y = in_si(held, columns=named, units=given)
    learned = {"ensemble": DeepEnsembleRegressor(members), "bnn": BayesianMLPRegressor(), "deep-gp": DeepGPRegressor()}
    model = HybridCHFRegressor(base, learned[residual], extrapolate=extrapolate).fit(X, y)
    about = {"columns": named, "units": given, "table_sha256": held.fingerprint}
    save(model.set_params(extrapolate=False), output, about=about)
    mean, _ = predicted(model.set_params(extrapolate=extrapolate), X)
    error = float(np.abs(mean / y - 1).mean())
    return {"model": str(output), "points": len(X), "mean_relative_error_on_its_points": error}


@apply("chf-hybrid", "predict")
def predict(
    model: Path,
    table: Path,
    *,
    output: Path,
    units: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    extrapolate: bool = False,
) -> str:
    """Predict critical heat flux; writes chf and std (kW/m2), whether the row is extrapolated, and remarks.

    Remarked are rows outside the range, steam at the inlet, and predictions that cannot be: not positive, or more heat than
    evaporates all the water.

    Args:
        model: the folder that `tameshi apply chf-hybrid` wrote.
        table: .csv or .parquet with D, L, P, G, dh.
        output: the CSV to write.
        units: of the columns; without this what the table says, or else those of the table it was fitted on.
        columns: names of the columns, where they are neither D, L, P, G, dh nor those of the table it was fitted on.
        extrapolate: predict rows outside the range of the correlation too, and mark them.
    """
    from tameshi.doors.files import write
    from tameshi.tabular.chf import HybridCHFRegressor
    from tameshi.tabular.saved import load

    fitted, about = load(model, HybridCHFRegressor)
    held = Table.open(str(table))
    of_fit = {letter: name for letter, name in about.get("columns", {}).items() if name in held.columns}
    named = {**of_fit, **_pairs("columns", columns)}
    unsaid = {
        letter: unit for letter, unit in about.get("units", {}).items() if named.get(letter, letter) not in held.units
    }
    X = rows_in_si(held, columns=named, units={**unsaid, **_pairs("units", units)})
    mean, std = predicted(fitted.set_params(extrapolate=extrapolate), X)
    marks, remarks = fitted.extrapolates(X), fitted.remarks(X, mean)
    told = zip(mean.tolist(), std.tolist(), marks, remarks, strict=True)
    lines = [f"{m!r},{s!r},{str(bool(e)).lower()},{remark}" for m, s, e, remark in told]
    write(output, "\n".join(["chf,std,extrapolated,remarks", *lines]) + "\n")
    remarked = sum(remark != "" for remark in remarks)
    marked = f", {int(marks.sum())} of them extrapolated" if marks.any() else ""
    marked += f"; {remarked} have remarks" if remarked else ""
    return f"{len(X):,} predictions in kW/m2 in {output}{marked}"
