"""A scikit-learn classifier trained by agents on a graph, and its exact accuracy under attack.

Cao, Rizk, Vlaski and Sayed 2023, arXiv:2303.13326; the recursions stand in `linear_network`.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from tameshi.graphs.attacks import Norm, as_norm, robust_margin
from tameshi.graphs.combination import combination_matrix, erdos_renyi, perron
from tameshi.graphs.edges import Floats, as_adjacency
from tameshi.graphs.linear_network import LOSSES, STRATEGIES, Loss, Strategy, disagreement, sample_draws, train_linear


class RobustNetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Two-class linear classifier trained by agents on a communication graph, each against its own attack.

    Args:
        strategy: "diffusion", "consensus", "central" (one model from all agents' gradients) or "none" (each for itself).
        eps: strength of the attacks in training, one number or one per agent; 0 is clean training.
        norm: of the attacks, 2, "inf" or 1.
        loss: "logistic", "hinge", "exponential".
        n_agents: K, where neither `graph` nor `agents` in `fit` says.
        graph: "erdos_renyi", or a graph as `as_adjacency` takes it.
        edge_probability: of the random graph.
        combine: rule of `combination_matrix`, or a matrix whose columns sum to 1.
        allow_disconnected: let a graph through that falls into parts.
        target_weights: (K,) wanted weights of the agents' data instead of the Perron vector of `combine`: gradients are
            multiplied by target/π (our choice).
        step, ridge, iterations: μ, ρ, and how many samples every agent sees. Defaults are our choice; the paper's were not
            found.
        fit_intercept: learn an intercept, which no attack touches.
        random_state: int or None; of the split, the graph and the order of samples.

    Attributes:
        classes_ (2,), coef_ (1, d) and intercept_ (1,): the π-weighted mean of the agents' models, by which `predict` decides;
        agent_coef_ (K, d), agent_intercept_ (K,), pi_ (K,), combination_ (K, K), agents_ (n,);
        disagreement_: root mean square distance of the agents' models from their plain mean.
    """

    def __init__(
        self,
        *,
        strategy: Strategy = "diffusion",
        eps: Any = 0.5,
        norm: Any = 2,
        loss: Loss = "logistic",
        n_agents: int = 20,
        graph: Any = "erdos_renyi",
        edge_probability: float = 0.2,
        combine: Any = "metropolis",
        allow_disconnected: bool = False,
        target_weights: Any = None,
        step: float = 0.05,
        ridge: float = 1e-3,
        iterations: int = 3000,
        fit_intercept: bool = True,
        random_state: int | None = 0,
    ) -> None:
        self.strategy = strategy
        self.eps = eps
        self.norm = norm
        self.loss = loss
        self.n_agents = n_agents
        self.graph = graph
        self.edge_probability = edge_probability
        self.combine = combine
        self.allow_disconnected = allow_disconnected
        self.target_weights = target_weights
        self.step = step
        self.ridge = ridge
        self.iterations = iterations
        self.fit_intercept = fit_intercept
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any, agents: Any = None) -> Self:
        """Train.

        Args:
            X: (n, d).
            y: (n,), two classes.
            agents: (n,) whole numbers 0 ... K-1: whose sample each row is. By default rows are dealt out at random.

        Raises:
            ValueError: labels that are not two classes, an agent without data, strengths that do not fit, a graph or matrix
                that cannot be used.
            FloatingPointError: the models diverged.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass: "
                f"{len(self.classes_)} classes were given."
            )
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs samples of 2 classes; the data has 1 class, {self.classes_[0]!r}")
        norm = self._check()
        rng = np.random.default_rng(self.random_state)
        self.agents_ = self._agents(len(X), agents, rng)
        count = int(self.agents_.max()) + 1
        graph = self.graph
        if isinstance(graph, str):
            if graph != "erdos_renyi":
                raise ValueError(f'graph must be "erdos_renyi" or a graph, got {graph!r}')
            graph = erdos_renyi(count, self.edge_probability, seed=int(rng.integers(2**31)))
        matrix = combination_matrix(graph, self.combine, allow_disconnected=self.allow_disconnected)
        if len(matrix) != count:
            raise ValueError(f"the graph has {len(matrix)} agents, but the data belong to {count}")
        self.combination_ = np.eye(count) if self.strategy == "none" else matrix
        self.pi_ = np.full(count, 1 / count) if self.strategy == "none" else perron(matrix)

        trained = train_linear(
            X,
            np.where(codes == 1, 1.0, -1.0),
            sample_draws(self.agents_, self.iterations, rng),
            self.combination_,
            strategy=self.strategy,
            eps=self._strengths(count),
            norm=norm,
            loss=self.loss,
            step=self.step,
            ridge=self.ridge,
            intercept=self.fit_intercept,
            gradient_weights=self._gradient_weights(count),
        )
        self.agent_coef_, self.agent_intercept_ = trained.weights, trained.intercepts
        self.coef_ = (self.pi_ @ self.agent_coef_)[None]
        self.intercept_ = np.array([self.pi_ @ self.agent_intercept_])
        self.disagreement_ = disagreement(self.agent_coef_)
        self.n_iter_ = self.iterations
        return self

    def decision_function(self, X: Any) -> Floats:
        """(n,) scores of the mean model; positive for classes_[1]."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.asarray(X @ self.coef_[0] + self.intercept_[0])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """(n,) classes."""
        check_is_fitted(self)
        return np.asarray(self.classes_[(self.decision_function(X) > 0).astype(int)])

    def agent_scores(self, X: Any, y: Any) -> Floats:
        """(K,) accuracy of every agent's own model; `score` is that of the mean model."""
        return np.asarray(robust_correct(self, X, y, 0.0).mean(axis=1))

    def _check(self) -> Norm:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {self.strategy!r}")
        if self.loss not in LOSSES or self.loss == "squared":
            raise ValueError(f"loss must be one of logistic, hinge, exponential, got {self.loss!r}")
        if not self.step > 0 or self.ridge < 0 or self.iterations < 1:
            raise ValueError("step must be above 0, ridge at least 0 and iterations at least 1")
        return as_norm(self.norm)

    def _agents(self, rows: int, agents: Any, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        if agents is None:
            count = self.n_agents
            if not isinstance(self.graph, str):
                count = as_adjacency(self.graph, directed=True).shape[0]
            # fewer rows than agents leave some without data, where nobody has said whose they are: they are not made
            return rng.permutation(np.arange(rows) % min(count, rows)).astype(np.int64)
        owners = np.asarray(agents)
        if owners.shape != (rows,) or owners.dtype.kind not in "iu":
            raise ValueError(
                f"agents must be {rows} whole numbers, one per row, got {owners.dtype} of shape {owners.shape}"
            )
        if owners.min() < 0:
            raise ValueError(f"agents are numbered from 0, got {owners.min()}")
        empty = np.flatnonzero(np.bincount(owners) == 0)
        if len(empty):
            raise ValueError(f"agent {empty[0]} has no data")
        return owners.astype(np.int64)

    def _strengths(self, count: int) -> Floats:
        eps = np.asarray(self.eps, dtype=np.float64)
        if eps.ndim > 1 or (eps.ndim == 1 and len(eps) != count):
            raise ValueError(f"eps must be one number or one per agent ({count}), got shape {eps.shape}")
        if not np.isfinite(eps).all() or (eps < 0).any():
            raise ValueError("eps must be finite and at least 0")
        return np.broadcast_to(eps, (count,)).copy()

    def _gradient_weights(self, count: int) -> Floats | None:
        if self.target_weights is None:
            return self.pi_ if self.strategy == "central" else None
        target = np.asarray(self.target_weights, dtype=np.float64)
        if target.shape != (count,) or not (target > 0).all() or not np.isclose(target.sum(), 1):
            raise ValueError(f"target_weights must be {count} positive numbers that sum to 1")
        return target if self.strategy == "central" else target / self.pi_


def robust_correct(
    classifier: RobustNetworkClassifier, X: Any, y: Any, eps: float, norm: Any = 2
) -> npt.NDArray[np.bool_]:
    """(K, n): whether each agent is right on each input (n, d) under its own worst perturbation of norm `eps`.

    Raises:
        ValueError: a strength that is negative or not finite, a label that is none of the classes, an unknown norm.
    """
    if not 0 <= eps < np.inf:
        raise ValueError(f"the strength of an attack must be finite and at least 0, got {eps:g}")
    check_is_fitted(classifier)
    inputs, labels = np.asarray(X, dtype=np.float64), _signs(classifier, y)
    return np.stack(
        [
            robust_margin(inputs, labels, w, eps, as_norm(norm), b) > 0
            for w, b in zip(classifier.agent_coef_, classifier.agent_intercept_, strict=True)
        ]
    )


def robust_accuracy(
    classifier: RobustNetworkClassifier, X: Any, y: Any, eps: Any = (0.0,), norm: Any = 2
) -> dict[float, dict[str, float]]:
    """Exact accuracy under attack: {eps: {"agents": mean over agents, "mean_model": of the averaged model}}.

    Both are given because they differ: an agent's own attack is made for its own model.

    Args:
        X, y: (n, d) and (n,).
        eps: one strength or several, in the unit of X.
        norm: 2, "inf" or 1.

    Raises:
        ValueError: as `robust_correct`.
    """
    found = {}
    labels = None
    for strength in np.atleast_1d(np.asarray(eps, dtype=np.float64)).tolist():
        labels = _signs(classifier, y) if labels is None else labels
        margin = robust_margin(
            np.asarray(X, dtype=np.float64),
            labels,
            classifier.coef_[0],
            strength,
            as_norm(norm),
            classifier.intercept_[0],
        )
        agents = robust_correct(classifier, X, y, strength, norm)
        found[strength] = {"agents": float(agents.mean()), "mean_model": float((margin > 0).mean())}
    return found


def _signs(classifier: RobustNetworkClassifier, y: Any) -> Floats:
    labels = np.asarray(y)
    unknown = ~np.isin(labels, classifier.classes_)
    if unknown.any():
        raise ValueError(f"label {labels[unknown][0]!r} is none of the classes {classifier.classes_.tolist()}")
    return np.where(labels == classifier.classes_[1], 1.0, -1.0)
