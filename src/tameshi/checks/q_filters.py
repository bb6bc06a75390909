"""Q-Filters: does the direction that a head's queries lean towards tell which keys may go?

On the embedded model, documents come from `specimens.modes`: the mode decides how the rest of a document reads, so that there
is something worth keeping that no question names. On a model of the user's, passages come from the user's texts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tameshi.nouns import (
    Beats,
    Items,
    Measurement,
    Ratio,
    Reaches,
    Rows,
    Rule,
    Within,
    apply,
    check,
    figure,
    measure,
)
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.modes import Tokens
from tameshi.specimens.reading import Asked, Reading
from tameshi.specimens.texts import Texts

if TYPE_CHECKING:
    from tameshi.kv import Policy, QFilters

KEPT = 3.5  # a mode is taken as kept if what follows costs less than this, in nats a token; without the mode it costs 5 to 6
DEPTHS = (0.1, 0.35, 0.6)
CONTROLS = ("random", "sign flipped")
METHODS = (
    *("q-filters", "q-filters (mean)", "streaming-llm", "streaming-llm (rerotated)", "key-norm"),
    *("snapkv", "h2o", "expected attention", *CONTROLS),
)

RULES: list[Rule] = [
    Reaches(
        "C1",
        check="needle",
        method="q-filters",
        metric="needle_kept",
        better="higher",
        target="full",
        share=0.9,
        where={"question": "after", "compression": 32},
        each=("length",),
        control=CONTROLS,
    ),
    Beats(
        "C2",
        check="streaming",
        method="q-filters",
        baseline="streaming-llm",
        metric="nll",
        better="lower",
        by=Ratio(0.65),
        gap_to="full",
        each=("cap",),
        control=CONTROLS,
    ),
    Beats(
        "C3",
        check="streaming",
        method="q-filters",
        baseline=("streaming-llm", "key-norm"),
        metric="nll",
        better="lower",
        each=("cap",),
        control=CONTROLS,
    ),
    Within(
        "C4",
        check="needle",
        method="q-filters",
        reference="snapkv",
        metric="needle_kept",
        better="higher",
        margin=0.05,
        where={"question": "after"},
        each=("length", "compression"),
        control=CONTROLS,
    ),
    Reaches(
        "C5",
        check="geometry",
        method="q-filters",
        metric="rank_correlation",
        better="higher",
        target=0.5,
        control=CONTROLS,
    ),
]


@check("q-filters", seeds=3)
def streaming(
    model: CausalLM = "specimen:modes",  # type: ignore[assignment]  # an address, opened by the bench
    data: Texts | None = None,
    *,
    caps: tuple[int, ...] | None = None,
    documents: int = 16,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Perplexity of long documents read under a hard cap on the cache, every method on the same documents.

    Args:
        model: folder of a causal language model, or a specimen.
        data: texts for a model of your own; by default the standard library's prose.
        caps: entries kept per head; half of them are the newest. By default 64 and 128, for your own model 512 and 1024.
        documents: how many are read.
        limit: at most so many documents.
    """
    methods = _Methods(Reading(model, data, seed))
    caps = caps or ((64, 128) if model.is_specimen else (512, 1024))
    if min(caps) < 8:
        raise ValueError(f"--caps takes numbers of at least 8, got {min(caps)}")
    length = 512 if model.is_specimen else 2 * max(caps)
    if max(caps) >= length:
        raise ValueError(f"--caps must be below the documents' {length} tokens, got {max(caps)}")
    _fitting(model, length, "--caps")
    count = _at_most(documents, limit)

    @cache
    def texts() -> list[Tokens]:
        return methods.reading.documents(count, length)

    def work(method: str, cap: int) -> dict[str, Items]:
        import torch

        from tameshi.kv.measures import losses_under_cap

        policy = methods.policy(method, max_length=cap, window_length=cap // 2)
        chunk = 4 if methods.reading.generated else 64
        batches = (torch.from_numpy(tokens).to(model.device) for tokens in texts())
        losses = [losses_under_cap(model.model, tokens, policy, chunk=chunk).mean(1) for tokens in batches]
        return {"nll": Items([float(loss) for batch in losses for loss in batch], _documents(seed, count))}

    yield measure("full", partial(work, "full", length))
    for cap in caps:
        for method in METHODS:
            yield measure(method, partial(work, method, cap), cap=cap)


@check("q-filters", seeds=3)
def needle(
    model: CausalLM = "specimen:modes",  # type: ignore[assignment]  # an address, opened by the bench
    data: Texts | None = None,
    *,
    lengths: tuple[int, ...] | None = None,
    compressions: tuple[int, ...] = (8, 16, 32),
    documents: int = 24,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """What a prompt said once, far back, after the prompt was compressed once.

    With the question after the compression, the embedded model must still know the mode of the document, and a model of your
    own is asked for an access code. With the question in the prompt (a caveat that no rule judges, at the shortest length) the
    embedded model is asked for one fact of nine alike: what looks at the question can keep that fact, a filter cannot.

    Args:
        model: folder of a causal language model, or a specimen.
        data: texts for a model of your own; by default the standard library's prose.
        lengths: tokens of the prompt. By default 256, for your own model 2048.
        compressions: a prompt is compressed to its length divided by these; a quarter of that are the newest entries.
        documents: how many prompts at each of three depths.
        limit: at most so many.
    """
    methods = _Methods(Reading(model, data, seed))
    lengths = lengths or ((256,) if model.is_specimen else (2048,))
    _fitting(model, max(lengths), "--lengths")
    count = _at_most(documents, limit)
    if min(compressions) < 2 or min(lengths) // max(compressions) < 4:
        raise ValueError(
            f"--compressions takes numbers of at least 2 that leave 4 entries of {min(lengths)} tokens, got {compressions}"
        )

    @cache
    def prompts(length: int, question: Literal["after", "before"]) -> list[Asked]:
        return [one for depth in DEPTHS for one in methods.reading.prompts(count, length, depth, question)]

    def work(method: str, length: int, question: Literal["after", "before"], budget: int) -> dict[str, Items]:
        import torch

        from tameshi.kv.measures import answers_after_compression

        policy = methods.policy(method, max_length=budget, window_length=max(2, budget // 4))
        losses: list[float] = []
        right: list[bool] = []
        for one in prompts(length, question):
            prompt, following = (torch.from_numpy(part).to(model.device) for part in (one.prompt, one.following))
            loss, first = answers_after_compression(model.model, prompt, following, policy)
            losses += loss[:, -one.counted :].mean(1).tolist()
            right += first[:, -one.counted :].all(1).tolist()
        kept = [loss < KEPT for loss in losses] if methods.reading.generated and question == "after" else right
        ids = [f"{name} at {depth}" for depth in DEPTHS for name in _documents(seed, count)]
        return {"needle_kept": Items(kept, ids), "nll": Items(losses, ids)}

    questions: list[tuple[int, Literal["after", "before"]]] = [(length, "after") for length in lengths]
    for length, question in [*questions, (min(lengths), "before")]:
        yield measure("full", partial(work, "full", length, question, length), length=length, question=question)
        for compression in compressions:
            budget = length // compression
            for method in METHODS:
                work_here = partial(work, method, length, question, budget)
                yield measure(method, work_here, length=length, question=question, compression=compression)


@check("q-filters", seeds=3)
def geometry(
    model: CausalLM = "specimen:modes",  # type: ignore[assignment]  # an address, opened by the bench
    data: Texts | None = None,
    *,
    documents: int = 8,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Rank correlation, for every key head, of the score of a key and the mean logit that later queries give it.

    Also how clear the directions are: share of the energy, cosine with the mean query, majority of the vote.

    Args:
        model: folder of a causal language model, or a specimen.
        data: texts for a model of your own; by default the standard library's prose.
        documents: how many are read.
        limit: at most so many documents.
    """
    methods = _Methods(Reading(model, data, seed))
    count, length = (
        _at_most(documents, limit),
        256 if model.is_specimen else min(1024, model.checkpoint.config.get("max_position_embeddings", 1024)),
    )

    def work(method: str) -> dict[str, Any]:
        import torch

        from tameshi.kv.measures import rank_correlations

        filters = methods.filters(method)
        batches = (torch.from_numpy(tokens).to(model.device) for tokens in methods.reading.documents(count, length))
        correlations = torch.cat([rank_correlations(model.model, tokens, filters.filters) for tokens in batches])
        places = list(np.ndindex(tuple(correlations.shape)))
        names = _documents(seed, count)
        ids = [f"{names[document]}, head {layer}.{head}" for document, layer, head in places]
        groups = [names[document] for document, _, _ in places]
        found: dict[str, Any] = {"rank_correlation": Items(correlations.flatten().tolist(), ids, groups)}
        if filters.diagnostics is not None:
            for name in ("energy", "align", "majority"):
                found[name] = getattr(filters.diagnostics, name).flatten().tolist()
        return found

    for method in ("q-filters", "q-filters (mean)", *CONTROLS):
        yield measure(method, partial(work, method))


def _documents(seed: int, count: int) -> list[str]:
    """Every seed has documents of its own."""
    return [f"document {seed}.{i}" for i in range(count)]


def _fitting(model: CausalLM, length: int, option: str) -> None:
    longest = model.checkpoint.config.get("max_position_embeddings", length)
    if length > longest:
        raise ValueError(f"{model.name} reads at most {longest:,} tokens, but {length:,} are wanted; lower {option}")


def _at_most(count: int, limit: int | None) -> int:
    count = count if limit is None else min(count, limit)
    if count < 1:
        raise ValueError(f"there must be at least 1 document, got {count}")
    return count


@dataclass(frozen=True, eq=False)
class _Methods:
    """The methods of one seed: filters fitted on its calibration texts, and policies by their names in the rows."""

    reading: Reading

    @cached_property
    def fitted(self) -> QFilters:
        """The paper's filters."""
        return self._fit("svd")

    @cached_property
    def fitted_by_mean(self) -> QFilters:
        """Those of the other estimator."""
        return self._fit("mean")

    def _fit(self, estimator: Literal["svd", "mean"]) -> QFilters:
        import torch

        from tameshi.kv import QFilters, QFiltersWarning

        calibration = torch.from_numpy(self.reading.calibration())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QFiltersWarning)  # what it would say is measured by `geometry`
            return QFilters.fit(self.reading.model.model, calibration, estimator=estimator, seed=self.reading.seed)

    def filters(self, method: str) -> QFilters:
        """The filters of a method that scores with some."""
        import torch

        if method == "random":
            generator = torch.Generator().manual_seed(self.reading.seed)
            drawn = torch.randn(self.fitted.filters.shape, generator=generator)
            return replace(self.fitted, filters=drawn, diagnostics=None)
        if method == "sign flipped":
            return replace(self.fitted, filters=-self.fitted.filters, diagnostics=None)
        return self.fitted_by_mean if method == "q-filters (mean)" else self.fitted

    def policy(self, method: str, *, max_length: int, window_length: int) -> Policy:
        """A method by its name in the rows."""
        from tameshi import kv

        budget: Any = {"max_length": max_length, "window_length": window_length}
        sinks = min(4, max_length - window_length)
        match method:
            case "full":
                return kv.FullPolicy()
            case "streaming-llm":
                return kv.StreamingLLMPolicy(**budget, sinks=sinks)
            case "streaming-llm (rerotated)":
                return kv.StreamingLLMPolicy(**budget, sinks=sinks, rerotate=True)
            case "key-norm":
                return kv.KeyNormPolicy(**budget)
            case "snapkv":
                return kv.SnapKVPolicy(**budget)
            case "h2o":
                return kv.H2OPolicy(**budget)
            case "expected attention":
                return kv.ExpectedAttentionPolicy(**budget, sinks=sinks)
            case "random":
                return kv.RandomPolicy(**budget, seed=self.reading.seed)
            case _:
                return kv.QFiltersPolicy(self.filters(method), **budget)


# ---- apply


@apply("q-filters")
def fit_filters(
    *, model: CausalLM, texts: Texts, output: Path, estimator: Literal["svd", "mean"] = "svd", seed: int = 0
) -> dict[str, Any]:
    """Fit the filters of a model and save them: `QFilters.load(FILE)` in your code.

    Args:
        model: folder of a causal language model.
        texts: what it is calibrated on; some twenty documents like those it will read.
        output: the safetensors file to write.
        estimator: svd as in the paper, or mean, which needs no vote about the sign.
    """
    from tameshi.kv import QFilters

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        filters = QFilters.fit(
            model.model, tokenizer=model.tokenizer, texts=texts.texts, estimator=estimator, seed=seed
        )
    filters.save(output)
    assert filters.diagnostics is not None
    return {
        "file": str(output),
        "filters": list(filters.filters.shape),
        "mean energy": round(float(filters.diagnostics.energy.mean()), 3),
        "least majority": round(float(filters.diagnostics.majority.min()), 3),
        "warnings": [str(one.message) for one in told],
    }


# ---- figures

STYLES: Mapping[str, Mapping[str, Any]] = {
    "full": {"color": "black", "linestyle": "--"},
    "q-filters": {"color": "#d1495b", "linewidth": 2.5},
    "q-filters (mean)": {"color": "#d1495b", "linestyle": ":"},
    "snapkv": {"color": "#00798c"},
    "h2o": {"color": "#66a182"},
    "expected attention": {"color": "#8d6a9f"},
    "streaming-llm": {"color": "#edae49"},
    "streaming-llm (rerotated)": {"color": "#edae49", "linestyle": ":"},
    "key-norm": {"color": "#2e4057"},
    "random": {"color": "grey"},
    "sign flipped": {"color": "grey", "linestyle": ":"},
}


@figure("q-filters", en="Perplexity under a cap on the cache", ja="キャッシュの上限とパープレキシティ")
def perplexity_over_cap(rows: Rows) -> Any:
    """One line a method, on logarithmic axes."""
    drawn = _lines(rows.where(check="streaming"), "cap", "nll", "cap (entries per head)", "perplexity", np.exp)
    if drawn is not None:
        drawn.axes[0].set_yscale("log")
    return drawn


@figure("q-filters", en="Needle kept after compression", ja="圧縮後に保たれた情報の割合")
def kept_over_compression(rows: Rows) -> Any:
    """One line a method, over all prompt lengths."""
    return _lines(
        rows.where({"question": "after"}, check="needle"), "compression", "needle_kept", "compression", "kept"
    )


@figure("q-filters", en="Needle kept, question known (caveat)", ja="質問が既知の場合に保たれた情報の割合（参考）")
def kept_with_the_question_known(rows: Rows) -> Any:
    """One line a method."""
    return _lines(
        rows.where({"question": "before"}, check="needle"), "compression", "needle_kept", "compression", "kept"
    )


def _lines(rows: Rows, along: str, metric: str, across: str, up: str, shown: Callable[[float], float] = float) -> Any:
    from matplotlib.figure import Figure

    levels = rows.levels(along)
    if not levels:
        return None
    made = Figure(figsize=(7, 4.5), layout="constrained")
    axes = made.subplots()
    for method, style in STYLES.items():
        points = [
            rows.where({} if method == "full" else {along: level}, method=method, metric=metric) for level in levels
        ]
        if all(points):
            axes.plot(
                [float(level) for level in levels], [shown(p.mean(metric)) for p in points], label=method, **style
            )
    axes.set_xscale("log", base=2)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return made
