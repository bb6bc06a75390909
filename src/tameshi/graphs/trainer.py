"""Decentralised adversarial training of any torch module: one copy per agent, averaged along a graph.

The copies are stacked into one set of parameters with the agents along the first axis, so that all agents' gradients and attacks
come out of one call (`torch.func.vmap`, recorded), and combining is one matrix product. Modules with batch
statistics, and attacks that know nothing of stacks (torchattacks, foolbox), go through a loop over agents that gives the same
numbers.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from tameshi.graphs.attacks import GradientAttack
from tameshi.graphs.combination import Rule, combination_matrix, perron
from tameshi.graphs.linear_network import STRATEGIES, Strategy
from tameshi.graphs.recorded import Recorded

Attack = Callable[..., Tensor]
Batch = tuple[Tensor, Tensor]


class DecentralizedTrainer:
    """Train K copies of a network on K data streams.

    Args:
        model_fn: makes one network; called once per agent under seeds `seed`, or once for all with `same_start`.
        loaders: one iterable of (inputs, labels) batches per agent. An epoch has as many steps as the shortest.
        graph: who talks to whom, as `as_adjacency` takes it.
        strategy: "diffusion", "consensus", "central", "none" (see `linear_network`).
        attack: `(model, x, y) -> x_adv`; None trains clean. A `GradientAttack` runs for all agents at once, each with its own
            strength where `eps` is a tensor.
        optimizer_fn: [the stack (K, d)] -> optimiser; it must work elementwise (SGD, Adam), since all agents' parameters lie in
            one tensor.
        combine: rule of `combination_matrix`, or a matrix.
        loss_fn: (logits, labels) -> mean loss of a batch.
        vectorise: True, False, or "auto": wherever the module allows it. The operations of a step are recorded and replayed, so
            a network whose course changes between steps (by a counter, say) needs False.
        same_start: all agents start from the same weights.
        seed: of the weights, and of the attacks' random starts.

    Limits: K copies of the model in memory. Attacks are made in evaluation mode and steps in training mode; the perturbation is
    a constant for the step (Danskin), so that there is no second-order gradient. Running batch statistics are combined like
    parameters (our choice). A parameter that does not require a gradient stays as it is.

    Raises:
        ValueError: an unknown strategy, a graph or matrix that cannot be used, another number of loaders, or of
            strengths of the attack, than of agents, parameters of several dtypes or none, or `vectorise=True` for a module that needs the loop.
    """

    def __init__(
        self,
        model_fn: Callable[[], nn.Module],
        loaders: Sequence[Iterable[Batch]],
        graph: Any,
        strategy: Strategy = "diffusion",
        attack: Attack | None = None,
        optimizer_fn: Callable[[list[Tensor]], torch.optim.Optimizer] = lambda p: torch.optim.SGD(p, lr=0.05),
        *,
        combine: Rule | Any = "metropolis",
        loss_fn: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
        vectorise: bool | Literal["auto"] = "auto",
        same_start: bool = True,
        seed: int = 0,
    ) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        matrix = combination_matrix(graph, combine)
        if len(matrix) != len(loaders):
            raise ValueError(f"the graph has {len(matrix)} agents, but there are {len(loaders)} loaders")
        if isinstance(attack, GradientAttack) and len(attack.strengths) not in (0, len(loaders)):
            raise ValueError(f"the attack has {len(attack.strengths)} strengths for {len(loaders)} agents")
        self.loaders, self.strategy, self.attack, self.loss_fn = loaders, strategy, attack, loss_fn
        self.pi = torch.from_numpy(perron(matrix)).float()
        self.combination = torch.from_numpy(matrix).float()
        self.models = self._drawn(model_fn, len(matrix), same_start=same_start, seed=seed)
        weights, self.buffers = stack_module_state(self.models)
        trained: dict[str, Tensor] = {}
        frozen: dict[str, Tensor] = {}
        for name, parameter in self.models[0].named_parameters():
            (trained if parameter.requires_grad else frozen)[name] = weights[name].detach()
        self.stack = _flat(trained).requires_grad_()
        self.stack.grad = torch.zeros_like(self.stack)
        self.parameters, self.slopes = _parts(self.stack.detach(), trained), _parts(self.stack.grad, trained)
        self.state = {**self.parameters, **frozen, **self.buffers}  # each (K, ...)
        self.optimizer = optimizer_fn([self.stack])
        statistics = any(isinstance(m, nn.modules.batchnorm._BatchNorm | nn.Dropout) for m in self.models[0].modules())
        if vectorise is True and statistics:
            raise ValueError("a module with batch statistics or dropout cannot be vectorised; pass vectorise=False")
        self.vectorised = not statistics if vectorise == "auto" else vectorise
        self.chain = _chain(self.models[0])
        self.attack_together, self.slopes_together = Recorded(self._attack_of), Recorded(self._slopes_of)
        self.generator = torch.Generator().manual_seed(seed)
        self.losses: list[float] = []

    def fit(self, epochs: int = 1) -> Self:
        """Train for some epochs more.

        Raises:
            FloatingPointError: a loss is not finite; a smaller step may help.
            ValueError: an agent without data.
        """
        for _ in range(epochs):
            iterators: list[Iterator[Batch]] = [iter(loader) for loader in self.loaders]
            for step in itertools.count():
                batches: list[Batch] = []
                for k, iterator in enumerate(iterators):
                    batch = next(iterator, None)
                    if batch is None and step == 0:
                        raise ValueError(f"agent {k} has no data")
                    if batch is None:
                        break
                    batches.append(batch)
                if len(batches) < len(iterators):
                    break
                self.step(batches)
        return self

    def step(self, batches: Sequence[Batch]) -> float:
        """One step of all agents on one batch each; returns the mean loss under attack."""
        even = len({x.shape for x, _ in batches}) == 1
        losses = self._at_once(batches) if self.vectorised and even else self._one_by_one(batches)
        mean = float(losses.mean())
        if not math.isfinite(mean):
            worst = int((~torch.isfinite(losses)).int().argmax())
            raise FloatingPointError(f"the loss of agent {worst} is not finite; try a smaller step size")
        with torch.no_grad():
            if self.strategy == "central":
                assert self.stack.grad is not None
                self.stack.grad.copy_(self._mixed(self.pi[:, None].expand_as(self.combination), self.stack.grad))
            before = self.stack.clone() if self.strategy == "consensus" else None
            self.optimizer.step()
            if before is not None:  # Aᵀ W - μ G: what the neighbours had, plus this agent's own step
                self.stack.add_(self._mixed(self.combination, before) - before)
            elif self.strategy == "diffusion":
                self.stack.copy_(self._mixed(self.combination, self.stack))
            if self.strategy in ("diffusion", "consensus"):
                for buffer in self.buffers.values():
                    if buffer.is_floating_point():
                        buffer.copy_(self._mixed(self.combination, buffer))
        self.losses.append(mean)
        return mean

    def agent_model(self, k: int) -> nn.Module:
        """The network of one agent, in evaluation mode; a module of its own that shares memory with the stack."""
        model = self.models[k]
        for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
            tensor.data = self.state[name].data[k]
        return model.eval()

    def mean_model(self) -> nn.Module:
        """A network of the agents' mean parameters and statistics, weighted by π, in evaluation mode; a copy."""
        model = copy.deepcopy(self.agent_model(0))
        for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
            if tensor.is_floating_point():
                tensor.data = torch.tensordot(self.pi.to(tensor.dtype), self.state[name].data, dims=1)
        return model

    def logits(self, x: Tensor) -> Tensor:
        """(K, n, classes): what every agent says to the same inputs (n, ...)."""
        with torch.no_grad():
            return torch.stack([self.agent_model(k)(x) for k in range(len(self.models))])

    def disagreement(self) -> float:
        """Root mean square distance of the agents' parameters from their mean."""
        return float((self.stack.detach() - self.stack.detach().mean(dim=0)).square().sum(dim=1).mean().sqrt())

    @staticmethod
    def _drawn(model_fn: Callable[[], nn.Module], agents: int, *, same_start: bool, seed: int) -> list[nn.Module]:
        models = []
        with torch.random.fork_rng(devices=[]):
            for k in range(agents):
                torch.manual_seed(seed if same_start else seed * 100_003 + k)
                models.append(model_fn())
        return models

    @staticmethod
    def _mixed(weights: Tensor, stack: Tensor) -> Tensor:
        """Σ_l a_lk stack_l for every k, at the stack's dtype."""
        return (weights.to(stack.dtype).T @ stack.flatten(1)).view_as(stack)

    def _together(self, state: Sequence[Tensor], x: Tensor) -> Tensor:
        """Logits (K, batch, classes) of inputs (K, batch, ...), every agent through its own network.

        Args:
            state: parameters and buffers (K, ...), in the order of `self.state`.
            x: inputs.
        """
        base, named = self.models[0], dict(zip(self.state, state, strict=True))
        if self.chain is not None and x.ndim == 3:
            return _through(self.chain, named, x)
        result: Tensor = vmap(lambda own, inputs: functional_call(base, own, (inputs,)))(named, x)
        return result

    def _attack_of(self, x: Tensor, y: Tensor, start: Tensor, *state: Tensor) -> tuple[Tensor]:
        assert isinstance(self.attack, GradientAttack)
        return (self.attack(lambda moved: self._together(state, moved), x, y, start),)

    def _slopes_of(self, x: Tensor, y: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The agents' losses (K,), and the gradient of each stacked parameter."""
        count = len(self.parameters)
        weights = [tensor.detach().requires_grad_() for tensor in state[:count]]
        losses: Tensor = vmap(self.loss_fn)(self._together((*weights, *state[count:]), x), y)
        return losses.detach(), *torch.autograd.grad(losses.sum(), weights, materialize_grads=True)

    def _at_once(self, batches: Sequence[Batch]) -> Tensor:
        """Attack all agents and fill the gradient of the stack; returns their losses (K,)."""
        x, y = torch.stack([x for x, _ in batches]), torch.stack([y for _, y in batches])
        if isinstance(self.attack, GradientAttack):
            self.models[0].eval()
            (x,) = self.attack_together(x, y, torch.stack(self._starts(batches)), *self.state.values())
        elif self.attack is not None:
            x = torch.stack([self.attack(self.agent_model(k), *batch).detach() for k, batch in enumerate(batches)])
        self.models[0].train()
        losses, *slopes = self.slopes_together(x, y, *self.state.values())
        for kept, slope in zip(self.slopes.values(), slopes, strict=True):
            kept.copy_(slope)
        return losses

    def _one_by_one(self, batches: Sequence[Batch]) -> Tensor:
        """The same by a loop over agents."""
        losses = []
        starts = self._starts(batches) if isinstance(self.attack, GradientAttack) else []
        for k, (x, y) in enumerate(batches):
            model = self.agent_model(k)
            if isinstance(self.attack, GradientAttack):
                x = self.attack.agent(k)(model, x, y, starts[k])
            elif self.attack is not None:
                x = self.attack(model, x, y).detach()
            loss = self.loss_fn(model.train()(x), y)
            weights = [tensor for tensor in model.parameters() if tensor.requires_grad]
            for kept, slope in zip(
                self.slopes.values(), torch.autograd.grad(loss, weights, materialize_grads=True), strict=True
            ):
                kept[k] = slope
            losses.append(loss.detach())
            for name, buffer in model.named_buffers():
                self.buffers[name].data[k] = buffer  # counters of batches are replaced, not updated in place
            model.eval()
        return torch.stack(losses)

    def _starts(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Where each agent's attack begins, drawn in the order of the agents."""
        return [GradientAttack.random_start(x.shape, self.generator).to(x.dtype) for x, _ in batches]


def _flat(stacked: dict[str, Tensor]) -> Tensor:
    """(K, d): what every agent has of each (K, ...), in one row, so that the optimiser's step and the combination are one operation."""
    if len(kinds := {str(tensor.dtype) for tensor in stacked.values()}) != 1:
        found = " and ".join(sorted(kinds)) or "none"
        raise ValueError(f"a network needs parameters to train, all of one dtype, got {found}")
    return torch.cat([tensor.flatten(1) for tensor in stacked.values()], dim=1)


def _parts(flat: Tensor, stacked: dict[str, Tensor]) -> dict[str, Tensor]:
    """The columns of each name, as views in the shapes of `stacked`."""
    columns = flat.split([tensor[0].numel() for tensor in stacked.values()], dim=1)
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(stacked.items(), columns, strict=True)}


ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Identity)


def _chain(model: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The layers of a plain chain of linear layers and elementwise functions, which needs no `vmap`; None for others."""
    if type(model) is not nn.Sequential:
        return None
    layers = list(model.named_children())
    if not all(type(layer) is nn.Linear or isinstance(layer, ELEMENTWISE) for _, layer in layers):
        return None
    return layers


def _through(chain: list[tuple[str, nn.Module]], weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """What `vmap` would give, a third of its time: one batched product for each linear layer; x (K, batch, features)."""
    for name, layer in chain:
        if isinstance(layer, nn.Linear):
            across = weights[f"{name}.weight"].mT
            bias = weights.get(f"{name}.bias")
            x = x @ across if bias is None else torch.baddbmm(bias[:, None], x, across)
        else:
            x = layer(x)
    return x
