"""Measures on probabilities: a model whose answers are known by hand, and tiny causal and masked transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tameshi.evaluation.implicit_bias import Contrast
from tameshi.evaluation.implicit_bias.encoder import HiddenStateEncoder, token_counts
from tameshi.evaluation.implicit_bias.language import LogProbabilities, attribute_scores, logprob_association
from tameshi.evaluation.implicit_bias.sentences import pair_preference, sentence_scores

WORDS = ["<pad>", "x1", "x2", "y1", "y2", "a1", "a2", "b1", "b2", "likes", "."]
C = Contrast("c", ("x1", "x2"), ("y1", "y2"), ("a1", "a2"), ("b1", "b2"))


class Table:
    """A causal model that looks two words back: after "NAME likes", 0.4 on each attribute of the name's own side."""

    config = SimpleNamespace(architectures=["TableForCausalLM"], num_hidden_layers=1)

    def parameters(self) -> Any:
        yield torch.zeros(1)

    def __call__(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        chances = torch.full((*input_ids.shape, len(WORDS)), 1e-4)
        for row, ids in enumerate(input_ids.tolist()):
            for place, token in enumerate(ids):
                if WORDS[token] == "likes" and place:
                    own, other = ("a", "b") if WORDS[ids[place - 1]][0] == "x" else ("b", "a")
                    for k in "12":
                        chances[row, place, WORDS.index(own + k)] = 0.4
                        chances[row, place, WORDS.index(other + k)] = 0.1
        return SimpleNamespace(logits=(chances / chances.sum(-1, keepdim=True)).log())


class Split:
    bos_token_id = eos_token_id = None

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [WORDS.index(w) for w in text.split()]}


def test_gap_log_probability_and_forced_choice_by_hand() -> None:
    found = logprob_association(Table(), Split(), C, ["{term} likes {attribute} ."])
    assert found.gap().value == pytest.approx(0.8 - 0.2, abs=1e-6)
    assert found.association().value == pytest.approx(2 * np.log(4), abs=1e-5)
    assert found.forced_choice().value == 1
    assert found.gap().details["a_given_x"] == pytest.approx(0.8, abs=1e-6)


def test_taking_a_prior_off_moves_all_terms_alike() -> None:
    plain = logprob_association(Table(), Split(), C, ["{term} likes {attribute} ."])
    corrected = logprob_association(Table(), Split(), C, ["{term} likes {attribute} ."], neutral="y1")
    assert corrected.association().value == pytest.approx(plain.association().value)
    assert not np.allclose(corrected.x, plain.x)


def test_a_forced_choice_that_never_splits_is_withheld() -> None:
    found = LogProbabilities(C, np.full((2, 4), -1.0), np.full((2, 4), -2.0)).forced_choice()
    assert found.value is None
    assert found.refusals == 4


@pytest.mark.parametrize(
    ("template", "message"),
    [("{term} likes", "one {term} and one"), ("{attribute} likes {term}", "must follow the term")],
)
def test_templates_that_a_causal_model_cannot_read_are_refused(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logprob_association(Table(), Split(), C, [template])
    with pytest.raises(ValueError, match="at least one template"):
        logprob_association(Table(), Split(), C, [])


def test_a_causal_model_prefers_the_likelier_sentence() -> None:
    pairs = [("x1 likes a1", "x1 likes b1"), ("y1 likes a2", "y1 likes b2"), ("x2 likes a2", "x2 likes b2")]
    found = pair_preference(Table(), Split(), pairs)
    assert found.value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="different sentences"):
        pair_preference(Table(), Split(), [("x1", "x1")])


def tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *words])}, "[UNK]")
    )
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        unk_token="[UNK]",
    )


def masked_model(words: list[str]) -> tuple[BertForMaskedLM, PreTrainedTokenizerFast]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words) + 5, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=16, initializer_range=0.5,
        )  # fmt: skip
        return BertForMaskedLM(config).eval(), tokenizer(words)


@pytest.fixture(scope="module")
def bert() -> tuple[BertForMaskedLM, PreTrainedTokenizerFast]:
    return masked_model(WORDS[1:])


def test_a_masked_model_is_scored_where_the_word_was(bert: Any) -> None:
    model, words = bert
    scores = attribute_scores(model, words, "x1 likes ", ["a1", "b1"], " .")
    ids = torch.tensor([words("x1 likes [MASK] .")["input_ids"]])
    with torch.no_grad():
        by_hand = model(input_ids=ids).logits[0, 3].log_softmax(-1)
    expected = [float(by_hand[words.convert_tokens_to_ids(w)]) for w in ("a1", "b1")]
    assert scores == pytest.approx(expected, abs=1e-5)
    found = logprob_association(model, words, C, ["the {attribute} likes {term}"])
    assert np.isfinite(found.association().value)


def test_the_prior_of_a_masked_model_is_read_with_the_term_masked(bert: Any) -> None:
    model, words = bert
    found = logprob_association(model, words, C, ["{term} likes {attribute} ."], neutral="[MASK]")
    ids = torch.tensor([words("[MASK] likes [MASK] .")["input_ids"]])
    with torch.no_grad():
        prior = model(input_ids=ids).logits[0, 3].log_softmax(-1)
    plain = attribute_scores(model, words, "x1 likes ", C.a, " .")
    by_hand = [s - float(prior[words.convert_tokens_to_ids(a)]) for s, a in zip(plain, C.a, strict=True)]
    assert found.x[0, :2].tolist() == pytest.approx(by_hand, abs=1e-5)
    behind = logprob_association(model, words, C, ["the {attribute} likes {term} ."], neutral="[MASK]")
    assert np.isfinite(behind.x).all()


def test_pseudo_likelihood_counts_shared_tokens_only(bert: Any) -> None:
    model, words = bert
    first, second = "x1 likes a1", "y1 likes a1"
    by_hand = 0.0
    for sign, sentence in ((1, first), (-1, second)):
        ids = words(sentence)["input_ids"]
        for place in (2, 3):  # "likes" and "a1" are shared
            masked = torch.tensor([ids])
            masked[0, place] = words.mask_token_id
            with torch.no_grad():
                by_hand += sign * float(model(input_ids=masked).logits[0, place].log_softmax(-1)[ids[place]])
    assert pair_preference(model, words, [(first, second)]).value == float(by_hand > 0)
    with pytest.raises(ValueError, match="share no token"):
        pair_preference(model, words, [("x1", "y1")])


def test_a_padded_batch_encodes_like_one_text_at_a_time(bert: Any) -> None:
    model, words = bert
    texts = ["x1", "x2 likes a1 .", "y1 likes"]
    for settings in ({}, {"pooling": "last"}, {"layer": 0}, {"layer": 1}):
        encode = HiddenStateEncoder(model, words, **settings)
        together = encode(texts)
        assert together.shape == (3, 16)
        assert np.allclose(together, np.concatenate([encode([t]) for t in texts]), atol=1e-5)
    with pytest.raises(ValueError, match="mean or last"):
        HiddenStateEncoder(model, words, pooling="max")
    with pytest.raises(ValueError, match="at most 2"):
        HiddenStateEncoder(model, words, layer=3)


def test_terms_of_unlike_length_are_warned_about() -> None:
    long = Contrast("c", ("x1 x2 .",), ("y1",), ("a1",), ("b1",))
    assert "that alone moves a measure" in token_counts(Split(), long)[2]
    assert token_counts(Split(), C)[2] == ""
    assert len(sentence_scores(Table(), Split(), ["x1 likes a1"])) == 1
