"""Every claim that is out of reach here names a command; each command is typed, with a scripted model for the endpoint."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tameshi.bench.run import plan
from tameshi.bench.shelf import built, stand
from tameshi.bench.signature import parameters
from tameshi.catalogue import paper
from tameshi.cli import app
from tameshi.evaluation.active_critic.marked import marked_texts
from tameshi.evaluation.ecom_qa import make_shop, to_record
from tameshi.nouns import OutOfReach, Rule
from tameshi.nouns.rules import AllOf

pytestmark = pytest.mark.filterwarnings("ignore:.*not the public file")
WING = [slug for slug in built() if paper(slug).wing == "evaluation"]
ANSWERS = {  # rules that give each paper's questions answers that can be read, for one endpoint after the other
    "active-critic": ["marker-judge"],
    "chinese-ecom-qa": ["shopper-50", "shopper-75"],
    "cot-faithfulness": ["truthful", "coin", "always-yes", "leaning-50", "leaning-75"],
    "finereason": ["always-yes", "coin"],
    "implicit-bias": ["leaning-75", "leaning-50"],
}
FEW = {"active-critic": "24", "chinese-ecom-qa": "2", "cot-faithfulness": "5", "finereason": "2", "implicit-bias": "4"}


def out_of_reach(rule: Rule) -> Iterator[OutOfReach]:
    if isinstance(rule, OutOfReach):
        yield rule
    elif isinstance(rule, AllOf):
        for part in rule.rules:
            yield from out_of_reach(part)


def check_of(rule: Rule | None) -> str | None:
    """The check whose rows a rule reads, or None where the paper has one alone."""
    assert rule is not None, "a rule must stand ready for the rows"
    return check_of(rule.rules[0]) if isinstance(rule, AllOf) else rule.check


def scripted(slug: str, option: str) -> str:
    """The option with rules in place of endpoints."""
    names = iter(ANSWERS[slug])
    return re.sub(r"openai/[\w-]+", lambda found: f"tameshi/{next(names)}", option)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the commands name, in the folder where they are typed."""
    monkeypatch.chdir(tmp_path)
    shop = make_shop(0, per_task=30).items
    Path("ChineseEcomQA.jsonl").write_text("\n".join(json.dumps(to_record(i)) for i in shop), encoding="utf-8")
    examples, scores = marked_texts(0, 24)
    with Path("rated.csv").open("w", newline="") as opened:
        rows = [(e.source, e.output, s) for e, s in zip(examples, scores, strict=True)]
        csv.writer(opened).writerows([("source", "output", "score"), *rows])
    Path("ratings.csv").write_text("rating\n4\n5\n3\n")
    sets = {"x": ["valtor", "brenor"], "y": ["sanil", "petril"], "a": ["hammer", "saw"], "b": ["pot", "pan"]}
    Path("career.yaml").write_text(json.dumps({"name": "career", "statements": ["Valtor saws."]} | sets))


TOLD = [(slug, told) for slug in WING for rule in stand(slug).rules for told in out_of_reach(rule)]
CLAIMS = [(slug, told) for slug, told in TOLD if told.option.startswith("--")]


@pytest.mark.parametrize(("slug", "told"), CLAIMS, ids=[f"{slug} {told.claim}" for slug, told in CLAIMS])
def test_the_command_that_brings_a_claim_into_reach_does(slug: str, told: OutOfReach, files: None) -> None:
    typed = scripted(slug, told.option)
    only = check_of(told.then)
    few = ["--limit", FEW[slug], "--seeds", "1", "--json", *(["--only", only] if only else [])]
    done = CliRunner().invoke(app, ["check", slug, *shlex.split(typed), *few])
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)
    assert result["verdicts"][told.claim]["outcome"] != "out of reach here"


@pytest.mark.parametrize(("slug", "told"), CLAIMS, ids=[f"{slug} {told.claim}" for slug, told in CLAIMS])
def test_the_same_command_may_make_all_the_calls_that_it_needs(slug: str, told: OutOfReach, files: None) -> None:
    only = check_of(told.then)
    options: dict[str, Any] = {}
    for parameter in (p for one in stand(slug).checks if only in (None, one.name) for p in parameters(one.function)):
        given = re.findall(rf"{parameter.option}(?: (?!--)(\S+)|(?= |$))", scripted(slug, told.option))
        if given:
            options[parameter.name] = parameter.read([text or "true" for text in given])
    assert plan(slug, options, only=only).units > 0  # nothing is asked yet; a run that could cost more is refused here


def test_every_paper_with_such_a_claim_is_typed_and_a_recipe_is_there() -> None:
    assert {slug for slug, _ in CLAIMS} == set(ANSWERS) == set(FEW)
    recipes = [told.option.split()[:2] for _, told in TOLD if not told.option.startswith("--")]
    assert recipes
    assert all(word == "python" and (Path(__file__).parents[2] / file).is_file() for word, file in recipes)
