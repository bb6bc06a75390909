"""JOENA's check holds on a working aligner, and fails on a broken one."""

import numpy as np
import pytest
import torch

import tameshi.graphs.joena as joena
from tameshi.bench import run_check
from tameshi.bench.shelf import stand
from tameshi.checks.joena import align

torch.set_num_threads(1)
QUICK = {"only": "alignment", "seeds": 4, "noises": (0.0, 0.35, 0.5)}


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAMESHI_HOME", str(tmp_path_factory.mktemp("home")))
        yield run_check("joena", **QUICK)


def test_nothing_breaks_and_every_method_is_measured(working):
    assert not working.errors
    assert {"joena", "parrot", "final", "isorank", "rwr-cosine", "joena-untrained"} <= set(working.rows.methods)
    assert working.rows.where(method="joena", noise=0.0).mean("reciprocal_rank") == 1.0
    area = {name: working.rows.where(method=name).mean("mrr_area") for name in ("joena", "parrot", "joena-no-shift")}
    assert area["joena"] > area["parrot"] > area["joena-no-shift"]


def test_a_coupling_that_knows_nothing_fails(monkeypatch):
    def blind(cost, *_, **__):
        return torch.full_like(cost, 1 / cost.numel())

    monkeypatch.setattr(joena, "fused_gromov", blind)
    verdicts = run_check("joena", **QUICK).verdicts
    assert verdicts["C1"].outcome == "fails"
    assert verdicts["C3"].outcome == "fails"
    assert verdicts["C4"].outcome == "fails"


def test_an_encoder_that_learns_nothing_fails_where_learning_is_claimed(monkeypatch):
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, *_: None)
    monkeypatch.setattr(joena, "optimal_shift", lambda cost, *_: 0.5 / cost.numel())
    assert run_check("joena", **QUICK).verdicts["C4"].outcome == "fails"


def test_a_slow_aligner_fails_where_speed_is_claimed(monkeypatch):
    original = joena.fused_gromov

    def slow(*arguments, **settings):
        for _ in range(9):
            original(*arguments, **settings)
        return original(*arguments, **settings)

    monkeypatch.setattr(joena, "fused_gromov", slow)
    found = run_check("joena", only="inference", seeds=4, repeats=1, data="specimen:ba-100")
    assert found.verdicts["C2"].outcome == "fails"


def test_figures_are_drawn_from_the_rows(working):
    for figure in stand("joena").figures:
        assert figure.function(working.rows).axes
        assert figure.function(working.rows.where(check="none")) is None
    (axes,) = stand("joena").figures[1].function(working.rows).axes
    dashed = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    parrot = [working.rows.where(method="parrot", noise=n).mean("mrr") for n in QUICK["noises"]]
    assert dashed == pytest.approx(parrot), "a line of PARROT's at every noise"


def test_the_protocol_of_the_paper_is_labelled(home):
    found = run_check("joena", **{**QUICK, "seeds": 1, "noises": (0.35,)}, protocol="paper")
    (name,) = [m for m in found.rows.methods if "optimistic" in m]
    assert found.rows.where(method=name).mean("mrr") >= found.rows.where(method="joena").mean("mrr")


def test_attributes_help_until_they_are_all_wrong(home):
    found = run_check("joena", only="attributes", seeds=2)
    assert not found.errors
    rank = {(name, level): found.rows.where(method=name, swapped=level).mean("attributed_rank")
            for name in ("joena", "parrot") for level in ("no attributes", 0.0, 0.5, 1.0)}  # fmt: skip
    for name in ("joena", "parrot"):
        assert rank[name, 0.0] > rank[name, "no attributes"] + 0.1
        assert rank[name, 0.0] > rank[name, 0.5] > rank[name, 1.0]
    assert rank["joena", 0.5] > rank["parrot", 0.5] + 0.1, "half of the attributes wrong, half of the edges moved"


def test_the_users_own_pair_is_checked(tmp_path, home):
    ring = np.array([[i, (i + 1) % 30] for i in range(30)] + [[0, 5], [3, 17], [8, 21], [2, 29], [11, 24]])
    everyone = np.stack([np.arange(30)] * 2, axis=1)
    np.savez(
        tmp_path / "p.npz", edge_index1=ring.T, edge_index2=ring.T, pos_pairs=everyone[::3], test_pairs=everyone[1::3]
    )
    found = run_check("joena", only="alignment", seeds=1, data=str(tmp_path / "p.npz"), noises=(0.0,), epochs=3)
    assert found.rows.where(method="joena").mean("mrr") == 1.0
    assert not run_check("joena", only="attributes", seeds=1, data=str(tmp_path / "p.npz")).rows, "it has none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noises": (1.5,)}, r"noise must be a share, in \[0, 1\], got 1.5"),
        ({"swapped": (-0.1,)}, r"noise must be a share, in \[0, 1\], got -0.1"),
        ({"gamma": -1.0}, "gamma must be above 0, got -1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"data": "nowhere.npz"}, "nowhere.npz does not exist"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_measured(home, options, message):
    with pytest.raises(ValueError, match=message):
        run_check("joena", **options)
    assert not home.exists()


def test_apply_writes_the_pairs(tmp_path):
    edges = [(i, (i + 1) % 20) for i in range(20)] + [(0, 5), (3, 17), (8, 11), (2, 19)]
    (tmp_path / "a.csv").write_text("\n".join(f"a{u},a{v}" for u, v in edges))
    (tmp_path / "b.csv").write_text("\n".join(f"b{u} b{v}" for u, v in edges))
    (tmp_path / "anchors.csv").write_text("\n".join(f"a{i},b{i}" for i in range(0, 20, 3)))
    told = align.function(
        tmp_path / "a.csv", tmp_path / "b.csv", anchors=tmp_path / "anchors.csv", output=tmp_path / "out.csv", epochs=4
    )
    assert "20 pairs of 20 and 20 nodes" in told
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "node1,node2,similarity"
    assert sum(u[1:] == v[1:] for u, v, _ in (line.split(",") for line in lines[1:])) >= 18


def test_apply_refuses_anchors_of_strangers_and_writes_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("a,b")
    (tmp_path / "anchors.csv").write_text("a,z")
    (tmp_path / "twice.csv").write_text("a,a\nb,a")
    with pytest.raises(ValueError, match=r"names 'a' 2 times, but a node has one counterpart"):
        align.function(
            tmp_path / "a.csv", tmp_path / "a.csv", anchors=tmp_path / "twice.csv", output=tmp_path / "out.csv"
        )
    with pytest.raises(ValueError, match="'z', which is no node of graph 2"):
        align.function(
            tmp_path / "a.csv", tmp_path / "a.csv", anchors=tmp_path / "anchors.csv", output=tmp_path / "out.csv"
        )
    assert not (tmp_path / "out.csv").exists()
