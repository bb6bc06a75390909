"""Contracts of the house, tested from outside and by discovery, so that a new file cannot be forgotten."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tameshi
from tameshi.bench.applications import names
from tameshi.bench.shelf import built, stand
from tameshi.bench.signature import parameters, summary
from tameshi.bench.work import Job, walk
from tameshi.catalogue import paper, papers
from tameshi.nouns.rows import key_of

ROOT = Path(tameshi.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
NO_WINGS = {"bench", "catalogue", "checks", "cli", "digest", "doors", "nouns", "specimens", "web"}
WINGS = sorted(p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists() and p.name not in NO_WINGS)
PAPERS = [slug for slug in built() if slug != "toy"]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


# (module or receiver, attribute): what only a door may call
RAW = {
    ("torch", "save"), ("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("pickle", "dump"), ("pickle", "dumps"),
    ("joblib", "load"), ("joblib", "dump"), ("np", "save"), ("np", "savez"), ("numpy", "save"), ("os", "system"),
    ("requests", "get"), ("requests", "post"), ("httpx", "get"), ("httpx", "post"), ("urllib.request", "urlopen"),
}  # fmt: skip
WRITERS = {"write_text", "write_bytes", "to_csv", "to_parquet", "to_json_file"}
BESIDE = {"bench/cost.py": "resets a switch of the kernel"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_raw_call_stands_beside_the_doors(source):
    place = source.relative_to(ROOT)
    if place.parts[0] == "doors" or place.as_posix() in BESIDE:
        return
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            receiver = ast.unparse(called.value)
            modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
            if (receiver, called.attr) in RAW or called.attr in WRITERS:
                found.append(f"line {node.lineno}: {receiver}.{called.attr}")
            if called.attr == "open" and any(
                isinstance(m, str) and set(m) <= set("wax+bt") and set(m) & set("wax+") for m in modes
            ):
                found.append(f"line {node.lineno}: {receiver}.open for writing")
            safe = {ast.unparse(k) for k in node.keywords}
            if receiver in {"np", "numpy"} and called.attr == "load" and "allow_pickle=False" not in safe:
                found.append(f"line {node.lineno}: np.load without allow_pickle=False")
        elif isinstance(called, ast.Name) and called.id in {"open", "eval", "exec", "__import__"}:
            modes = [a.value for a in node.args[1:] if isinstance(a, ast.Constant)]
            if called.id != "open" or any(set(str(m)) & set("wax+") for m in modes):
                found.append(f"line {node.lineno}: {called.id}")
    assert not found


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_exception_is_swallowed_in_silence(source):
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            assert not (silent and broad), f"line {node.lineno}"


@pytest.mark.parametrize("wing", WINGS)
def test_a_method_knows_nothing_of_checks(wing):
    for source in sorted((ROOT / wing).rglob("*.py")):
        for name in imported(ast.parse(source.read_text(encoding="utf-8"))):
            if name.split(".")[0] == "tameshi":
                allowed = ("tameshi.doors", f"tameshi.{wing}")
                assert name.startswith(allowed) or name == "tameshi", f"{source.name} imports {name}"


@pytest.mark.parametrize("wing", WINGS)
def test_importing_a_wing_imports_nothing_of_the_bench(wing):
    code = (
        f"import sys, pkgutil, importlib, tameshi.{wing} as wing\n"
        "for m in pkgutil.walk_packages(wing.__path__, wing.__name__ + '.'):\n"
        "    importlib.import_module(m.name)\n"
        "print([m for m in sys.modules if m.startswith(('tameshi.bench', 'tameshi.checks', 'tameshi.catalogue', 'tameshi.cli', 'tameshi.nouns'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command", [["papers"], ["show", "q-filters"], ["papers", "--lang", "ja", "--json"], ["--help"]]
)
def test_the_reading_commands_import_nothing_heavy(command):
    heavy = {
        "torch",
        "transformers",
        "scipy",
        "matplotlib",
        "numpy",
        "pandas",
        "sklearn",
        "jinja2",
        "inspect_ai",
        "ray",
    }
    code = (
        "import sys\n"
        f"sys.argv = ['tameshi', *{command!r}]\n"
        "from tameshi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("slug", PAPERS)
def test_every_claim_of_a_built_paper_has_its_rule(slug):
    rules = [rule.claim for rule in stand(slug).rules]
    assert sorted(rules) == sorted(claim.id for claim in paper(slug).claims)


@pytest.mark.parametrize("slug", PAPERS)
def test_a_check_says_what_it_does_and_what_each_option_is(slug):
    for check in stand(slug).checks:
        assert summary(check.function)
        for parameter in parameters(check.function):
            if parameter.name != "limit":
                assert parameter.help, f"{check.name}: {parameter.option} has no help"


@pytest.mark.parametrize("slug", PAPERS)
def test_an_option_that_checks_of_a_paper_share_is_read_the_same_by_all(slug):
    kinds = {}
    for check in stand(slug).checks:
        for p in parameters(check.function):
            kinds.setdefault(p.name, set()).add((p.type, p.shape, p.choices))
    assert [name for name, found in kinds.items() if len(found) > 1] == []


@pytest.mark.parametrize("slug", PAPERS)
def test_walking_a_check_does_no_work_and_every_key_is_its_own(slug):
    found = 0
    for check in stand(slug).checks:
        given = {p.name: p.default for p in parameters(check.function) if p.default is not inspect.Parameter.empty}
        keys = [key_of(name, m.method, m.conditions, 0, m.block) for name, m in walk(Job(slug, check.name, 0, given))]
        assert len(set(keys)) == len(keys)
        found += len(keys)  # a check may need a subject of the user's; not all of a paper's may
    assert found


@pytest.mark.parametrize("slug", PAPERS)
def test_what_can_be_applied_is_told_from_the_sources_as_it_stands_on_the_shelf(slug):
    held = stand(slug).applications
    assert sorted(names(slug)) == sorted(f"{one.slug} {one.name}".strip() for one in held)


@pytest.mark.parametrize("slug", PAPERS)
def test_a_built_paper_says_how_it_is_imported(slug):
    assert papers()[slug].use is not None
