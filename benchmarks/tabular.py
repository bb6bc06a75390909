"""The tabular wing: granular balls beside SVR, an ensemble trained at once beside one net after the other.

    python benchmarks/tabular.py [--output benchmarks/tabular.json]

Times are processor seconds in one process on one thread, the best of a few runs in turns; what counts are the ratios.
GPyTorch's deep Gaussian process is held beside ours where it is installed (`pip install gpytorch`); nothing of
tameshi needs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.svm import SVR

from tameshi.specimens.chf import make_chf
from tameshi.specimens.dirty_split import split
from tameshi.specimens.table import Table
from tameshi.tabular.balls import target_bins
from tameshi.tabular.chf import HybridCHFRegressor
from tameshi.tabular.deep_gp import DeepGPRegressor
from tameshi.tabular.ensemble import train
from tameshi.tabular.gbsvr import GBSVR
from tameshi.tabular.heat_flux import biasi_heat_balance, bowring_inlet
from tameshi.tabular.rivals import SubsetSVR
from tameshi.tabular.splitting import grow_balls
from tameshi.tabular.tube import half_gram, solve_tube


def seconds(*functions: Callable[[], Any], rounds: int = 3) -> list[float]:
    """Fewest processor seconds of each, measured in turns after one round to warm up."""
    best = [math.inf] * len(functions)
    for round_ in range(rounds + 1):
        for place, function in enumerate(functions):
            began = time.process_time()
            function()
            spent = time.process_time() - began
            if round_:
                best[place] = min(best[place], spent)
    return best


def balls_of_many_rows() -> dict[str, Any]:
    """Balls for 100,000 rows of 10 columns."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(100_000, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    y += 0.1 * y.std() * rng.standard_normal(len(y))
    weight = np.ones(len(X))
    made = 0

    def grow() -> None:
        nonlocal made
        bins = target_bins(y, 10, weight)
        made = int(grow_balls((X - X.mean(axis=0)) / X.std(axis=0), bins, weight, purity=0.9, min_size=5).max()) + 1

    (spent,) = seconds(grow)
    return {"balls": made, "seconds": spent, "goal_seconds": 5}


def fit_beside_svr() -> list[dict[str, Any]]:
    """One fit at 12,000 rows, balls included, beside scikit-learn's SVR and as many random rows as there are balls."""
    drawn = split(Table.open("specimen:friedman"), None, 0, 0.0, 12_000, 0)
    gamma = 1 / drawn.X.shape[1]
    svr = SVR(gamma=gamma)

    def r2(model: Any) -> float:
        return float(1 - np.square(drawn.yt - model.predict(drawn.Xt)).mean() / drawn.yt.var())

    found = []
    for size in (4, 8, 12, 16):
        model = GBSVR(gamma=gamma, radius_scale=0, min_size=size, standardize=False, tol=1e-3).fit(drawn.X, drawn.y)
        subset = SubsetSVR(len(model.centers_), gamma=gamma, random_state=0)
        fits = [lambda m=m: m.fit(drawn.X, drawn.y) for m in (svr, model, subset)]
        full, ours, random = seconds(*fits, rounds=2)
        best = r2(svr)
        found.append(
            {
                "min_size": size,
                "balls": len(model.centers_),
                "svr_seconds": full,
                "gbsvr_seconds": ours,
                "subset_seconds": random,
                "faster_than_svr": full / ours,
                "r2_svr": best,
                "r2_loss": best - r2(model),
                "r2_loss_of_subset": best - r2(subset),
            }
        )
    return found


def tube() -> list[dict[str, Any]]:
    """The solver of the tube with radii, and the path without them beside libsvm alone on the same centres."""
    found = []
    drawn = split(Table.open("specimen:friedman"), None, 0, 0.0, 12_000, 0)
    for size in (16, 8):
        model = GBSVR(min_size=size, standardize=False).fit(drawn.X, drawn.y)
        gram = model._kernel(model.centers_, model.centers_)
        radii = 0.05 * np.sqrt(2 - 2 * np.exp(-model.gamma_ * model.radii_**2))
        flat = clone(model).set_params(radius_scale=0, tol=1e-3).fit(drawn.X, drawn.y)
        libsvm = SVR(gamma=flat.gamma_)

        def solve(gram=gram, radii=radii, model=model) -> None:
            solve_tube(half_gram(gram), radii, model.targets_, model.weights_, 0.1, tol=1e-6, max_steps=200)

        def centres(flat=flat) -> None:
            flat._fit_centres(flat.weights_)

        def plain(flat=flat, libsvm=libsvm) -> None:
            libsvm.fit(flat.centers_, flat.targets_, sample_weight=flat.weights_)

        spent, ours, theirs = seconds(solve, centres, plain)
        found.append(
            {
                "balls": len(gram),
                "seconds": spent,
                "goal_seconds_at_500": 0.5,
                "without_radii_beside_libsvm": ours / theirs,
                "goal_beside_libsvm": 1.2,
            }
        )
    return found


def nets_at_once() -> list[dict[str, Any]]:
    """Five nets of 2 x 64 as one batched network, and one after the other; the losses must be the same."""
    X, y = make_chf(2000, seed=0)
    rows = torch.from_numpy(((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32))
    target = torch.from_numpy(((y - y.mean()) / y.std()).astype(np.float32))
    found = []
    for count, batch in ((9, None), (50, None), (200, None), (2000, 128), (2000, 256), (2000, None)):
        settings: dict[str, Any] = {
            "widths": [5, 64, 64, 1], "steps": 200 if batch or count < 2000 else 40, "learning_rate": 3e-3,
            "weight_decay": 1e-5, "batch_size": batch,
        }  # fmt: skip
        part = rows[:count], target[:count]
        losses: dict[str, Any] = {}

        def together(part=part, settings=settings, losses=losses) -> None:
            losses["together"] = train(range(5), *part, **settings)[1]

        def in_turn(part=part, settings=settings, losses=losses) -> None:
            losses["in turn"] = np.concatenate([train([seed], *part, **settings)[1] for seed in range(5)])

        def plainly(part=part, settings=settings) -> None:
            for seed in range(5):
                sequential(seed, *part, steps=settings["steps"], batch=settings["batch_size"])

        once, turns, plain = seconds(together, in_turn, plainly)
        apart = float(np.max(np.abs(losses["together"] / losses["in turn"] - 1)))
        found.append(
            {
                "rows": count,
                "batch": batch or count,
                "faster_than_in_turn": turns / once,
                "faster_than_nn_sequential": plain / once,
                "largest_relative_difference_of_losses": apart,
            }
        )
    return found


def sequential(seed: int, rows: torch.Tensor, target: torch.Tensor, *, steps: int, batch: int | None) -> None:
    """What one would write without this wing: nn.Sequential, Adam and its cosine schedule."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(5, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)]
    net = torch.nn.Sequential(*layers)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        picked = slice(None) if batch is None else torch.randperm(len(rows))[:batch]
        loss = ((net(rows[picked])[:, 0] - target[picked]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def formulas() -> dict[str, float]:
    """Both correlations on a million points."""
    X, _ = make_chf(20_000, seed=0)
    bore, length, pressure, flux, cold = np.tile(X.T, 50)
    biasi, bowring = seconds(
        lambda: biasi_heat_balance(pressure, flux, bore, length, cold),
        lambda: bowring_inlet(pressure, flux, bore, length, cold),
        rounds=1,
    )
    return {"points": len(bore), "biasi_seconds": biasi, "bowring_seconds": bowring}


def beside_gpytorch() -> dict[str, Any] | None:
    """The same two-layer process by GPyTorch: relative error on 1,000 points, and seconds of a fit."""
    if importlib.util.find_spec("gpytorch") is None:
        return None
    X, y = make_chf(1000, seed=0)
    Xt, yt = make_chf(1000, seed=1)
    base, base_t = (bowring_inlet(x[:, 2], x[:, 3], x[:, 0], x[:, 1], x[:, 4]) for x in (X, Xt))
    found: dict[str, Any] = {}
    model = HybridCHFRegressor("bowring", DeepGPRegressor(steps=600))
    (found["ours_seconds"],) = seconds(lambda: model.fit(X, y), rounds=1)
    mean, std = model.predict(Xt, return_std=True)
    found |= {
        "ours_error": float(np.abs(mean / yt - 1).mean()),
        "ours_inside_2_std": float((np.abs(mean - yt) < 2 * std).mean()),
    }
    began = time.process_time()
    mean, std = gpytorch_deep(X, y - base, Xt, steps=600)
    found["gpytorch_seconds"] = time.process_time() - began
    mean = mean + base_t
    found |= {
        "gpytorch_error": float(np.abs(mean / yt - 1).mean()),
        "gpytorch_inside_2_std": float((np.abs(mean - yt) < 2 * std).mean()),
    }
    return found


def gpytorch_deep(X: Any, y: Any, Xt: Any, *, steps: int, inducing: int = 64) -> tuple[Any, Any]:
    """GPyTorch's DeepGP with the layers of ours: RBF with a length for each column, linear mean inside, 10 samples."""
    import gpytorch
    from gpytorch.mlls import DeepApproximateMLL, VariationalELBO
    from gpytorch.models.deep_gps import DeepGP, DeepGPLayer
    from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy

    torch.manual_seed(0)
    mean, scale, middle, unit = X.mean(axis=0), X.std(axis=0), y.mean(), y.std()
    rows, new = (torch.from_numpy((x - mean) / scale).float() for x in (X, Xt))
    target = torch.from_numpy((y - middle) / unit).float()
    columns = rows.shape[1]

    class Layer(DeepGPLayer):
        def __init__(self, outputs: int | None) -> None:
            shape = torch.Size([] if outputs is None else [outputs])
            places = rows[torch.randperm(len(rows))[:inducing]].expand(*shape, inducing, columns).clone()
            strategy = VariationalStrategy(
                self,
                places,
                CholeskyVariationalDistribution(inducing, batch_shape=shape),
                learn_inducing_locations=True,
            )
            super().__init__(strategy, columns, outputs)
            linear = gpytorch.means.LinearMean(columns) if outputs else gpytorch.means.ConstantMean()
            self.mean_module = linear
            kernel = gpytorch.kernels.RBFKernel(batch_shape=shape, ard_num_dims=columns)
            self.covar_module = gpytorch.kernels.ScaleKernel(kernel, batch_shape=shape)

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    class Deep(DeepGP):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.last = Layer(columns), Layer(None)
            self.likelihood = gpytorch.likelihoods.GaussianLikelihood()

        def forward(self, x: Any) -> Any:
            return self.last(self.hidden(x))

    model = Deep()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    objective = DeepApproximateMLL(VariationalELBO(model.likelihood, model, num_data=len(rows)))
    with gpytorch.settings.num_likelihood_samples(1):
        for _ in range(steps):
            picked = torch.randperm(len(rows))[:256]
            optimiser.zero_grad()
            (-objective(model(rows[picked]), target[picked])).backward()
            optimiser.step()
    model.eval()
    with torch.no_grad(), gpytorch.settings.num_likelihood_samples(10):
        found = model.likelihood(model(new))
        centre, variance = found.mean.mean(dim=0), found.variance.mean(dim=0) + found.mean.var(dim=0)
    return centre.numpy() * unit + middle, variance.sqrt().numpy() * unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    for name, measure in (
        ("balls of 100,000 x 10", balls_of_many_rows),
        ("fit at 12,000 rows", fit_beside_svr),
        ("tube", tube),
        ("five nets", nets_at_once),
        ("a million points", formulas),
        ("deep Gaussian process", beside_gpytorch),
    ):
        found[name] = measure()
        sys.stdout.write(f"{name}: {json.dumps(found[name], indent=1)}\n")
        sys.stdout.flush()
    if given.output:
        from tameshi.doors.files import write

        write(given.output, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
