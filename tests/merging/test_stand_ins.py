"""Controls that stand in for a fine-tuned model: as long a step, without its meaning."""

import pytest
import torch
from tests.merging.families import random_model, relative

from tameshi.specimens.stand_ins import random_direction, random_step, shuffled_step


@pytest.mark.parametrize("tied", [False, True])
def test_a_random_step_is_as_long_in_every_tensor_and_points_elsewhere(tied):
    start = random_model(tied=tied)
    tuned = relative(start, 1)
    stepped, theirs = random_step(start, tuned, 0).state_dict(), tuned.state_dict()
    for name, tensor in start.state_dict().items():
        length = float((theirs[name] - tensor).norm())
        assert float((stepped[name] - tensor).norm()) == pytest.approx(length, rel=1e-3)
        assert not torch.equal(stepped[name], theirs[name])


def test_a_shuffled_step_gives_every_block_the_change_of_another():
    start = random_model()
    tuned = relative(start, 1)
    changes = [dict(m.named_parameters()) for m in (shuffled_step(start, tuned, 0), tuned)]
    ours, theirs = (
        {name: tensor - dict(start.named_parameters())[name] for name, tensor in change.items()} for change in changes
    )
    name = "model.layers.{}.mlp.up_proj.weight"
    givers = [
        next(j for j in range(3) if torch.allclose(ours[name.format(i)], theirs[name.format(j)], atol=1e-6))
        for i in range(3)
    ]
    assert sorted(givers) == [0, 1, 2]
    assert all(i != j for i, j in enumerate(givers))
    assert torch.allclose(ours["lm_head.weight"], theirs["lm_head.weight"], atol=1e-6)


def test_the_models_that_are_given_stay_as_they_are():
    start = random_model()
    before = {n: p.clone() for n, p in start.named_parameters()}
    random_step(start, relative(start, 1), 0)
    shuffled_step(start, relative(start, 1), 0)
    random_direction(start, 0)
    assert all(torch.equal(before[n], p) for n, p in start.named_parameters())


def test_noise_is_a_hundredth_of_the_spread_of_every_tensor():
    start = random_model()
    moved = dict(random_direction(start, 0).named_parameters())
    step = moved["lm_head.weight"] - start.lm_head.weight
    assert float(step.detach().std()) == pytest.approx(0.01 * float(start.lm_head.weight.detach().std()), rel=0.1)
    assert torch.equal(moved["model.norm.weight"], start.model.norm.weight)  # all ones: no spread
