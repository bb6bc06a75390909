"""Fine-tuning with TRL: what is shown is learnt, what is preferred grows likelier, the start stays as it is."""

import pytest
import torch
from tests.merging.families import random_model, save, tokenizer

from tameshi.merging import MixVsMerge, TRLTuning

WORDS = tokenizer()
ANSWERS = [{"prompt": f"w{i} w{j} ", "completion": "w9"} for i in range(6) for j in range(6)]
CHOICES = [{"prompt": a["prompt"], "chosen": "w9", "rejected": "w8"} for a in ANSWERS]
SETTINGS = {"max_steps": 20, "learning_rate": 3e-2, "per_device_train_batch_size": 8}


def probability(model, answer, prompt="w1 w2"):
    ids = torch.tensor([WORDS(prompt)["input_ids"]])
    with torch.no_grad():
        return float(model(ids).logits[0, -1].softmax(0)[WORDS.convert_tokens_to_ids(answer)])


def test_an_answer_is_learnt_and_the_start_stays_as_it_is():
    start = random_model()
    before = probability(start, "w9")
    trained = TRLTuning(WORDS, SETTINGS)(start, ANSWERS)
    assert probability(trained, "w9") > 0.9
    assert probability(start, "w9") == before


def test_what_is_preferred_grows_likelier_than_what_is_rejected():
    start = random_model()
    trained = TRLTuning(WORDS, SETTINGS)(start, CHOICES)
    ratios = [probability(model, "w9") / probability(model, "w8") for model in (start, trained)]
    assert ratios[1] > 4 * ratios[0]


def test_the_same_seed_trains_the_same_model():
    one, two, other = (
        TRLTuning(WORDS, {**SETTINGS, "max_steps": 3}, seed)(random_model(), ANSWERS) for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_experiment_trains_with_trl_unless_it_is_given_a_trainer(kind, tmp_path, monkeypatch):
    folder = save(random_model(kind), tmp_path / "base", words=40)
    other = [{"prompt": a["prompt"], "completion": "w7"} for a in ANSWERS]
    monkeypatch.setattr(
        "tameshi.merging.mix_vs_merge.TRLTuning",
        lambda seed: TRLTuning(settings={**SETTINGS, "max_steps": 12}, seed=seed),
    )
    experiment = MixVsMerge(
        folder, {"one": ANSWERS, "two": other}, mix=0.3, methods=["linear", "ties"], grid=[0, 0.5, 1]
    )
    found = experiment.run(
        scores={"one": lambda m, half: probability(m, "w9"), "two": lambda m, half: probability(m, "w7")}
    )
    alone = {entry.setting: entry.test for entry in found.entries if entry.kind == "alone"}
    assert alone["one"]["one"] > 2 * alone["two"]["one"]
    assert alone["two"]["two"] > 2 * alone["one"]["two"]
    whole = next(entry for entry in found.entries if (entry.kind, entry.setting) == ("linear", "1/0"))
    assert whole.test["one"] == pytest.approx(alone["one"]["one"], abs=1e-5)


@pytest.mark.parametrize(
    ("examples", "given", "message"), [([], WORDS, "at least one example"), (ANSWERS, None, "no tokenizer is known")]
)
def test_what_cannot_be_trained_is_refused(examples, given, message):
    with pytest.raises(ValueError, match=message):
        TRLTuning(given)(random_model(), examples)
