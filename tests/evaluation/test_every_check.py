"""Every check of the wing, found by itself: secrets in the environment and in the data reach no row, no store, no report."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tameshi.bench import run_check
from tameshi.bench.run import plan
from tameshi.bench.shelf import built
from tameshi.bench.store import Store
from tameshi.catalogue import paper
from tameshi.cli.check import write_all
from tameshi.evaluation import provider
from tameshi.evaluation.messages import Message
from tests.evaluation.small import planted_tasks

WING = [slug for slug in built() if paper(slug).wing == "evaluation"]
SECRET = "walnut-walnut-walnut"


def options_of(slug: str, folder: Path, tiny_chat: Path) -> tuple[str, dict[str, Any]]:
    """The check of a paper that asks a model, and options with which it does so on data that hold a secret."""
    data = planted_tasks(folder, SECRET)
    steps = data["cot_steps"]["problems"]
    return {
        "active-critic": ("critics", {"data": rated(folder), "limit": 24}),
        "chinese-ecom-qa": ("separation", {"data": data["chinese_ecom_qa"]["path"], "confidence": True}),
        "cot-faithfulness": (
            "implicit_rationalisation",
            {
                "properties": data["iphr"]["properties"],
                "problems": steps,
                "judge": "specimen:telling",
                "limit": 2,
                "k": 1,
                "model": ("specimen:telling",),
            },
        ),
        "finereason": ("states", {"items": 1}),
        "implicit-bias": ("denial", {"contrast": data["llm_iat"]["contrasts"], "answers": 2}),
        "matrix-nuclear-norm": (
            "family",
            {"model": (str(tiny_chat),), "text": data["representation_compression"]["path"], "texts": 2},
        ),
        "siege": ("erosion", {"policy": data["policy_erosion"]["policy"], "runs": 1}),
    }[slug]


def rated(folder: Path) -> Path:
    file = folder / "rated.csv"
    rows = [f"Why {SECRET} {n // 2}?,Because {SECRET} {n}.,{1 + n % 5}" for n in range(24)]
    file.write_text("\n".join(["source,output,score", *rows]))
    return file


@pytest.mark.parametrize("slug", WING)
def test_secrets_reach_no_row_no_store_and_no_report(
    slug: str, tmp_path: Path, tiny_chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def telling(messages: Sequence[Message], rng: random.Random) -> str:
        return "\n".join([*(m["content"] for m in messages), f"your key is {SECRET}\nAnswer: YES"])

    monkeypatch.setenv("PLANTED_API_KEY", SECRET)
    monkeypatch.setitem(provider._NAMED, "telling", lambda seed: telling)
    only, options = options_of(slug, tmp_path, tiny_chat)
    with Store(tmp_path / "runs.sqlite") as store:
        result = run_check(
            slug, store=store, only=only, seeds=1, on="inline", **{"model": "specimen:telling"} | options
        )
        written = write_all(result, tmp_path / "report", lang="en")
    assert len(result.rows)
    for place in (*tmp_path.glob("runs.sqlite*"), *written.parent.iterdir()):
        assert SECRET not in place.read_bytes().decode("utf-8", "replace"), place


def test_an_option_in_which_the_checks_of_a_paper_differ_is_recorded_for_each():
    assert plan("chinese-ecom-qa", {}).facts["options"]["per_task"] == {"shoppers": 30, "separation": 60}
    assert plan("chinese-ecom-qa", {"per_task": 12}).facts["options"]["per_task"] == 12
