"""Any two results: runs of ours, Inspect logs and lm-eval samples, made here by those libraries on in-memory models."""

from __future__ import annotations

import gc
import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from tameshi.bench.compare import compare
from tameshi.bench.exchange import export_run
from tameshi.bench.ranking import rank
from tameshi.bench.sources import NotComparable, read
from tameshi.bench.store import Store
from tameshi.nouns import Items, Missing, Row

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject")  # Inspect leaves its streams open

QUESTIONS = 20
GOOD, POOR = frozenset(range(15)), frozenset(range(4, 10))  # what each model knows: 11 questions tell them apart


# Runs of ours


def stored(*rows: Row, **subjects: object) -> str:
    with Store() as store:
        run = store.begin("q-filters", identity="x", facts={"subjects": subjects})
        for row in rows:
            store.commit(run.id, row)
        store.finish(run.id, {})
        return run.id


def row(method: str, values: object, *, seed: int = 0, check: str = "read", metric: str = "nll", **at: object) -> Row:
    return Row(check, method, at, seed, values={metric: Items(values)})


BASE = np.random.default_rng(0).normal(3, 1, 40)


@pytest.fixture
def two_runs() -> tuple[str, str]:
    noise = np.random.default_rng(1).normal(0, 0.3, (4, 40))
    first = stored(*(row(m, BASE + g + n, cap=64) for m, g, n in (("new", -0.5, noise[0]), ("old", 0, noise[1]))))
    second = stored(*(row(m, BASE + g + n, cap=64) for m, g, n in (("new", -0.1, noise[2]), ("old", 0, noise[3]))))
    return first, second


def test_one_method_in_two_runs(two_runs):
    found = compare(*two_runs, method="new")
    [line] = found.lines
    assert line.told == "lower"
    assert (line.name, line.n, line.unit) == ("nll (cap = 64)", 40, "items")
    assert line.difference == pytest.approx(line.first - line.second)
    assert line.wins + line.ties + line.losses == 40
    assert f"new ({two_runs[0]}) is lower by 0.39" in found.sentence()
    assert "低い" in found.sentence("ja")


def test_two_methods_of_one_run(two_runs):
    found = compare(two_runs[0], two_runs[0], method="new", against="old")
    assert (found.first, found.second) == ("new", "old")
    assert found.lines[0].told == "lower"


def test_the_answer_turns_with_the_sides(two_runs):
    forth = compare(*two_runs, method="new").lines[0]
    back = compare(*reversed(two_runs), method="new").lines[0]
    assert back.told == "higher"
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]))
    assert back.p == pytest.approx(forth.p, abs=0.002)


def test_what_is_the_same_cannot_be_told_apart_and_says_what_would_be_missed(two_runs):
    found = compare(*two_runs, method="old")
    assert found.lines[0].told == "not told apart"
    assert "cannot be told apart" in found.sentence()
    assert "would be missed half the time" in found.sentence()


def test_several_measures_are_corrected_together():
    noise = np.random.default_rng(2).normal(0, 1, (6, 40))
    first = stored(
        *(row("m", BASE + noise[i], cap=i) for i in range(3)), row("m", BASE, metric="bytes", cap=0, check="b")
    )
    second = stored(*(row("m", BASE + 2 * (i == 0) + noise[i + 3], cap=i) for i in range(3)))
    found = compare(first, second)
    assert [line.told for line in found.lines] == ["lower", "not told apart", "not told apart"]
    assert found.lines[0].p_holm == pytest.approx(3 * found.lines[0].p)
    assert "Of 3 measures, after Holm" in found.sentence()
    assert compare(first, second, metric="nll").lines == found.lines


def test_an_exported_run_is_as_good_as_a_stored_one(two_runs, tmp_path):
    with Store() as store:
        file = export_run(store, two_runs[1], tmp_path / "run.jsonl")
    known = compare(*two_runs, method="new")
    assert compare(two_runs[0], file, method="new").lines == known.lines


def test_seeds_pair_with_seeds_and_missing_items_are_counted():
    first = stored(*(row("m", [Missing("cut"), *BASE[1:]], seed=s) for s in range(2)))
    noise = np.random.default_rng(1).normal(0, 0.3, (3, 40))
    second = stored(*(row("m", BASE + 1 + noise[s], seed=s) for s in range(3)))
    line = compare(first, second).lines[0]
    assert line.wins + line.ties + line.losses == 78
    assert line.told == "lower"
    assert "2 for a missing value (cut)" in line.notes["en"]


def test_three_seeds_also_have_a_probability_of_improvement():
    noise = np.random.default_rng(1).normal(0, 0.3, (6, 40))
    first = stored(*(row("m", BASE + 1 + noise[s], seed=s) for s in range(3)))
    second = stored(*(row("m", BASE + noise[s + 3], seed=s) for s in range(3)))
    found = compare(first, second)
    assert found.lines[0].improvement == pytest.approx((1, 1, 1))
    assert "with probability 100 %" in found.sentence()
    assert json.loads(json.dumps(found.to_json()))["lines"][0]["told"] == "higher"


def test_nan_is_not_judged():
    first, second = stored(row("m", [float("nan"), *BASE[1:]])), stored(row("m", BASE))
    line = compare(first, second).lines[0]
    assert (line.told, line.interval, line.p) == ("cannot be judged", None, None)
    assert "not finite" in compare(first, second).sentence()


def test_one_item_is_not_judged():
    line = compare(stored(row("m", [1.0])), stored(row("m", [2.0]))).lines[0]
    assert line.told == "cannot be judged"


@pytest.mark.parametrize(
    ("first", "second", "options", "reason"),
    [
        ([row("m", BASE), row("n", BASE)], [row("m", BASE)], {}, r"several methods \(m, n\); name one with --method"),
        ([row("m", BASE)], [row("m", BASE)], {"method": "x"}, "holds no method x; it holds m"),
        ([row("m", BASE)], [row("m", BASE, metric="f1")], {}, "no metric is measured on both sides"),
        ([row("m", BASE)], [row("m", BASE)], {"metric": "f1"}, "f1 is not measured on both sides"),
        ([row("m", BASE)], [row("m", BASE, check="other")], {}, "different tasks: read and other"),
        ([row("m", BASE)], [row("m", BASE, seed=5)], {}, "no item was measured on both sides"),
        ([row("m", BASE, cap=1)], [row("m", BASE, cap=2)], {}, "no item was measured on both sides"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_paired_is_refused_with_the_reason(first, second, options, reason):
    with pytest.raises(NotComparable, match=reason):
        compare(stored(*first), stored(*second), **options)


def test_items_of_different_data_are_not_paired_but_those_of_different_models_are():
    houses, cars = ({"name": [name], "sha256": [name]} for name in ("houses.csv", "cars.csv"))
    one = stored(row("m", BASE), data=houses, model={"name": "a", "sha256": "1"})
    with pytest.raises(NotComparable, match=r"was given houses.csv and .* cars.csv; items of different data"):
        compare(one, stored(row("m", BASE), data=cars))
    found = compare(one, stored(row("m", BASE + 1), data=houses, model={"name": "b", "sha256": "2"}))
    assert found.lines[0].n == 40


def test_a_method_is_not_compared_with_itself(two_runs):
    with pytest.raises(NotComparable, match="compared with itself"):
        compare(two_runs[0], two_runs[0], method="new")


def test_what_does_not_exist_is_named(tmp_path):
    with pytest.raises(NotComparable, match="does not exist"):
        read(tmp_path / "gone.eval")
    stored(row("m", BASE))
    with pytest.raises(NotComparable, match="there is no run 'nothing'"):
        read("nothing")


# Logs of others


@pytest.fixture(scope="module")
def inspect_logs(tmp_path_factory) -> dict[str, Path]:
    """An evaluation of 20 samples by Inspect, twice each, of two models that answer from memory."""
    from inspect_ai import Task
    from inspect_ai import eval as evaluate
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    folder = tmp_path_factory.mktemp("inspect")

    def run(knows: frozenset[int], *, form: str = "eval", epochs: int = 1, ask: str = "Say") -> Path:
        answers = [ModelOutput.from_content("mockllm/model", str(i) if i in knows else "?") for i in range(QUESTIONS)]
        for answer in answers:
            answer.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        samples = [Sample(input=f"{ask} {i}", target=str(i), id=f"q{i}") for i in range(QUESTIONS)]
        model = get_model("mockllm/model", custom_outputs=answers * epochs, memoize=False)
        task = Task(dataset=samples, solver=generate(), scorer=match(), name="say")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations among Inspect's own libraries
            [log] = evaluate(
                task, model=model, log_dir=str(folder), log_format=form, display="none", max_samples=1, epochs=epochs
            )
            gc.collect()
        return Path(log.location)

    return {
        "good": run(GOOD),
        "poor": run(POOR, form="json"),
        "others": run(GOOD, ask="Write"),
        "good twice": run(GOOD, epochs=2),
        "poor twice": run(POOR, epochs=2),
    }


def known_p(first: Iterable[int], second: Iterable[int]) -> float:
    first, second = set(first), set(second)
    return stats.binomtest(len(first - second), len(first ^ second)).pvalue


def test_two_inspect_logs(inspect_logs):
    found = compare(inspect_logs["good"], inspect_logs["poor"])
    [line] = found.lines
    assert (line.check, line.metric, line.n) == ("say", "match", QUESTIONS)
    assert (line.first, line.second) == (15 / 20, 6 / 20)
    assert (line.wins, line.ties, line.losses) == (9, 11, 0)
    assert line.p == pytest.approx(known_p(GOOD, POOR), abs=1e-12)
    assert line.told == "higher"
    assert "75.0 %" in found.sentence()
    assert "45.0 points" in found.sentence()


def test_epochs_of_inspect_pair_with_epochs(inspect_logs):
    line = compare(inspect_logs["good twice"], inspect_logs["poor twice"]).lines[0]
    assert (line.first, line.second) == (15 / 20, 6 / 20)
    assert line.wins == 18
    assert line.told == "higher"


def test_other_questions_under_the_same_ids_are_refused(inspect_logs):
    with pytest.raises(NotComparable, match="item q0 of say is not the same question on both sides"):
        compare(inspect_logs["good"], inspect_logs["others"])


def test_what_is_no_inspect_log_is_refused(tmp_path):
    (tmp_path / "no.json").write_text('{"a": 1}')
    with pytest.raises(NotComparable, match="is not an Inspect log"):
        read(tmp_path / "no.json")


@pytest.fixture(scope="module")
def lm_eval_logs(tmp_path_factory) -> dict[str, Path]:
    """An evaluation of 20 questions by lm-evaluation-harness of two models that answer from memory."""
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.loggers import EvaluationTracker

    class Memory(LM):
        def __init__(self, knows: frozenset[int]) -> None:
            super().__init__()
            self.knows = knows

        def generate_until(self, requests, **_):
            asked = [int(request.args[0].split()[-1]) for request in requests]
            return [str(i) if i in self.knows else "?" for i in asked]

        def loglikelihood(self, requests, **_):
            raise NotImplementedError

        def loglikelihood_rolling(self, requests, **_):
            raise NotImplementedError

    def questions(**_: object) -> dict[str, datasets.Dataset]:
        return {"test": datasets.Dataset.from_list([{"q": f"say {i}", "a": str(i)} for i in range(QUESTIONS)])}

    def run(name: str, knows: frozenset[int]) -> Path:
        task = ConfigurableTask(
            config={
                "task": "say_it",
                "custom_dataset": questions,
                "test_split": "test",
                "doc_to_text": "{{q}}",
                "doc_to_target": "{{a}}",
                "output_type": "generate_until",
                "generation_kwargs": {"until": ["\n"]},
                "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
            }
        )
        folder = tmp_path_factory.mktemp(name)
        tracker = EvaluationTracker(output_path=str(folder))
        results = simple_evaluate(Memory(knows), tasks=[task], bootstrap_iters=0, evaluation_tracker=tracker)
        samples = results.pop("samples")
        tracker.save_results_aggregated(results, samples)
        tracker.save_results_samples("say_it", samples["say_it"])
        [written] = folder.rglob("samples_say_it_*.jsonl")
        return written

    return {"good": run("good", GOOD), "poor": run("poor", POOR)}


def test_two_lm_eval_sample_logs(lm_eval_logs):
    found = compare(lm_eval_logs["good"], lm_eval_logs["poor"])
    [line] = found.lines
    assert (line.check, line.metric, line.n) == ("say_it", "exact_match", QUESTIONS)
    assert (line.first, line.second) == (15 / 20, 6 / 20)
    assert line.p == pytest.approx(known_p(GOOD, POOR), abs=1e-12)
    assert compare(lm_eval_logs["good"].parent, lm_eval_logs["poor"].parent).lines == found.lines


def test_two_models_of_one_name_are_told_apart_by_their_place(lm_eval_logs, tmp_path):
    for place in ("one", "other"):
        (tmp_path / place / "model").mkdir(parents=True)
        text = lm_eval_logs["good"].read_text()
        (tmp_path / place / "model" / "samples_say_2026-01-01.jsonl").write_text(text)
    found = compare(tmp_path / "one" / "model", tmp_path / "other" / "model")
    assert found.first == f"model ({tmp_path / 'one'})"
    assert found.lines[0].ties == QUESTIONS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense\n", "line 1 of .* is not JSON"),
        ("[1]\n", "line 1 of .* is not a JSON object"),
        ('{"question": 1}\n', "has no doc_id and metrics"),
        ('{"doc_id": 1, "metrics": ["acc"], "acc": 1}\n' * 2, "question 1 of t stands twice"),
    ],
)
def test_what_lm_eval_did_not_write_is_refused(tmp_path, text, reason):
    (tmp_path / "samples_t_2026.jsonl").write_text(text)
    with pytest.raises(NotComparable, match=reason):
        read(tmp_path / "samples_t_2026.jsonl")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(NotComparable, match="holds no samples_"):
        read(tmp_path)


def test_filters_are_conditions_and_what_is_no_number_is_missing(tmp_path):
    lines = [
        {"doc_id": i, "metrics": ["acc"], "filter": f, "acc": "odd" if i == 0 else True}
        for f in ("strict", "loose")
        for i in range(3)
    ]
    file = tmp_path / "samples_t_2026.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    rows = read(file).rows
    assert [r.conditions["filter"] for r in rows] == ["loose", "strict"]
    assert rows[0].values["acc"].values == (Missing("the score 'odd' is not a number"), 1.0, 1.0)


# Several models


@pytest.fixture
def five_runs() -> list[str]:
    rng = np.random.default_rng(3)
    return [stored(row(f"m{i}", BASE + gain + rng.normal(0, 0.4, 40))) for i, gain in enumerate((2, 1.9, 1, 0.95, 0))]


def test_all_pairs_with_holm_and_who_cannot_be_told_apart(five_runs):
    found = rank(five_runs)
    assert found.means == tuple(sorted(found.means, reverse=True))
    assert found.groups() == [(0, 1), (2, 3)]
    assert len(found.pairs) == 10
    assert all(line.p_holm >= line.p for line in found.pairs.values())
    assert found.pairs[0, 4].told == "higher"
    assert found.sentence().endswith("8 of 10 pairs differ after Holm.")
    assert "cannot be told from it" in found.sentence()
    assert "差があるとは言えない" in found.sentence("ja")
    assert len(found.to_json()["pairs"]) == 10


def test_the_methods_of_one_run_are_ranked(two_runs):
    assert rank([two_runs[0]]).names == ("old", "new")


def test_a_ranking_is_drawn_with_a_bar_over_those_that_cannot_be_told_apart(five_runs):
    figure = rank(five_runs).figure()
    [axes] = figure.axes
    bars = [line for line in axes.lines if line.get_linewidth() > 3]
    assert len(bars) == 2
    assert len(axes.texts) == 5
    left, right = axes.get_xlim()
    assert left > right  # the highest stands left


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[row("m", BASE)]], "at least two models"),
        ([[row("m", BASE)], [row("n", BASE, metric="f1")]], "no measure is common to all"),
        ([[row("m", BASE), row("n", BASE)], [row("m", BASE)]], "holds several methods"),
        ([[row("m", BASE, cap=1), row("m", BASE, cap=2)], [row("n", BASE, cap=1), row("n", BASE, cap=2)]], "2 measures are common"),
        ([[row("m", BASE)], [row("n", BASE, seed=1)]], "share no item of read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_ranked_is_refused(rows, reason):
    with pytest.raises(NotComparable, match=reason):
        rank([stored(*some) for some in rows])


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_tables_print(two_runs, five_runs, lang):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(compare(*two_runs, method="new").table(lang))
    console.print(rank(five_runs).table(lang))
    assert "nll" in console.export_text()
