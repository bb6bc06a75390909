from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, Transcript, read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes

from tameshi.evaluation.accounting import Estimate, Ledger, TooManyCalls
from tameshi.evaluation.asking import SPENT, Asker, wait
from tameshi.evaluation.messages import Answer, Message, Unanswered, user
from tameshi.evaluation.provider import live_model, rule_model, script_model
from tameshi.evaluation.solving import answered, unscored, within
from tameshi.evaluation.unlogged import WouldBeLogged


class HTTPError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("sk-secret-key-in-the-message")
        self.status_code = status


class Flaky:
    """Fails as told, then answers."""

    def __init__(self, *failures: BaseException | str) -> None:
        self.failures, self.calls = list(failures), 0

    async def __call__(self, messages: Sequence[Message]) -> str:
        self.calls += 1
        failure = self.failures.pop(0) if self.failures else "here I am"
        if isinstance(failure, BaseException):
            raise failure
        return failure


def ask(model: Any, **settings: Any) -> Answer | Unanswered:
    return wait(Asker(model, pause=0, **settings)([user("hello")]))


@pytest.mark.parametrize(
    "failure", [HTTPError(429), HTTPError(500), HTTPError(503), ConnectionError("half a stream"), TimeoutError(), "  "]
)
def test_what_may_pass_is_tried_again(failure: BaseException | str) -> None:
    flaky = Flaky(failure)
    assert ask(flaky) == Answer("here I am")
    assert flaky.calls == 2


def test_what_will_not_pass_is_not_tried_again() -> None:
    flaky = Flaky(HTTPError(401))
    assert ask(flaky) == Unanswered("the endpoint answered with HTTP status 401")
    assert flaky.calls == 1


def test_an_endpoint_that_never_answers_in_time_gives_a_reason() -> None:
    async def slow(messages: Sequence[Message]) -> str:
        await asyncio.sleep(60)
        return "too late"

    assert ask(slow, attempts=2, timeout=0.01) == Unanswered("no answer within 0.01 seconds")


def test_an_empty_answer_is_no_answer() -> None:
    assert ask(Flaky("", "", "")) == Unanswered("the answer was empty")


def test_the_endpoints_own_words_stay_out_of_the_reason() -> None:
    answer = ask(Flaky(*[HTTPError(500)] * 3))
    assert isinstance(answer, Unanswered)
    assert "secret" not in answer.reason


def test_every_attempt_counts_and_none_is_made_beyond_the_budget() -> None:
    ledger, flaky = Ledger(max_calls=4), Flaky(*[HTTPError(500)] * 99)
    asker = Asker(flaky, ledger=ledger, pause=0)
    answers = wait(asker.all([[user("a")], [user("b")], [user("c")]]))
    assert flaky.calls == 4
    assert ledger.calls["target"] == 4
    assert ledger.left == 0
    assert all(isinstance(a, Unanswered) for a in answers)
    assert ask(flaky, ledger=ledger) == Unanswered(SPENT)


def test_roles_share_the_budget_and_are_counted_apart() -> None:
    ledger = Ledger(max_calls=3)
    for role in ("target", "target", "judge", "judge"):
        ask(Flaky(), role=role, ledger=ledger)
    assert dict(ledger.calls) == {"target": 2, "judge": 1}
    assert str(ledger).startswith("3 of 3 calls (judge 1, target 2)")


def test_an_estimate_above_the_budget_stops_before_the_first_call() -> None:
    assert Estimate({"target": 75}).check(75).total == 75
    with pytest.raises(TooManyCalls, match=r"at most 150 calls .75 target, 75 judge., but --max-calls allows 100"):
        Estimate({"target": 75, "judge": 75}).check(100)
    with pytest.raises(ValueError, match="max_calls must be at least 0"):
        Ledger(-1)
    with pytest.raises(ValueError, match="attempts must be at least 1"):
        Asker(Flaky(), attempts=0)


def test_the_shares_of_the_roles_stay_within_the_budget_together() -> None:
    told = Estimate({"target": 10, "judge": 23})
    assert told.shares(100) == {"target": 30, "judge": 69}
    assert told.shares(None) == {"target": None, "judge": None}
    assert Estimate({"target": 0}).shares(7) == {"target": 0}


def test_answers_come_in_the_order_of_the_questions_and_together() -> None:
    under_way = most = 0

    async def echo(messages: Sequence[Message]) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return messages[-1]["content"]

    answers = wait(Asker(echo, connections=5).all([[user(str(i))] for i in range(20)]))
    assert [a.text for a in answers if isinstance(a, Answer)] == [str(i) for i in range(20)]
    assert most == 5


def test_asking_works_where_a_loop_is_already_running() -> None:
    async def in_a_notebook() -> Answer | Unanswered:
        return ask(Flaky())

    assert asyncio.run(in_a_notebook()) == Answer("here I am")


def test_a_rule_model_gives_the_same_answers_in_whatever_order_it_is_asked() -> None:
    def dice(messages: Sequence[Message], rng: random.Random) -> str:
        return f"{messages[-1]['content']} {rng.random()}"

    def answers(order: list[str]) -> list[str]:
        asker = Asker(rule_model(dice, seed=5))
        return sorted(a.text for a in wait(asker.all([[user(q)] for q in order])) if isinstance(a, Answer))

    assert len(answers(["a", "b", "a", "c"])) == 4
    assert answers(["a", "b", "a", "c"]) == answers(["c", "a", "a", "b"])
    assert len(set(answers(["a", "a", "a"]))) == 3


def test_usage_is_always_filled_in() -> None:
    output = wait(rule_model(lambda m, rng: "four").generate("eight by"))
    assert output.usage is not None
    assert (output.usage.input_tokens, output.usage.output_tokens, output.usage.total_tokens) == (2, 1, 3)


def test_a_script_answers_in_its_order_and_then_no_more() -> None:
    asker = Asker(script_model(["one", "two"]), attempts=1)
    assert [wait(asker([user("?")])) for _ in range(3)] == [
        Answer("one", tokens=2),
        Answer("two", tokens=2),
        Unanswered("the endpoint failed with RuntimeError"),
    ]


def test_a_model_in_memory_answers_greedily_the_same_every_time(tiny_chat: Path) -> None:
    from tameshi.doors import models

    model = live_model(*models.causal_lm(models.look_at(tiny_chat)))
    first, second = (ask(model, max_tokens=5) for _ in range(2))
    assert isinstance(first, Answer)
    assert first == second
    folder = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    assert ask(folder, max_tokens=5) == first


def test_sampling_follows_its_seed_and_leaves_torchs_generator_alone(tiny_chat: Path) -> None:
    import torch

    model = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    before = torch.random.get_rng_state()
    texts = [ask(model, max_tokens=8, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_private_question_leaves_nothing_in_the_log_and_an_open_one_does(tmp_path: Path) -> None:
    from inspect_ai.solver import Generate, TaskState, solver

    @solver
    def one_question(private: bool) -> Any:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            await Asker(get_model(), private=private)([user("the walnut is in the drawer")])
            return state

        return solve

    for private in (True, False):
        task = Task(dataset=[Sample(input="x", target="x")], solver=one_question(private), scorer=includes())
        (log,) = eval(task, model=rule_model(lambda m, rng: "a walnut"), log_dir=str(tmp_path / str(private)))
        assert log.status == "success"
        assert ("walnut" in read_eval_log(log.location).model_dump_json()) is not private


def one_private_question(model: Any, log_dir: Path, **settings: Any) -> EvalLog:
    from inspect_ai.solver import Generate, TaskState, solver

    @solver
    def asking() -> Any:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            await Asker(get_model(), private=True)([user("the walnut is in the drawer")])
            return state

        return solve

    task = Task(dataset=[Sample(input="x", target="x")], solver=asking(), scorer=includes())
    (log,) = eval(task, model=model, log_dir=str(log_dir), **settings)
    assert log.status == "success"
    return log


def test_a_private_question_has_the_settings_of_the_run_and_its_usage_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def generate(self: Any, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        seen.append((config.temperature, config.max_tokens))
        output = ModelOutput.from_content("rule", "a walnut")
        output.usage = ModelUsage(input_tokens=2, output_tokens=1, total_tokens=3)
        return output

    model = rule_model(lambda m, rng: "")
    monkeypatch.setattr(type(model.api), "generate", generate)
    log = one_private_question(model, tmp_path, temperature=0.25, max_tokens=77)
    assert seen == [(0.25, 77)]
    assert [usage.total_tokens for usage in log.stats.model_usage.values()] == [3]


def test_a_private_question_stays_out_of_the_cache_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    one_private_question(rule_model(lambda m, rng: "a walnut"), tmp_path / "logs", cache=True)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_nothing_private_is_asked_where_it_would_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    always = Transcript()
    monkeypatch.setattr("inspect_ai.log.transcript", lambda: always)
    with pytest.raises(WouldBeLogged, match="would log a private exchange"):
        ask(rule_model(lambda m, rng: pytest.fail("it was asked")), private=True)


def test_a_part_of_a_ledger_counts_apart_and_within_the_whole() -> None:
    whole = Ledger(max_calls=3)
    first, second = whole.part(), whole.part()
    assert [first.charge("target"), second.charge("target"), second.charge("judge")] == [True] * 3
    assert (dict(first.calls), dict(second.calls)) == ({"target": 1}, {"target": 1, "judge": 1})
    assert dict(whole.calls) == {"target": 2, "judge": 1}
    assert not first.charge("target")
    assert (first.left, whole.calls.total()) == (0, 3)
    assert ask(Flaky(), ledger=whole.part()) == Unanswered(SPENT)
    assert dict(whole.unanswered) == {SPENT: 1}


def test_a_silent_endpoint_leaves_unscored_samples_and_no_calls_beyond_the_budget(tmp_path: Path) -> None:
    from inspect_ai.scorer import Score, Target, accuracy, scorer
    from inspect_ai.solver import TaskState

    asked = 0

    def fails(messages: Sequence[Message], rng: random.Random) -> str:
        nonlocal asked
        asked += 1
        raise HTTPError(500)

    @scorer(metrics=[accuracy()])
    def strict() -> Any:
        async def score(state: TaskState, target: Target) -> Score:
            return unscored(state) or Score(value=1)

        return score

    ledger = within(9, target=3)
    task = Task(
        dataset=[Sample(input=str(i), target="x") for i in range(4)],
        solver=answered(ledger, pause=0),
        scorer=strict(),
    )
    (log,) = eval(task, model=rule_model(fails), log_dir=str(tmp_path))
    assert log.status == "success"
    assert asked == 9
    assert log.results is not None
    assert log.results.scores[0].unscored_samples == 4


def test_no_answer_comes_out_of_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    numbered = iter(range(9))
    model = rule_model(lambda messages, rng: f"answer {next(numbered)}", cache=True)
    asker = Asker(model, pause=0)
    told = [wait(asker([user("hello")])) for _ in range(3)]
    assert [t.text for t in told if isinstance(t, Answer)] == ["answer 0", "answer 1", "answer 2"]
    assert asker.ledger.calls.total() == 3
