"""The report, the callback and the task, on a real model of two layers."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import get_model
from transformers import AutoModel, Trainer, TrainingArguments

from tameshi.doors import models
from tameshi.evaluation.matrix_nuclear_norm import (
    compare,
    haar_rotation,
    matrix_nuclear_norm,
    null_score,
    representation_report,
    untrained_twin,
)
from tameshi.evaluation.matrix_nuclear_norm.callback import RepresentationCallback
from tameshi.evaluation.matrix_nuclear_norm.tasks import representation_compression
from tameshi.evaluation.provider import rule_model

TEXTS = ["The quick brown fox.", "Jumps over", "a", "the lazy dog, again and again and again."]


@pytest.fixture(scope="module")
def opened(tiny_chat: Path) -> tuple[Any, Any]:
    return models.causal_lm(models.look_at(tiny_chat))


def test_scores_are_those_of_the_last_hidden_state_after_the_final_norm(opened: tuple[Any, Any]) -> None:
    model, tokenizer = opened
    report = representation_report(model, tokenizer, TEXTS, controls=())
    for i, text in enumerate(TEXTS):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            hidden = model.model(**ids).last_hidden_state[0]
            loss = model(**ids, labels=ids["input_ids"]).loss if hidden.shape[0] > 1 else torch.tensor(math.nan)
        expected = float(matrix_nuclear_norm(hidden, per_token=True))
        assert report.scores["model"]["mnn"][i] == pytest.approx(expected, rel=1e-6, nan_ok=True)
        assert report.scores["model"]["loss"][i] == pytest.approx(float(loss), rel=1e-4, nan_ok=True)


def test_a_text_of_one_token_is_missing_with_its_reason_and_left_out_of_the_mean(opened: tuple[Any, Any]) -> None:
    report = representation_report(*opened, TEXTS)
    assert list(report.missing) == [2]
    assert "one token" in report.missing[2]
    assert math.isnan(report.scores["model"]["mnn"][2])
    values = [v for i, v in enumerate(report.scores["model"]["mnn"]) if i != 2]
    assert report.mean("mnn") == pytest.approx(sum(values) / 3)
    assert "1 texts without a score" in report.summary()


def test_a_text_without_a_token_is_missing_and_leaves_the_others_their_places(opened: tuple[Any, Any]) -> None:
    controls = ("untrained", "rotated", "null", "shuffled")
    report = representation_report(*opened, ["", *TEXTS[:2], "", "a"], controls=controls)
    full = representation_report(*opened, TEXTS[:2], controls=controls)
    assert report.missing[0] == report.missing[3] == "the tokenizer makes no token of it"
    assert "one token" in report.missing[4]
    assert report.tokens[1:3] == full.tokens
    assert report.tokens[0] == 0
    for of, scores in full.scores.items():
        for metric, values in scores.items():
            assert report.scores[of][metric][1:3] == pytest.approx(values, nan_ok=True)
            assert math.isnan(report.scores[of][metric][0])
    assert "2 texts without a score: the tokenizer" in report.summary()
    with pytest.raises(ValueError, match="at least one text that the tokenizer makes a token of"):
        representation_report(*opened, ["", ""])


def test_several_untrained_twins_are_averaged_text_by_text(opened: tuple[Any, Any]) -> None:
    alone = [representation_report(*opened, TEXTS, controls=("untrained",), seed=seed) for seed in (4, 5)]
    both = representation_report(*opened, TEXTS, controls=("untrained",), twins=2, seed=4)
    for metric, values in both.scores["untrained"].items():
        pairs = zip(*(one.scores["untrained"][metric] for one in alone), strict=True)
        assert values == pytest.approx([sum(pair) / 2 for pair in pairs], nan_ok=True)
    assert both.diff_erank == pytest.approx(sum(one.diff_erank for one in alone) / 2)
    with pytest.raises(ValueError, match="twins must be at least 1, got 0"):
        representation_report(*opened, TEXTS, twins=0)


def test_a_text_is_cut_to_the_positions_that_the_model_has(opened: tuple[Any, Any]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2LMHeadModel(GPT2Config(vocab_size=len(opened[1]), n_positions=8, n_embd=8, n_layer=1, n_head=1))
    assert representation_report(small, opened[1], [TEXTS[3]], controls=()).tokens == (8,)


def test_a_first_token_that_begins_every_text_may_be_left_out_of_the_score(opened: tuple[Any, Any]) -> None:
    model, tokenizer = opened[0], copy.deepcopy(opened[1])
    texts = ["@one text", "@and another one"]
    tokenizer.bos_token = "@"
    report = representation_report(model, tokenizer, texts, controls=("null", "shuffled"), skip_bos=True)
    for text, mnn, tokens in zip(texts, report.scores["model"]["mnn"], report.tokens, strict=True):
        with torch.no_grad():
            hidden = model.model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert mnn == pytest.approx(float(matrix_nuclear_norm(hidden[1:], per_token=True)), rel=1e-6)
        assert tokens == len(hidden) - 1
    whole = representation_report(model, tokenizer, texts, controls=())
    assert whole.scores["model"]["mnn"] != report.scores["model"]["mnn"]
    assert representation_report(*opened, texts, controls=(), skip_bos=True).tokens == whole.tokens  # no such token


def test_batches_are_masked_so_that_their_size_changes_nothing(opened: tuple[Any, Any]) -> None:
    one = representation_report(*opened, TEXTS, controls=())
    four = representation_report(*opened, TEXTS, controls=(), batch_size=4)
    for metric, values in one.scores["model"].items():
        assert four.scores["model"][metric] == pytest.approx(values, rel=1e-4, nan_ok=True)


def test_controls_are_what_they_say(opened: tuple[Any, Any]) -> None:
    model, tokenizer = opened
    report = representation_report(
        model, tokenizer, TEXTS, controls=("untrained", "rotated", "null", "shuffled"), seed=3
    )
    assert report.scores["null"]["mnn"] == tuple(null_score(n, 32) for n in report.tokens)
    assert report.mean("nuclear", "rotated") == pytest.approx(report.mean("nuclear"), rel=1e-6)
    assert report.mean("entropy", "rotated") == pytest.approx(report.mean("entropy"), rel=1e-6)
    assert report.mean("mnn", "rotated") != report.mean("mnn")
    assert math.isnan(report.mean("loss", "rotated"))
    ids = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        hidden = model.model(**ids).last_hidden_state[0]
        twin = untrained_twin(model, seed=3).model(**ids).last_hidden_state[0]
    turned = matrix_nuclear_norm(hidden.double() @ haar_rotation(32, seed=3), per_token=True)
    assert report.scores["rotated"]["mnn"][0] == pytest.approx(float(turned), rel=1e-6)
    assert report.scores["untrained"]["mnn"][0] == pytest.approx(
        float(matrix_nuclear_norm(twin, per_token=True)), rel=1e-6
    )
    assert report.scores["shuffled"]["loss"][0] != report.scores["model"]["loss"][0]
    assert "Diff-eRank" in report.summary()


def test_an_untrained_twin_has_other_weights_and_leaves_the_global_generator_alone(opened: tuple[Any, Any]) -> None:
    model, _ = opened
    state = torch.random.get_rng_state()
    twin, again, other = (untrained_twin(model, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(state, torch.random.get_rng_state())
    weights = [m.model.layers[0].mlp.up_proj.weight for m in (model, twin, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])


def test_a_model_without_a_head_has_scores_but_no_loss(tiny_chat: Path, opened: tuple[Any, Any]) -> None:
    headless = AutoModel.from_pretrained(tiny_chat).eval()
    report = representation_report(headless, opened[1], TEXTS, controls=("untrained",))
    assert math.isnan(report.mean("loss"))
    assert report.mean("mnn") == pytest.approx(representation_report(*opened, TEXTS, controls=()).mean("mnn"), rel=1e-6)


def test_models_of_different_width_are_compared_under_a_warning(opened: tuple[Any, Any]) -> None:
    from dataclasses import replace

    one = representation_report(*opened, TEXTS, controls=())
    assert "differ in width" in compare([one, replace(one, width=64)])
    assert "different tokens" in compare([one, replace(one, tokens=(1, 2, 3, 4))])
    assert "differ" not in compare([one, one])


def test_overflown_states_are_named_by_layer_and_token(opened: tuple[Any, Any]) -> None:
    model, tokenizer = opened

    class Overflow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device = torch.device("cpu")

        def forward(self, **inputs: Any) -> Any:
            output = model(**inputs)
            states = [layer.clone() for layer in output.hidden_states]
            states[-1][:, 3] = math.inf
            output.hidden_states = tuple(states)
            return output

    with pytest.raises(ValueError, match="layer -1 hold NaN or infinity at token 3"):
        representation_report(Overflow(), tokenizer, TEXTS[:1], controls=())


def test_wrong_words_are_refused(opened: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="at least one text"):
        representation_report(*opened, [])
    with pytest.raises(ValueError, match="'rank' is none of mnn, nuclear"):
        representation_report(*opened, TEXTS, metrics=("rank",))  # type: ignore[arg-type]


def test_a_text_that_the_tokenizer_has_no_token_for_is_named_by_its_number(opened: tuple[Any, Any]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"one": 0, "two": 1}, unk_token="?")))
    with pytest.raises(ValueError, match="the tokenizer cannot read text 2: "):
        representation_report(opened[0], words, ["one", "three"], controls=())


def test_training_mode_is_given_back(opened: tuple[Any, Any]) -> None:
    model, tokenizer = opened
    model.train()
    representation_report(model, tokenizer, TEXTS[:1], controls=())
    assert model.training
    model.eval()


def test_a_trainer_logs_the_score_of_the_probe_set_at_every_evaluation(opened: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = opened
    rows = [
        {"input_ids": tokenizer(t)["input_ids"][:8], "labels": tokenizer(t)["input_ids"][:8]}
        for t in (TEXTS[0], TEXTS[3])
    ]
    trainer = Trainer(
        untrained_twin(model),
        TrainingArguments(
            str(tmp_path),
            max_steps=2,
            eval_strategy="steps",
            eval_steps=1,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
            per_device_train_batch_size=2,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[RepresentationCallback(tokenizer, TEXTS)],
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "representation_mnn" in entry]
    assert [entry["step"] for entry in logged] == [1, 2]
    assert all(0 < entry["representation_mnn"] <= 1 for entry in logged)
    assert "representation_entropy" in trainer.evaluate()


def run(model: Any, tmp_path: Path, **settings: Any) -> EvalLog:
    (log,) = inspect_eval(
        representation_compression(n=2, characters=40, **settings), model=model, log_dir=str(tmp_path)
    )
    assert log.status == "success", log.error
    return read_eval_log(log.location)


@pytest.mark.parametrize("provider", ["tameshi/folder", "hf/local"])
def test_the_task_scores_models_whose_provider_hands_out_hidden_states(
    provider: str, tiny_chat: Path, tmp_path: Path
) -> None:
    if provider == "hf/local":
        model = get_model(
            provider, model_path=str(tiny_chat), hidden_states=True, do_sample=False, device="cpu", memoize=False
        )
    else:
        model = get_model(provider, folder=str(tiny_chat), hidden_states=True, memoize=False)
    log = run(model, tmp_path)
    value = log.samples[0].scores["compression"].value
    assert isinstance(value, dict)
    assert value["null"] == pytest.approx(null_score(log.samples[0].scores["compression"].metadata["tokens"], 32))
    assert 0 < value["mnn"] <= 1
    assert {"mnn", "null", "nuclear", "entropy", "erank"} == {score.name for score in log.results.scores}


def test_both_providers_give_the_same_score(tiny_chat: Path, tmp_path: Path) -> None:
    theirs = get_model(
        "hf/local", model_path=str(tiny_chat), hidden_states=True, do_sample=False, device="cpu", memoize=False
    )
    ours = get_model("tameshi/folder", folder=str(tiny_chat), hidden_states=True, memoize=False)
    values = [run(model, tmp_path).samples[1].scores["compression"].value for model in (theirs, ours)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_an_endpoint_without_hidden_states_is_unscored_and_says_why(tmp_path: Path) -> None:
    log = run(rule_model(lambda messages, rng: "hello"), tmp_path)
    assert [score.unscored_samples for score in log.results.scores][:1] == [2]
    assert "no hidden states" in log.samples[0].scores["compression"].explanation


def test_texts_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("one\n\ntwo\n\n\n\nthree")
    assert [s.input for s in representation_compression(path=str(file)).dataset] == ["one", "two", "three"]
    with pytest.raises(ValueError, match="does not exist"):
        representation_compression(path=str(tmp_path / "nowhere"))
