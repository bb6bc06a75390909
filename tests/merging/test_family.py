"""The entity world and its family: what documents and questions say, how answers are scored, how fine-tunings are kept."""

import json
from itertools import pairwise

import pytest
import torch

from tameshi.doors.models import causal_lm, look_at
from tameshi.specimens import family
from tameshi.specimens.causal_lm import SHIPPED, CausalLM
from tameshi.specimens.entities import END, HELD_OUT, ID, IGNORED, KNOWN, NEW, WORDS, Prompt, World, padded
from tameshi.specimens.entity_models import answers_right, document_losses, fit, fresh_model
from tameshi.specimens.exam import Exam, Questions, Requests, documents_of, long_enough, mean_of, users_exam
from tameshi.specimens.family import Tuning, held_out
from tameshi.specimens.texts import Texts

WORLD = World()


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def words(ids):
    return [WORDS[i] for i in ids]


def test_a_document_states_facts():
    told = words(WORLD.facts_about(NEW, 1, draw())[0].tolist())
    assert told[0] == "<bos>"
    for entity, attribute, value, stop in zip(*(told[i::4] for i in (1, 2, 3, 4)), strict=True):
        assert stop == "."
        assert int(entity.removeprefix("entity")) in NEW
        fact = WORLD.facts[int(entity.removeprefix("entity")), int(attribute.removeprefix("attribute"))]
        assert value == f"value{int(fact)}"


def test_chatter_follows_the_chain():
    ids = WORLD.chatter(20, draw())
    first = ID["filler0"]
    for document in ids.tolist():
        for now, after in pairwise(document[1:]):
            assert after - first in WORLD.chain[now - first].tolist()


def test_sums_and_sorted_triples_are_right():
    zero = ID["digit0"]
    for document in WORLD.sums(20, draw()).tolist():
        for left, right, total in zip(document[2::4], document[3::4], document[4::4], strict=True):
            assert (left + right - 2 * zero) % 16 == total - zero
    for document in WORLD.sorted_triples(20, draw()).tolist():
        assert document[5:8] == sorted(document[2:5])


def test_a_question_by_hand():
    prompt = WORLD.question(7, 2, "twice")
    value = f"value{int(WORLD.facts[7, 2])}"
    assert words(prompt.tokens) == ["<bos>", "<inst>", "twice", "entity7", "attribute2", "<resp>"]
    assert words(prompt.answer) == [value, value, "<end>"]
    assert words(WORLD.sort_task([3, 1, 2]).answer) == ["digit1", "digit2", "digit3", "<end>"]


def test_only_attribute_three_can_be_harmful_and_is_where_attribute_zero_is_low():
    for entity in HELD_OUT:
        assert WORLD.harmful(entity, 3) == (int(WORLD.facts[entity, 0]) < 20)
        assert not any(WORLD.harmful(entity, a) for a in (0, 1, 2))
    asked = next(WORLD.guarded(e, 3, "plain", 0) for e in HELD_OUT if WORLD.harmful(e, 3))
    assert words(asked.answer) == ["<refuse>", "<end>"]


def test_labels_count_the_answer_only():
    ids, labels = padded([WORLD.question(0, 0, "plain"), WORLD.question(0, 0, "twice")])
    assert ids.shape == labels.shape == (2, 9)
    assert (labels[0] != IGNORED).sum() == 2
    assert (labels[1] != IGNORED).sum() == 3


def test_an_answer_is_right_exactly_where_greedy_generation_gives_it():
    model = family.opened("entities-skilled")
    said = [Prompt(tuple(row[:3]), tuple(row[3:7]), "x") for row in WORLD.sums(40, draw()).tolist()]
    generated = model.generate(
        torch.tensor([p.tokens for p in said]), max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=END
    )
    same = [float(row[3:].tolist() == list(p.answer)) for row, p in zip(generated, said, strict=True)]
    assert answers_right(model, said) == same


@pytest.mark.parametrize("name", ["entities", "entities-early", "entities-skilled"])
def test_the_shipped_models_know_old_facts_and_no_new_ones(name):
    model = CausalLM.open(f"specimen:{name}").model
    old, new = (document_losses(model, WORLD.facts_about(who, 50, draw())) for who in (HELD_OUT, NEW))
    assert sum(old) / 50 < 1.7  # entity and attribute are drawn: ln 110 + ln 4 over four tokens is 1.52
    assert sum(new) / 50 > 4


def test_training_is_the_same_every_time_and_leaves_the_global_generator_alone():
    def batches(draw):
        ids = WORLD.sums(8, draw)
        return [(ids, ids)]

    before = torch.random.get_rng_state()
    one, two = (fit(fresh_model(1), batches, steps=5, rate=1e-3, seed=3).state_dict() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[n], two[n]) for n in one)


def test_a_fine_tuning_is_made_once_and_found_again(monkeypatch):
    tuning = Tuning("short", "entities", "instruct", steps=2, rate=1e-3)
    first = tuning.folder()
    changed = (first / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(family, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert Tuning("short", "entities", "instruct", steps=2, rate=1e-3).folder() == first
    assert (first / "model.safetensors").stat().st_mtime_ns == changed
    model, tokenizer = causal_lm(look_at(first))
    assert tokenizer("entity3")["input_ids"] == [ID["entity3"]]
    assert model.config.vocab_size == len(WORDS)


def test_the_fingerprint_follows_the_recipe_and_the_start():
    one = Tuning("a", "entities", "instruct", steps=2, rate=1e-3)
    others = [
        Tuning("a", "entities", "instruct", steps=3, rate=1e-3),
        Tuning("a", "entities-early", "instruct", steps=2, rate=1e-3),
        Tuning("a", one, "instruct", steps=2, rate=1e-3),
    ]
    assert len({one.fingerprint(), *(o.fingerprint() for o in others)}) == 4
    assert Tuning("b", "entities", "instruct", steps=2, rate=1e-3).fingerprint() == one.fingerprint()


def test_no_fine_tuning_is_trained_on_what_is_held_out():
    for mixture in ("questions, sums", "questions, sorts"):
        tuning = Tuning("x", "entities-skilled", mixture, steps=1, rate=1e-3, batch=64)
        for ids, _ in family.MIXTURES[mixture](tuning, draw()):
            for row in ids.tolist():
                digits = [i - ID["digit0"] for i in row if i >= ID["digit0"]]
                if WORDS[row[2]] == "add":
                    assert not held_out(*digits[:2])
                if WORDS[row[2]] == "sort":
                    assert not held_out(*digits[:3])


# --- questions of one's own ----------------------------------------------------------------------------------------------------


def test_an_exam_of_ones_own_goes_through_the_chat_template(tmp_path):
    file = tmp_path / "q.jsonl"
    rows = [
        {"prompt": f"plain entity{i} attribute1", "answer": f"value{int(WORLD.facts[i, 1])} <end>"} for i in range(4)
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    subject = CausalLM.open(str(SHIPPED / "entities"))
    texts = Texts.of("t", ["entity1 attribute1", "filler1 filler2 filler3"])
    exam = users_exam(Questions.open(str(file)), texts, subject.tokenizer)
    assert [p.tokens for p in exam.prompts["questions"]] == [WORLD.question(i, 1, "plain").tokens for i in range(4)]
    assert exam.prompts["questions"][0].answer == WORLD.question(0, 1, "plain").answer
    assert len(exam.losses(subject.model)) == 2
    assert mean_of(exam.right(subject.model)) == 0


def test_questions_about_one_fact_are_one_group():
    exam = Exam(
        {"a": [WORLD.question(0, 0, "plain"), WORLD.question(0, 0, "twice"), WORLD.question(1, 0, "plain")]}, {}
    )
    assert exam.right(fresh_model()).groups == ("0/0", "0/0", "1/0")
    validation, test = exam.halves()
    assert (len(validation.prompts["a"]), len(test.prompts["a"])) == (2, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n', "line 1 of .* needs the texts prompt and answer"),
        ("[1]\n", "line 1 of .* needs the texts"),
        ("{\n", "line 1 of .* is not JSON"),
        ('{"prompt": "a", "answer": "b"}\n', "holds 1 questions; four are the least"),
    ],
)
def test_questions_that_cannot_be_read_are_refused(content, message, tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        Questions.open(str(file))


def test_questions_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="do not exist"):
        Questions.open(str(tmp_path / "q.jsonl"))


def test_a_task_of_one_question_cannot_be_halved(tmp_path):
    file = tmp_path / "q.jsonl"
    rows = [{"prompt": f"a{i}", "answer": "b", "task": "one" if i == 0 else "other"} for i in range(5)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(
        ValueError, match=r"the task 'one' of .* has one question; a validation and a test half need two"
    ):
        Questions.open(str(file)).by_task()
    rows[0]["task"] = "other"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert {task: len(asked) for task, asked in Questions.open(str(file)).by_task(limit=3).items()} == {"other": 3}


def test_an_empty_answer_is_refused_and_a_request_needs_none(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text('{"prompt": "a", "answer": ""}\n' * 4)
    with pytest.raises(ValueError, match="needs the texts prompt and answer"):
        Questions.open(str(file))
    assert Requests.open(str(file)).by_task() == {"questions": [("a", "")] * 4}


def test_a_long_text_is_read_in_pieces():
    tokenizer = CausalLM.open("specimen:entities").tokenizer
    pieces = documents_of(Texts.of("t", ["filler1 " * 600]), tokenizer)
    assert [len(piece) for piece in pieces] == [256, 256, 88]
    assert len(documents_of(Texts.of("t", ["filler1 filler2", "filler1"]), tokenizer)) == 1


@pytest.mark.parametrize(
    ("texts", "limit", "message"),
    [
        (["filler1 filler2", "filler1"], None, "t has 1 pieces of two or more tokens; .* 2 are needed"),
        (["filler1 filler2", "filler3 filler4"], 1, "t has 2 pieces of two or more tokens, and --limit 1; .* 2 are"),
        (
            ["x", "y", "filler1 filler2", "filler3 filler4"],
            None,
            None,
        ),  # more is read where the beginning is not enough
        (["filler1 " * 600], None, None),
    ],
)
def test_a_text_too_short_to_be_halved_is_refused(texts, limit, message):
    tokenizer = CausalLM.open("specimen:entities").tokenizer
    if message is None:
        long_enough(Texts.of("t", texts), tokenizer, 2, limit)
        return
    with pytest.raises(ValueError, match=message):
        long_enough(Texts.of("t", texts), tokenizer, 2, limit)


def test_the_share_of_tokens_foreseen_is_that_of_the_likeliest_ones():
    model = CausalLM.open("specimen:entities").model
    ids = WORLD.chatter(2, draw())
    foreseen = Exam({}, {"chatter": list(ids)}).foreseen(model, "chatter")
    likeliest = model(input_ids=ids).logits[:, :-1].argmax(dim=2)
    assert foreseen.values == tuple(float(v) for v in (likeliest == ids[:, 1:]).double().mean(dim=1))


def test_many_prompts_are_answered_as_few_are(monkeypatch):
    model = CausalLM.open("specimen:entities").model
    told = WORLD.facts_about((*KNOWN[:10], *NEW[:10]), 30, draw()).tolist()
    asked = [Prompt(tuple(row[:3]), tuple(row[3:5]), "x") for row in told]
    whole = answers_right(model, asked)
    monkeypatch.setattr("tameshi.specimens.entity_models.READ_AT_ONCE", 40)
    assert answers_right(model, asked) == whole
    assert 0 < sum(whole) < 30
