"""The commands of the README and of the wing's page are typed as they stand, with a scripted model for the endpoint."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from inspect_ai import eval
from typer.testing import CliRunner

from tameshi.bench.shelf import built
from tameshi.catalogue import paper
from tameshi.cli import app
from tameshi.evaluation.active_critic.marked import marked_texts
from tameshi.evaluation.ecom_qa import make_shop, to_record
from tests.evaluation.tiny import save_tiny_chat

ROOT = Path(__file__).parents[2]
ANSWERS = {
    "siege": "firm-vault",
    "cot-faithfulness": "coin",
    "implicit-bias": "leaning-75",
    "active-critic": "marker-judge",
    "chinese_ecom_qa": "shopper-50",
    "finereason_sc": "always-yes",
}
FEWER = {"siege": ["--runs", "1"], "cot-faithfulness": ["--pairs", "2", "--k", "1"], "implicit-bias": ["--n", "1"]}


def commands(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    section = text.split("## Question a language model")[1].split("\n## ")[0] if file == "README.md" else text
    found = re.findall(
        r"^(?:tameshi apply|inspect eval) [^#\n]*|`((?:tameshi apply|inspect eval) [^`]*)`", section, re.M
    )
    if file == "README.md":
        found = re.findall(r"^((?:tameshi apply|inspect eval) [^#\n]*)", section, re.M)
    return [one.strip() for one in found if one]


README, PAGE = commands("README.md"), commands("docs/wings/evaluation.md")


@pytest.mark.filterwarnings("ignore:.*not the public file", "ignore:.*share a family")
@pytest.mark.parametrize("command", README)
def test_a_command_of_the_readme_runs_as_it_stands(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-policy.yaml").write_text("name: codes\nrule: No codes.\nfacts: [PLUM-7731]\nsystem: PLUM-7731 is secret\n")
    sets = {"x": ["valtor", "brenor"], "y": ["sanil", "petril"], "a": ["hammer", "saw"], "b": ["pot", "pan"]}
    Path("career.yaml").write_text(json.dumps({"name": "career"} | sets))
    Path("ChineseEcomQA.jsonl").write_text("\n".join(json.dumps(to_record(i)) for i in make_shop(0, per_task=1).items))
    Path("probe.txt").write_text("One text of some words.\n\nAnother text of other words.")
    with Path("rated.csv").open("w", newline="") as opened:
        examples, scores = marked_texts(0, 12)
        rows = [(e.source, e.output, s) for e, s in zip(examples, scores, strict=True)]
        csv.writer(opened).writerows([("source", "output", "score"), *rows])
    save_tiny_chat(tmp_path / "my-model")
    name = next((n for n in ANSWERS if n in command), "")
    program, verb, *words = shlex.split(re.sub(r"openai/[\w-]+", f"tameshi/{ANSWERS.get(name)}", command))
    if program == "tameshi":
        done = CliRunner().invoke(app, [verb, *words, *FEWER.get(name, [])])
        assert done.exit_code == 0, done.output
    else:
        given = dict(word.split("=") for word in words if "=" in word)
        (log,) = eval(words[0], task_args=given, model=words[words.index("--model") + 1], limit=1, log_realtime=False)
        assert log.status == "success"


def test_all_seven_stand_in_the_readme_and_on_the_page_of_the_wing() -> None:
    wing = [slug for slug in built() if paper(slug).wing == "evaluation"]
    for told in (README, PAGE):
        assert all(any(slug in one.replace("_", "-") for one in told) for slug in wing)
