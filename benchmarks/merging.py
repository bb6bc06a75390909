"""Merging beside mergekit and cp: speed, memory, and whether the results are the same.

    python benchmarks/merging.py --mergekit /path/to/venv/bin/python [--folder FOLDER] [--megabytes 1000]
    python benchmarks/merging.py --only-residual [--folder FOLDER] [--megabytes 1000]

Makes three Llama checkpoints in bfloat16 and merges them with both, each in a process of its own, with as many threads
as each takes by itself. Time is by the clock and, beside it, processor time inside the process, from the call to the
folder in its place, imports (and the rubbish they leave) left out: run it on a machine without other work. Memory is
the highest anonymous memory of the process, sampled every 5 ms, above what it held before the call: mapped files are
the kernel's. The same models in float32, small, are compared number by number.

The residual is measured beside `cp` three times: neither waits for the disk, both do (`cp`, then `sync`), and as they
are, where a merge waits and `cp` does not.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

PEER = """
import gc, json, resource, sys, time, torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
told = json.loads(sys.stdin.readline())
config = MergeConfiguration.model_validate(told["recipe"])
gc.collect()
print("ready", flush=True)
sys.stdin.readline()
start = time.process_time(), time.perf_counter()
run_merge(config, told["out"], MergeOptions(copy_tokenizer=False, quiet=True, lora_merge_cache=None))
print(json.dumps({"cpu": time.process_time() - start[0], "wall": time.perf_counter() - start[1]}), flush=True)
"""
OURS = """
import gc, json, os, sys, time
from tameshi.merging import merge, LATA, InstructionResidual, slerp
from tameshi.merging.recipes import read_recipe
told = json.loads(sys.stdin.readline())
recipe = told["recipe"]
if not told.get("flush", True):
    os.fsync = lambda descriptor: None
gc.collect()
print("ready", flush=True)
sys.stdin.readline()
start = time.process_time(), time.perf_counter()
read_recipe(recipe).merged().save_pretrained(told["out"], hashes=told.get("hashes", True))
print(json.dumps({"cpu": time.process_time() - start[0], "wall": time.perf_counter() - start[1]}), flush=True)
"""
LIMITED = """
import gc, json, resource, sys
from pathlib import Path
import torch
from tameshi.merging.recipes import read_recipe
told = json.loads(sys.stdin.readline())
torch.ones(10).sum()
gc.collect()
print("ready", flush=True)
sys.stdin.readline()
def size(which):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(which))
before = size("VmSize")
limit = before + told["mapped"] + 1_000_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
read_recipe(told["recipe"]).merged().save_pretrained(told["out"])
print(json.dumps({"beyond": size("VmPeak") - before - told["mapped"]}), flush=True)
"""
COPY = """
import gc, json, resource, subprocess, sys, time
from pathlib import Path
told = json.loads(sys.stdin.readline())
gc.collect()
print("ready", flush=True)
sys.stdin.readline()
before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
subprocess.run(["cp", "--reflink=never", "-r", *told["recipe"]["folders"], told["out"]], check=True)
if told.get("flush"):
    subprocess.run(["sync", *(str(p) for p in Path(told["out"]).rglob("*.safetensors"))], check=True)
after = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"cpu": cpu, "wall": time.perf_counter() - start}), flush=True)
"""


def run(python: str, script: str, recipe: dict[str, Any], out: Path, **more: Any) -> dict[str, float]:
    """One merge in a process of its own; its seconds and its highest anonymous memory above the start, in bytes."""
    child = subprocess.Popen([python, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"recipe": recipe, "out": str(out), **more}) + "\n")
    child.stdin.flush()
    while child.stdout.readline().strip() != "ready":
        if child.poll() is not None:
            raise RuntimeError(f"the worker ended with {child.returncode}")
    shutil.rmtree(out, ignore_errors=True)
    if script is COPY:
        out.mkdir()
    pages = warm(recipe)
    pages.close()
    child.stdin.write("go\n")
    child.stdin.close()
    start, peak, done = anonymous(child.pid), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous(child.pid))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    lines = child.stdout.read().strip().splitlines()
    done.set()
    watcher.join()
    if child.wait():
        raise RuntimeError(f"the worker ended with {child.returncode}")
    return {**json.loads(lines[-1]), "memory": peak - start}


def warm(recipe: dict[str, Any]) -> mmap.mmap:
    """Memory that was just written, to be given back when the work begins, and input files in the page cache.

    A guest's host takes pages that lie free for two seconds, and getting one again costs several times as much as
    writing it: without this, what is measured is when somebody last let go of memory. cp finds the same.
    """
    pages = mmap.mmap(-1, min(3_000_000_000, psutil.virtual_memory().total // 4))
    for at in range(0, len(pages), mmap.PAGESIZE):
        pages[at] = 1
    buffer = bytearray(1 << 20)
    for file in {f for path in folders(recipe) for f in Path(path).glob("*.safetensors")}:
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
    time.sleep(3)  # what was let go of before is taken by now
    return pages


def folders(told: Any) -> set[str]:
    """Every model folder that a recipe names."""
    if isinstance(told, str):
        return {told} if Path(told).is_dir() else set()
    parts = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return {path for part in parts for path in folders(part)}


def anonymous(pid: int) -> int:
    """Memory of a process that is not a mapped file, in bytes; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def make_family(folder: Path, *, megabytes: int, dtype: str, shards: int = 1) -> dict[str, str]:
    """A base, an instruct model and an expert of about that size each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tameshi.doors.models import look_at

    small = megabytes < 100
    config = LlamaConfig(
        vocab_size=1_000 if small else 32_000,
        hidden_size=64 if small else 1_536,
        intermediate_size=128 if small else 4_096,
        num_hidden_layers=4 if small else max(1, (megabytes * 1_000_000 // 2 - 98_304_000) // 28_315_000),
        num_attention_heads=4 if small else 12,
        tie_word_embeddings=False,
    )
    stored = getattr(torch, dtype)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(stored)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    paths = {}
    for name in ("base", "instruct", "math"):
        place = folder / name
        paths[name] = str(place)
        if not place.exists():
            size = sum(p.numel() * p.element_size() for p in start)
            model.save_pretrained(place, max_shard_size=size // shards + 1024)
        look_at(place)
        with torch.no_grad():
            for parameter, origin in zip(model.parameters(), start, strict=True):
                parameter.copy_(origin + torch.randn(origin.shape, dtype=stored) * 0.002)
    return paths


def recipes(paths: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The shared methods as mergekit writes them, in the options under which both mean the same: float32 arithmetic."""
    pair = [paths["instruct"], paths["math"]]

    def weighted(**each: float) -> list[dict[str, Any]]:
        return [{"model": path, "parameters": dict(each)} for path in pair]

    return {
        "linear": {"merge_method": "linear", "models": weighted(weight=0.5), "parameters": {"normalize": True}},
        "task_arithmetic": {
            "merge_method": "task_arithmetic",
            "base_model": paths["base"],
            "models": weighted(weight=0.4),
            "parameters": {"normalize": False, "lambda": 1.0},
        },
        "ties": {
            "merge_method": "ties",
            "base_model": paths["base"],
            "models": weighted(weight=0.5, density=0.5),
            "parameters": {"normalize": True, "rescale": False, "lambda": 1.0},
        },
        "slerp": {
            "merge_method": "slerp",
            "base_model": paths["base"],
            "models": [{"model": paths["base"]}, {"model": paths["math"]}],
            "parameters": {"t": 0.3},
        },
    }


def largest_difference(one: Path, two: Path) -> float:
    """Between two model folders with the same tensors."""
    from tameshi.merging import weights_of

    first, second = weights_of(one), weights_of(two)
    if first.shapes != second.shapes:
        raise RuntimeError(f"{one} and {two} do not hold the same tensors")
    return max(float((first.read(n).double() - second.read(n).double()).abs().max()) for n in first.shapes)


def equality(mergekit: str, folder: Path) -> dict[str, float]:
    """Largest difference per shared method on float32 models, and of LATA written as a mergekit recipe."""
    from tameshi.merging import LATA

    paths = make_family(folder / "small", megabytes=1, dtype="float32")
    found = {}
    for name, recipe in recipes(paths).items():
        told = {**recipe, "dtype": "float32"}
        run(mergekit, PEER, told, folder / "peer")
        run(sys.executable, OURS, told, folder / "ours", hashes=False)
        found[name] = largest_difference(folder / "peer", folder / "ours")
    lata = LATA()
    merged = lata.merge(paths["base"], paths["instruct"], {"math": paths["math"]}, 0.8)
    kept = lata.weights(lata.similarity(paths["base"], paths["instruct"], paths["math"]))
    told = lata.as_mergekit({"math": {k: 0.8 * w for k, w in kept.items()}}, paths["base"], {"math": paths["math"]})
    run(mergekit, PEER, told, folder / "peer")
    shutil.rmtree(folder / "ours", ignore_errors=True)
    found["lata"] = largest_difference(folder / "peer", merged.save_pretrained(folder / "ours"))
    return found


def limits() -> str:
    """Gigabytes of bfloat16 per processor second of each step that a merge cannot do without, on this machine."""
    import hashlib

    import torch

    from tameshi.merging.compiled import products, walk
    from tameshi.merging.pieces import PIECE, bits, is_finite

    source = torch.randn(50_000_000).bfloat16()
    target, other, piece = torch.empty_like(source), torch.ones_like(source), torch.ones(PIECE)

    def in_pieces(step: Callable[[Any], object], tensor: Any) -> None:
        for start in range(0, len(tensor) - PIECE, PIECE):
            step(tensor[start : start + PIECE])

    steps: dict[str, Callable[[], object]] = {
        "copied": lambda: target.copy_(source),
        "checked for NaN": lambda: is_finite(source),
        "widened to float32": lambda: in_pieces(piece.copy_, source),
        "subtracted in float32": lambda: in_pieces(lambda part: piece.sub_(1.0), source),
        "rounded to bfloat16": lambda: in_pieces(lambda part: part.copy_(piece), target),
        "moved by a difference, compiled": lambda: walk(bits(target), bits(source), bits(other), [bits(source)], [0.5]),
        "products of two differences, compiled": lambda: products(bits(source), [bits(other), bits(target)]),
        "hashed": lambda: hashlib.sha256(source.view(torch.uint8).numpy().data),
    }
    told = []
    for name, step in steps.items():
        seconds = []
        for _ in range(3):
            start = time.process_time()
            step()
            seconds.append(time.process_time() - start)
        told.append(f"{name} {source.nbytes / 1e9 / min(seconds):.1f}")
    return f"GB of bfloat16 per CPU second: {', '.join(told)}"


def in_turn(times: int, *each: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    """The quickest run of each, as what disturbs a run only adds; with the median of its seconds. They take turns."""
    rounds = [[start() for start in each] for _ in range(times)]
    return [
        {**min(runs, key=lambda r: r["wall"]), "median": statistics.median(r["wall"] for r in runs)}
        for runs in zip(*rounds, strict=True)
    ]


def speed_of(copy: dict[str, float], ours: dict[str, float]) -> str:
    """Of a copy, as a share: by the best runs, by the medians."""
    return (
        f"{copy['wall'] / ours['wall']:.2f} of its speed ({ours['wall']:.2f} and {copy['wall']:.2f} s; "
        f"by the medians {copy['median'] / ours['median']:.2f}, {ours['median']:.2f} and {copy['median']:.2f} s)"
    )


def beside(name: str, ours: dict[str, float], bare: dict[str, float], peer: dict[str, float]) -> str:
    """One line: seconds, ratios, memory."""
    return (
        f"{name}: {ours['wall']:.2f} s, {bare['wall']:.2f} without hashes, mergekit {peer['wall']:.2f}; "
        f"{peer['wall'] / ours['wall']:.2f} times as fast, {peer['wall'] / bare['wall']:.2f} without hashes; "
        f"CPU {ours['cpu']:.2f}, {bare['cpu']:.2f}, {peer['cpu']:.2f} s; "
        f"memory {ours['memory'] / 1e6:.0f} of {peer['memory'] / 1e6:.0f} MB: {ours['memory'] / peer['memory']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--mergekit", help="python of an environment with mergekit 0.1.5")
    wanted.add_argument("--only-residual", action="store_true", help="only the residual beside cp")
    parser.add_argument("--folder", type=Path, help="where the checkpoints go; a temporary folder if left out")
    parser.add_argument("--megabytes", type=int, default=1_000, help="of each checkpoint")
    parser.add_argument("--times", type=int, default=3, help="runs of each, of which the best counts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if given.mergekit:
            measure(given.mergekit, folder, given.megabytes, given.times)
        beside_cp(make_family(folder / "large", megabytes=given.megabytes, dtype="bfloat16"), folder, given.times)


def say(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


def once(python: str, script: str, recipe: dict[str, Any], folder: Path, **more: Any) -> Callable[[], dict[str, float]]:
    """A run to be made; the outputs of the contenders lie apart."""
    return lambda: run(python, script, recipe, folder / ("out" if script is OURS else "theirs"), **more)


def measure(mergekit: str, folder: Path, megabytes: int, times: int) -> None:
    """Everything but the residual, one line each."""

    def ours(recipe: dict[str, Any], **more: Any) -> Callable[[], dict[str, float]]:
        return once(sys.executable, OURS, recipe, folder, **more)

    folder.mkdir(parents=True, exist_ok=True)
    say(f"threads: {os.environ.get('OMP_NUM_THREADS', 'all')}")
    say(limits())
    for name, difference in equality(mergekit, folder).items():
        say(f"equal to mergekit, {name}: largest difference {difference:.1e}")
    paths = make_family(folder / "large", megabytes=megabytes, dtype="bfloat16")
    for name, recipe in recipes(paths).items():
        told = {**recipe, "dtype": "bfloat16"}
        hashed, bare, peer = in_turn(times, ours(told), ours(told, hashes=False), once(mergekit, PEER, told, folder))
        say(beside(name, hashed, bare, peer))
        if name in ("task_arithmetic", "ties"):
            mapped = sum(f.stat().st_size for path in paths.values() for f in Path(path).glob("*.safetensors"))
            limited = run(sys.executable, LIMITED, told, folder / "out", mapped=mapped)
            say(
                f"{name} with RLIMIT_AS 1 GB above start and mapped files: done, peak {limited['beyond'] / 1e6:.0f} MB "
                "(one file is mapped twice while it is opened)"
            )
    experts = {n: {"path": paths[n], "scale": 0.4} for n in ("instruct", "math")}
    weighed = {"method": "lata", "pre": paths["base"], "inst": paths["instruct"], "experts": experts}
    plainly = {**recipes(paths)["task_arithmetic"], "dtype": "bfloat16"}
    lata, plain = in_turn(max(times, 3), ours(weighed, hashes=False), ours(plainly, hashes=False))
    say(
        f"lata: {lata['wall']:.2f} s, {lata['wall'] / plain['wall']:.2f} of task arithmetic ({plain['wall']:.2f} s); "
        f"CPU {lata['cpu']:.2f} s, {lata['cpu'] / plain['cpu']:.2f}"
    )


def beside_cp(paths: dict[str, str], folder: Path, times: int) -> None:
    """The residual, extracted and applied, beside a copy of as many bytes."""
    added = {"method": "instruction-residual", "base": paths["base"], "instruct": paths["instruct"]}
    added["target"] = paths["math"]
    # three models read and one written move as many bytes as a copy of two models
    pair = {"folders": [paths["base"], paths["instruct"]]}
    neither, copy, both, synced, hashed = in_turn(
        max(times, 5),  # cp's seconds differ more from run to run than anything else here
        once(sys.executable, OURS, added, folder, hashes=False, flush=False),
        once(sys.executable, COPY, pair, folder),
        once(sys.executable, OURS, added, folder, hashes=False),
        once(sys.executable, COPY, pair, folder, flush=True),
        once(sys.executable, OURS, added, folder),
    )
    say(f"residual beside cp of the same bytes, neither waits for the disk: {speed_of(copy, neither)}")
    say(
        f"residual beside cp and sync, both wait for the disk: {speed_of(synced, both)}; hashes too: {speed_of(synced, hashed)}"
    )
    say(f"residual waits for the disk, cp does not: {speed_of(copy, both)}; hashes too: {speed_of(copy, hashed)}")
    say(
        f"residual, CPU: {neither['cpu']:.2f} s, {both['cpu']:.2f} with the disk, {hashed['cpu']:.2f} with hashes; "
        f"cp {copy['cpu']:.2f}, {synced['cpu']:.2f} with sync"
    )


if __name__ == "__main__":
    main()
