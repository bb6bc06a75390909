"""The texts of the modes model, and the model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from training.modes import Stage, new_model, new_tokenizer, save, train

from tameshi.specimens import modes
from tameshi.specimens.causal_lm import CausalLM

CHANCES = np.sort(modes.SUCCESSORS)[::-1]


def test_the_vocabulary_has_no_word_twice() -> None:
    assert len(modes.WORDS) == len(set(modes.WORDS)) == 477


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 16), st.integers(0, 20), st.integers(9, 40))
def test_every_document_is_as_described(seed: int, facts: int, asks: int, slots: int) -> None:
    length = 4 * max(slots, facts + asks + 6)
    drawn = modes.documents(3, length, seed=seed, facts=facts, asks=asks)
    assert drawn.tokens.shape == (3, length)
    for tokens, asked, mode in zip(drawn.tokens, drawn.asked, drawn.modes, strict=True):
        assert tokens[0] == modes.BOS
        (named,) = np.flatnonzero(tokens == modes.MODE)
        assert tokens[named + 1] == modes.MODE_NAME + mode
        told: dict[int, tuple[int, int]] = {}
        counts = {modes.FACT: 0, modes.ASK: 0}
        for place in np.flatnonzero((tokens == modes.FACT) | (tokens == modes.ASK)):
            kind, key, first, second = tokens[place : place + 4].tolist()
            number = key - modes.KEY
            assert place % 4 == 0
            assert 0 <= first - modes.FIRST - 12 * number < 12, "values are the key's own"
            assert 0 <= second - modes.SECOND - 12 * number < 12
            counts[kind] += 1
            if kind == modes.FACT:
                assert key not in told
                told[key] = first, second
            else:
                assert told[key] == (first, second), "an ask repeats an earlier fact"
            assert asked[place : place + 4].tolist() == [False, False, *[kind == modes.ASK] * 2]
        assert counts == {modes.FACT: facts, modes.ASK: asks}
        assert asked.sum() == 2 * asks


def test_filler_follows_the_table_of_the_mode_with_the_stated_chances() -> None:
    drawn = modes.mode_needle(200, 200, depth=0.3, seed=1)
    ranks: dict[bool, list[int]] = {False: [], True: []}
    for tokens, mode in zip(drawn.tokens, drawn.modes, strict=True):
        for place in range(2, 200):
            before, word = tokens[place - 1], tokens[place]
            if min(before, word) < modes.FILLER or max(before, word) >= modes.MODE_NAME:
                continue
            table = modes.TABLES[mode + 1 if place > 60 else 0, before - modes.FILLER].tolist()
            ranks[place > 60].append(table.index(word - modes.FILLER))
    for found in ranks.values():
        shares = np.bincount(found, minlength=4) / len(found)
        np.testing.assert_allclose(shares, CHANCES, atol=0.02)


def test_the_same_seed_gives_the_same_documents_and_another_gives_others() -> None:
    first = modes.documents(4, 256, seed=1).tokens
    assert np.array_equal(first, modes.documents(4, 256, seed=1).tokens)
    assert not np.array_equal(first, modes.documents(4, 256, seed=2).tokens)


def test_the_mode_is_named_at_the_depth_asked_for() -> None:
    for depth in (0.0, 0.35, 0.99):
        drawn = modes.mode_needle(3, 100, depth=depth, seed=0).tokens
        assert (np.argmax(drawn == modes.MODE, axis=1) == min(max(1, int(100 * depth)), 98)).all()


def test_the_slot_needle_asks_for_a_fact_of_the_document() -> None:
    drawn = modes.slot_needle(5, 256, depth=0.5, seed=0)
    for tokens in drawn.tokens:
        ask, key, first, second = tokens[-4:].tolist()
        assert ask == modes.ASK
        (place,) = np.flatnonzero(tokens[:-4] == key)
        assert tokens[place - 1 : place + 3].tolist() == [modes.FACT, key, first, second]
        others = np.flatnonzero(tokens == modes.FACT)
        assert abs(place - 1 - 128) == np.abs(others - 128).min()


def test_documents_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="a multiple of 4, and at least 16, got 62"):
        modes.documents(1, 62, seed=0)
    with pytest.raises(ValueError, match="12 facts and 20 asks do not fit into 128 tokens"):
        modes.documents(1, 128, seed=0)
    with pytest.raises(ValueError, match=r"facts must be at most 16, .* got 17"):
        modes.documents(1, 512, seed=0, facts=17)
    with pytest.raises(ValueError, match=r"depth must lie in \[0, 1\), got 1"):
        modes.mode_needle(1, 64, depth=1, seed=0)


@pytest.fixture(scope="module")
def shipped() -> CausalLM:
    return CausalLM.open("specimen:modes")


def test_the_shipped_model_is_small_and_computes_in_single_precision(shipped: CausalLM) -> None:
    assert sum(p.numel() for p in shipped.model.parameters()) == 356_608
    assert shipped.model.dtype == torch.float32
    assert sum(file.stat().st_size for file in shipped.checkpoint.folder.iterdir()) < 1_000_000


def test_its_tokenizer_knows_the_words_and_no_others(shipped: CausalLM) -> None:
    drawn = modes.documents(1, 128, seed=0, facts=4, asks=4)
    assert shipped.tokenizer(drawn.text(0)).input_ids == drawn.tokens[0].tolist()
    assert shipped.tokenizer.convert_ids_to_tokens(range(477)) == list(modes.WORDS)
    with pytest.raises(Exception, match="UNK"):
        shipped.tokenizer("hello")


@torch.no_grad()
def test_the_shipped_model_knows_modes_and_facts(shipped: CausalLM) -> None:
    drawn = modes.documents(8, 512, seed=77, facts=14, asks=40)
    tokens, asked = torch.from_numpy(drawn.tokens), torch.from_numpy(drawn.asked)[:, 1:]
    right = shipped.model(tokens).logits[:, :-1].argmax(-1) == tokens[:, 1:]
    assert right[asked].float().mean() > 0.98
    plain = torch.from_numpy(modes.mode_needle(8, 256, depth=0.35, seed=77).tokens)
    losses = F.cross_entropy(shipped.model(plain).logits[:, :-1].transpose(1, 2), plain[:, 1:], reduction="none")
    entropy = -(CHANCES * np.log(CHANCES)).sum()
    assert losses[:, -100:].mean() < entropy + 0.6, "near the entropy of the chain"
    wrong = plain.clone()
    wrong[plain >= modes.MODE_NAME] = modes.MODE_NAME + (plain[plain >= modes.MODE_NAME] - modes.MODE_NAME + 1) % 8
    misled = F.cross_entropy(shipped.model(wrong).logits[:, :-1].transpose(1, 2), plain[:, 1:], reduction="none")
    assert misled[:, -100:].mean() > losses[:, -100:].mean() + 2, "told the wrong mode, it is wrong about the rest"


def test_training_again_gives_the_same_folder_bit_for_bit(tmp_path: Path) -> None:
    short = (Stage(6, 4, 64, 4, 7), Stage(3, 2, 128, 8, 12))
    hashes = []
    for name in ("first", "second"):
        torch.manual_seed(len(name))  # whatever was drawn before
        model = new_model()
        train(model, short)
        hashes.append(save(model, tmp_path / name))
    assert hashes[0] == hashes[1]
    assert (tmp_path / "first.sha256").read_text().split() == [hashes[0], "first"]


def test_training_lowers_the_loss() -> None:
    drawn = torch.from_numpy(modes.documents(8, 64, seed=5, facts=4, asks=7).tokens)

    @torch.no_grad()
    def loss(model: torch.nn.Module) -> float:
        return float(F.cross_entropy(model(drawn).logits[:, :-1].transpose(1, 2), drawn[:, 1:]))

    model = new_model()
    before = loss(model)
    train(model, (Stage(40, 16, 64, 4, 7),))
    assert loss(model) < before - 1.5


def test_the_tokenizer_ships_as_it_is_made(tmp_path: Path, shipped: CausalLM) -> None:
    new_tokenizer().save_pretrained(tmp_path)
    made = (tmp_path / "tokenizer.json").read_bytes()
    assert made == (shipped.checkpoint.folder / "tokenizer.json").read_bytes()
