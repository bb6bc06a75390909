import numpy as np
import pytest
import torch
from torch import nn

from tameshi.graphs import DecentralizedTrainer, fgm, pgd, train_linear

torch.set_num_threads(1)
RING = [(0, 1), (1, 2), (2, 3), (3, 0)]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(steps: int = 3, size: int = 6, agents: int = 4):
    rng = torch.Generator().manual_seed(0)
    return [
        [(torch.randn(size, 5, generator=rng), torch.randint(3, (size,), generator=rng)) for _ in range(steps)]
        for _ in range(agents)
    ]


def flat(trainer: DecentralizedTrainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten(1) for p in trainer.parameters.values()], dim=1)


@pytest.mark.parametrize("strategy", ["diffusion", "consensus", "central", "none"])
@pytest.mark.parametrize("attack", [None, fgm(0.3), pgd(torch.tensor([0.1, 0.2, 0.3, 0.4]), "inf", steps=3)])
def test_all_agents_at_once_equals_a_loop_over_agents(strategy, attack):
    trained = [
        flat(DecentralizedTrainer(network, batches(), RING, strategy, attack, vectorise=together).fit(2))
        for together in (True, False)
    ]
    assert trained[0] == pytest.approx(trained[1].numpy(), abs=1e-6)


def test_a_module_that_is_no_plain_chain_goes_through_vmap():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(5, 5), nn.Linear(5, 3, bias=False)

        def forward(self, x):
            return self.outer(x + self.inner(x).relu())

    trained = [
        flat(DecentralizedTrainer(Residual, batches(), RING, attack=pgd(0.2, steps=3), vectorise=together).fit(2))
        for together in (True, False)
    ]
    assert DecentralizedTrainer(Residual, batches(), RING).chain is None
    assert trained[0] == pytest.approx(trained[1].numpy(), abs=1e-6)


def test_a_plain_chain_gives_what_vmap_gives():
    trainer = DecentralizedTrainer(network, batches(), RING, same_start=False)
    x = torch.randn(4, 7, 5)
    directly = trainer._together(list(trainer.state.values()), x)
    trainer.chain = None
    assert directly.numpy() == pytest.approx(trainer._together(list(trainer.state.values()), x).numpy(), abs=1e-6)


@pytest.mark.parametrize("strategy", ["diffusion", "consensus", "none", "central"])
def test_a_linear_module_is_trained_as_the_linear_network_is(strategy):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(12, 5)), rng.integers(2, size=12)
    draws = np.arange(12).reshape(3, 4)
    data = torch.from_numpy(inputs).double()
    loaders = [[(data[[i]], torch.tensor([labels[i]])) for i in draws[:, k]] for k in range(4)]

    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, dtype=torch.float64))

        def forward(self, x):
            score = x @ self.weight
            return torch.stack([torch.zeros_like(score), score], dim=-1)

    trainer = DecentralizedTrainer(Score, loaders, RING, strategy, fgm(0.4), lambda p: torch.optim.SGD(p, lr=0.1)).fit(
        1
    )
    matrix = trainer.combination.double().numpy()
    linear = train_linear(
        inputs,
        2.0 * labels - 1,
        draws,
        np.eye(4) if strategy == "none" else matrix,
        strategy=strategy,
        eps=np.full(4, 0.4),
        step=0.1,
        ridge=0.0,
        gradient_weights=np.full(4, 0.25) if strategy == "central" else None,
    )
    assert flat(trainer) == pytest.approx(linear.weights, abs=1e-6)


def test_agents_that_cooperate_disagree_less():
    settings = {"same_start": False, "attack": fgm(0.2)}
    alone = DecentralizedTrainer(network, batches(20), RING, "none", **settings).fit(1)
    together = DecentralizedTrainer(network, batches(20), RING, "diffusion", **settings).fit(1)
    assert together.disagreement() < 0.2 * alone.disagreement()


def test_a_module_with_batch_statistics_goes_through_the_loop_and_is_attacked_in_evaluation_mode():
    seen = []

    def attack(model, x, y):
        seen.append(model.training)
        return x + 0.1

    def normalised() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    trainer = DecentralizedTrainer(normalised, batches(), RING, "diffusion", attack).fit(1)
    assert not trainer.vectorised
    assert not any(seen)
    assert len(seen) == 12
    means = trainer.buffers["1.running_mean"]
    assert means.abs().max() > 0
    assert torch.isfinite(trainer.logits(torch.randn(2, 5))).all()
    with pytest.raises(ValueError, match="vectorise=False"):
        DecentralizedTrainer(normalised, batches(), RING, vectorise=True)


def test_batches_of_uneven_size_are_taken_one_by_one():
    uneven = batches()
    uneven[1] = [(x[:4], y[:4]) for x, y in uneven[1]]
    trainer = DecentralizedTrainer(network, uneven, RING, attack=pgd(0.1)).fit(1)
    assert len(trainer.losses) == 3


def test_training_leaves_the_global_generator_alone_and_repeats():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one, two = (flat(DecentralizedTrainer(network, batches(), RING, attack=pgd(0.1)).fit(2)) for _ in range(2))
    assert (one == two).all()
    assert (torch.random.get_rng_state() == state).all()


def test_an_agents_model_is_its_slice_of_the_stack():
    trainer = DecentralizedTrainer(network, batches(), RING, same_start=False).fit(1)
    x = torch.randn(4, 5)
    assert (trainer.logits(x)[2] == trainer.agent_model(2)(x)).all()
    assert not torch.allclose(trainer.logits(x)[0], trainer.logits(x)[2])


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="the graph has 4 agents, but there are 3 loaders"):
        DecentralizedTrainer(network, batches(agents=3), RING)
    with pytest.raises(ValueError, match="the attack has 5 strengths for 4 agents"):
        DecentralizedTrainer(network, batches(), RING, attack=fgm(torch.ones(5)), vectorise=False)
    with pytest.raises(ValueError, match="strategy must be"):
        DecentralizedTrainer(network, batches(), RING, "gossip")
    empty = batches()
    empty[2] = []
    with pytest.raises(ValueError, match="agent 2 has no data"):
        DecentralizedTrainer(network, empty, RING).fit(1)
    broken = batches()
    broken[1] = [(x * float("nan"), y) for x, y in broken[1]]
    with pytest.raises(FloatingPointError, match="agent 1 is not finite"):
        DecentralizedTrainer(network, broken, RING).fit(1)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(72, 3)

    def forward(self, x):
        return self.outer(nn.functional.max_pool2d(self.inner(x).relu(), 2).flatten(1))


@pytest.mark.parametrize("attack", [None, pgd(0.3, sample_dims=3)])
def test_convolutions_and_pooling_at_once_equal_a_loop_over_agents(attack):
    rng = torch.Generator().manual_seed(0)
    images = [
        [(torch.randn(6, 1, 6, 6, generator=rng), torch.randint(3, (6,), generator=rng)) for _ in range(3)]
        for _ in range(4)
    ]
    trained = [
        flat(DecentralizedTrainer(Convolution, images, RING, attack=attack, vectorise=together).fit(2))
        for together in (True, False)
    ]
    assert trained[0] == pytest.approx(trained[1].numpy(), abs=1e-6)


def test_all_parameters_lie_in_one_stack_which_the_optimiser_and_the_combination_move():
    seen = []
    trainer = DecentralizedTrainer(
        network, batches(), RING, optimizer_fn=lambda p: seen.extend(p) or torch.optim.SGD(p, lr=0.1)
    )
    assert [tuple(tensor.shape) for tensor in seen] == [(4, 5 * 8 + 8 + 8 * 3 + 3)]
    trainer.fit(1)
    assert torch.equal(flat(trainer), trainer.stack.detach())
    own = torch.cat([p.detach().flatten() for p in trainer.agent_model(3).parameters()])
    assert torch.equal(own, trainer.stack.detach()[3])


@pytest.mark.parametrize("together", [True, False])
def test_a_frozen_parameter_stays_as_it_is(together):
    def frozen() -> nn.Module:
        model = network()
        model[0].weight.requires_grad_(False)
        return model

    before = DecentralizedTrainer(frozen, batches(), RING).agent_model(1)[0].weight.clone()
    trainer = DecentralizedTrainer(frozen, batches(), RING, attack=pgd(0.2), vectorise=together).fit(2)
    assert torch.equal(trainer.agent_model(1)[0].weight, before)
    assert trainer.stack.shape == (4, 8 + 8 * 3 + 3)
    assert trainer.losses[-1] < trainer.losses[0]


def test_parameters_of_two_dtypes_are_refused():
    def mixed() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3).double())

    with pytest.raises(ValueError, match=r"all of one dtype, got torch\.float32 and torch\.float64"):
        DecentralizedTrainer(mixed, batches(), RING)


def test_the_mean_model_has_the_weighted_mean_of_the_agents_parameters_and_is_a_copy():
    trainer = DecentralizedTrainer(network, batches(), RING, "none", same_start=False).fit(1)
    model = trainer.mean_model()
    found = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert found.numpy() == pytest.approx((trainer.pi @ trainer.stack.detach()).numpy(), abs=1e-6)
    before = trainer.stack.detach().clone()
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(trainer.stack.detach(), before)
    assert not model.training


def test_where_everybody_hears_everybody_diffusion_is_central_training():
    complete = [(i, j) for i in range(4) for j in range(i)]
    stacks = [
        DecentralizedTrainer(
            network, batches(), complete, strategy, pgd(0.2), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)
        )
        .fit(2)
        .stack.detach()
        for strategy in ("diffusion", "central")
    ]
    assert stacks[0].numpy() == pytest.approx(stacks[1].numpy(), abs=1e-6)
