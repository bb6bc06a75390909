"""Two graphs to align: a pair with known noise that is made on the spot, or the user's own."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from tameshi.doors.models import PICKLES
from tameshi.specimens.edge_lists import LARGEST, Integers, edge_list, places_of, two_columns

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GraphPair:
    """Two graphs, some known correspondences, and others to test on.

    Args:
        name: for people.
        fingerprint: sha256 of everything that follows.
        edges1, edges2: (2, m), every edge once.
        sizes: (n1, n2).
        anchors: (k, 2) known pairs.
        test: (t, 2) pairs to test on.
        x1, x2: attributes of the nodes (n, f), or None.
        made: (nodes, edges each new node brings, share of anchors) where the pair is generated; None for the user's own.
    """

    name: str
    fingerprint: str
    edges1: Integers
    edges2: Integers
    sizes: tuple[int, int]
    anchors: Integers
    test: Integers
    x1: Floats | None = None
    x2: Floats | None = None
    made: tuple[int, int, float] | None = None

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Open "specimen:ba" (also "specimen:ba-300" for another size), a `.npz` file, or a folder of edge lists.

        A `.npz` has edge_index1, edge_index2 (2, m), pos_pairs and test_pairs (k, 2), and may have x1 and x2 (the format of the
        official JOENA repository; its pickled attributes are never read). A folder has graph1.csv, graph2.csv, anchors.csv and
        test.csv, two columns each.

        Raises:
            ValueError: not there, cut, an array of the wrong shape or pickled; names file and array.
        """
        if address.startswith("specimen:"):
            named = re.fullmatch(r"ba(?:-(\d+))?", address.removeprefix("specimen:"))
            nodes = int(named[1] or 200) if named else 0
            if not 20 <= nodes <= 20_000:
                raise ValueError(
                    f"there is no {address}; there are specimen:ba and specimen:ba-N with 20 <= N <= 20000"
                )
            return cls._generated(nodes, noise=0.0, seed=0)
        path = Path(address).expanduser()
        if path.suffix in PICKLES:  # those of PlanetAlign
            raise ValueError(
                f"{path} is a pickle, which can run any code when it is read; save its edge_index1, edge_index2, pos_pairs "
                "and test_pairs with numpy.savez"
            )
        if path.is_dir():
            return cls._of(str(path), **_folder(path))
        return cls._of(str(path), **_npz(path))

    @classmethod
    def _of(cls, name: str, edges1: Integers, edges2: Integers, **rest: Any) -> Self:
        digest = hashlib.sha256(repr(rest["sizes"]).encode())
        for part in (edges1, edges2, rest["anchors"], rest["test"], rest.get("x1"), rest.get("x2")):
            digest.update(b"-" if part is None else repr(part.shape).encode() + part.tobytes())
        return cls(name, digest.hexdigest(), edges1, edges2, **rest)

    @classmethod
    def _generated(cls, nodes: int, *, noise: float, seed: int, attach: int = 5, ratio: float = 0.2) -> Self:
        """A Barabási-Albert graph, and its copy with relabelled nodes and a share of its edges moved."""
        rng = np.random.default_rng(seed)  # the graph and its anchors are the same at every noise
        clean = barabasi_albert(nodes, attach, rng)
        names = rng.permutation(nodes)
        order = rng.permutation(nodes)
        pairs = np.stack([order, names[order]], axis=1)
        known = round(ratio * nodes)
        noisy = names[moved_edges(clean, nodes, noise, np.random.default_rng([seed, round(noise * 1000)]))]
        return cls._of(
            f"specimen:ba-{nodes}",
            clean,
            np.sort(noisy, axis=0),
            sizes=(nodes, nodes),
            anchors=pairs[:known],
            test=pairs[known:],
            made=(nodes, attach, ratio),
        )

    def drawn(self, noise: float, seed: int) -> GraphPair:
        """The pair under noise: `noise` times the number of edges of the second graph are taken away, and as many added.

        A generated pair is generated anew from the seed; of the user's own only the second graph changes, and at noise 0 nothing.

        Raises:
            ValueError: noise outside [0, 1].
        """
        if not 0 <= noise <= 1:
            raise ValueError(f"noise must be a share of the edges, in [0, 1], got {noise}")
        if self.made is not None:
            nodes, attach, ratio = self.made
            return self._generated(nodes, noise=noise, seed=seed, attach=attach, ratio=ratio)
        if noise == 0:
            return self
        rng = np.random.default_rng([seed, round(noise * 1000)])
        return replace(self, edges2=moved_edges(self.edges2, self.sizes[1], noise, rng))

    def attributed(self, noise: float, seed: int, *, width: int = 8) -> GraphPair:
        """The pair with attributes, of which a share of the second graph's nodes have swapped theirs among each other.

        A generated pair gets `width` normal numbers a node, the same for counterparts; the user's own keeps what it has.

        Raises:
            ValueError: noise outside [0, 1], or a pair of the user's own without attributes.
        """
        if not 0 <= noise <= 1:
            raise ValueError(f"attribute noise must be a share of the nodes, in [0, 1], got {noise}")
        rng = np.random.default_rng([seed, 7])
        x1, x2 = self.x1, self.x2
        if self.made is not None:
            x1 = rng.normal(size=(self.sizes[0], width))
            x2 = np.empty_like(x1)
            here, there = np.concatenate([self.anchors, self.test]).T
            x2[there] = x1[here]
        if x1 is None or x2 is None:
            raise ValueError(f"{self.name} has no attributes to put noise on")
        hit = rng.permutation(self.sizes[1])[: round(noise * self.sizes[1])]
        x2 = x2.copy()
        x2[hit] = x2[np.roll(hit, 1)]
        return replace(self, x1=x1, x2=x2)

    @cached_property
    def g1(self) -> sp.csr_array[Any, Any]:
        """The first graph as an adjacency matrix."""
        return _adjacency(self.edges1, self.sizes[0])

    @cached_property
    def g2(self) -> sp.csr_array[Any, Any]:
        """The second graph as an adjacency matrix."""
        return _adjacency(self.edges2, self.sizes[1])


def barabasi_albert(nodes: int, attach: int, rng: np.random.Generator) -> Integers:
    """Edges (2, m) of a graph in which each new node joins `attach` old ones, the likelier the more edges they have."""
    targets = list(range(attach))
    repeated: list[int] = []
    edges: list[tuple[int, int]] = []
    for node in range(attach, nodes):
        edges += [(target, node) for target in targets]
        repeated += [*targets, *[node] * attach]
        targets = []
        while len(targets) < attach:
            drawn = repeated[int(rng.integers(len(repeated)))]
            if drawn not in targets:
                targets.append(drawn)
    return np.array(edges, dtype=np.int64).T


def moved_edges(edges: Integers, nodes: int, share: float, rng: np.random.Generator) -> Integers:
    """Edges with a share of them taken away, and as many pairs that had none put in."""
    count = round(share * edges.shape[1])
    kept = np.delete(edges, rng.choice(edges.shape[1], count, replace=False), axis=1)
    present = set(zip(*np.sort(edges, axis=0).tolist(), strict=True))
    if len(present) + count > nodes * (nodes - 1) // 2:
        raise ValueError(f"a graph of {nodes} nodes has no room for {count} new edges")
    added: list[tuple[int, int]] = []
    while len(added) < count:
        u, v = sorted(rng.integers(nodes, size=2).tolist())
        if u != v and (u, v) not in present:
            present.add((u, v))
            added.append((u, v))
    return np.concatenate([kept, np.array(added, dtype=np.int64).reshape(-1, 2).T], axis=1)


def _adjacency(edges: Integers, nodes: int) -> sp.csr_array[Any, Any]:
    one_way = sp.csr_array(sp.coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(nodes, nodes)))
    both = sp.csr_array(one_way + one_way.T)
    both.data[:] = 1
    return both


def _folder(folder: Path) -> dict[str, Any]:
    first, second = (edge_list(folder / f"graph{side}.csv") for side in (1, 2))
    return {
        "edges1": first.edges,
        "edges2": second.edges,
        "sizes": (len(first.names), len(second.names)),
        "anchors": places_of(two_columns(folder / "anchors.csv"), first, second, folder / "anchors.csv"),
        "test": places_of(two_columns(folder / "test.csv"), first, second, folder / "test.csv"),
    }


def _npz(file: Path) -> dict[str, Any]:
    """The arrays of a `.npz`; object arrays are never unpickled: as attributes they count as none, elsewhere they are refused."""
    if not file.is_file():
        raise ValueError(f"the graph pair {file} does not exist; pass a .npz, a folder of edge lists, or specimen:ba")
    try:
        with zipfile.ZipFile(file) as archive:
            huge = [entry.filename for entry in archive.infolist() if entry.file_size > LARGEST]
        if huge:
            raise ValueError(f"{huge[0]} in {file} unpacks to more than {LARGEST:,} bytes")
        with np.load(file, allow_pickle=False) as opened:
            arrays = {name: _array(opened, name, file) for name in opened.files}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError(f"{file} is not a whole .npz file: {error}") from error
    missing = [n for n in ("edge_index1", "edge_index2", "pos_pairs", "test_pairs") if arrays.get(n) is None]
    if missing:
        raise ValueError(
            f"{file} has no readable array {missing[0]}; it must hold edge_index1, edge_index2, pos_pairs, test_pairs"
        )
    edges = [_whole(arrays[f"edge_index{side}"], (2, None), f"edge_index{side} of {file}") for side in (1, 2)]
    pairs = [_whole(arrays[name], (None, 2), f"{name} of {file}") for name in ("pos_pairs", "test_pairs")]
    attributes = [arrays.get("x1"), arrays.get("x2")]
    if any(x is None or x.dtype.kind not in "fiub" or x.ndim != 2 for x in attributes):
        attributes = [None, None]
    sizes = []
    for side in (0, 1):
        named = max(int(edges[side].max(initial=-1)), *(int(p[:, side].max(initial=-1)) for p in pairs)) + 1
        x = attributes[side]
        if x is not None and len(x) < named:
            raise ValueError(f"x{side + 1} of {file} has {len(x)} rows, but graph {side + 1} has {named} nodes")
        sizes.append(named if x is None else len(x))
    return {
        "edges1": _once(edges[0]),
        "edges2": _once(edges[1]),
        "sizes": (sizes[0], sizes[1]),
        "anchors": pairs[0],
        "test": pairs[1],
        "x1": None if attributes[0] is None else attributes[0].astype(np.float64),
        "x2": None if attributes[1] is None else attributes[1].astype(np.float64),
    }


def _array(opened: Any, name: str, file: Path) -> npt.NDArray[Any] | None:
    try:
        return np.asarray(opened[name])
    except ValueError as error:
        if "pickle" in str(error).lower():  # an object array: left unread
            return None
        raise ValueError(f"the array {name} of {file} cannot be read: {error}") from error


def _whole(array: Any, shape: tuple[int | None, int | None], what: str) -> Integers:
    fits = array.ndim == 2 and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "iu":
        wanted = ", ".join("m" if want is None else str(want) for want in shape)
        raise ValueError(f"{what} must be whole numbers of shape ({wanted}), got {array.dtype} of shape {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"{what} must not hold negative numbers, got {array.min()}")
    return np.asarray(array, dtype=np.int64)


def _once(edges: Integers) -> Integers:
    """Every edge once, in order; loops are kept."""
    return np.unique(np.sort(edges, axis=0), axis=1)
