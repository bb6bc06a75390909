"""The kv wing beside kvpress: time of a compression, memory held, share of a prefill.

    python benchmarks/kv.py --peer FOLDER [--output benchmarks/kv.json]

kvpress 0.5.4 needs transformers below 5.3, so it lives in an environment of its own in FOLDER, which is made if it is missing.
Both sides are then measured in one process of that environment, in turns, on the same tensors, one thread, in CPU time; what
is compared are ratios. The memory and the share of a prefill are measured in this environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PEER = ("kvpress==0.5.4", "transformers==5.2.*", "torch==2.13.0", "psutil")
LENGTHS, KV_HEADS, HEAD_DIM, KEPT = (4096, 32_768), 8, 128, 8  # one entry in 8 is kept
SOURCES = Path(__file__).parents[1] / "src"
sys.path[0] = str(SOURCES)  # in the place of this folder, whose files have names of well-known modules


def in_turns(*functions: Callable[[], Any], rounds: int = 9) -> list[float]:
    """Median CPU seconds of each, measured in turns after one round to warm up."""
    spent: list[list[float]] = [[] for _ in functions]
    for round_ in range(rounds + 1):
        for function, times in zip(functions, spent, strict=True):
            began = time.process_time()
            function()
            if round_:
                times.append(time.process_time() - began)
    return [sorted(times)[rounds // 2] for times in spent]


def selection() -> list[dict[str, Any]]:
    """Score, select and gather, ours against kvpress' `compress` (runs in the peer's environment)."""
    import torch
    from kvpress import KnormPress, QFilterPress

    from tameshi.kv import KeyNormPolicy, QFilters, QFiltersPolicy
    from tameshi.kv.policy import Entries

    torch.set_num_threads(1)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        for length in LENGTHS:
            generator = torch.Generator().manual_seed(length)
            shape = (1, KV_HEADS, length, HEAD_DIM)
            keys, values = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
            filters = torch.randn(1, KV_HEADS, HEAD_DIM, generator=generator)
            positions = torch.arange(length, dtype=torch.int32).expand(1, KV_HEADS, length).contiguous()
            entries, budget = Entries(keys, values, positions, 0, length), length // KEPT
            module = SimpleNamespace(layer_idx=0, head_dim=HEAD_DIM)
            press = QFilterPress(compression_ratio=1 - 1 / KEPT)
            press.q_filters = -filters.to(dtype)
            pairs = {
                "q-filters": (press, QFiltersPolicy(QFilters(filters, {}, "svd"), max_length=budget, window_length=64)),
                "key norm": (KnormPress(compression_ratio=1 - 1 / KEPT), KeyNormPolicy(max_length=budget)),
            }
            for method, (theirs, ours) in pairs.items():
                peer, mine = in_turns(
                    partial(theirs.compress, module, None, keys, values, None, {}),
                    partial(ours.compress, entries, budget),
                )
                found.append(
                    {
                        "method": method,
                        "dtype": str(dtype).removeprefix("torch."),
                        "length": length,
                        "kvpress_ms": peer * 1e3,
                        "ours_ms": mine * 1e3,
                        "times_faster": peer / mine,
                    }
                )
    return found


def wide_layer(layers: int) -> Any:
    """Random layers with the sizes of an 8-billion-parameter Llama, and a small vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=65_536,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16).eval()


def prefill() -> dict[str, Any]:
    """What score, select and gather cost beside the prefill of the same layer, and what the cache then holds."""
    import torch
    from transformers import DynamicCache

    from tameshi.kv import BudgetCache, QFilters, QFiltersPolicy
    from tameshi.kv.policy import Entries
    from tameshi.kv.q_filters import fingerprint

    torch.set_num_threads(1)
    length, model = LENGTHS[0], wide_layer(1)
    tokens = torch.randint(512, (1, length), generator=torch.Generator().manual_seed(0))
    filters = QFilters(torch.randn(1, KV_HEADS, HEAD_DIM), fingerprint(model), "svd")
    policy = QFiltersPolicy(filters, max_length=length // KEPT)
    with torch.no_grad():
        (whole,) = in_turns(lambda: model(tokens, logits_to_keep=1, past_key_values=DynamicCache()), rounds=3)
        full = DynamicCache(config=model.config)
        model(tokens, logits_to_keep=1, past_key_values=full)
        held = full.layers[0]
        positions = torch.arange(length, dtype=torch.int32).expand(1, KV_HEADS, length).contiguous()
        entries = Entries(held.keys, held.values, positions, 0, length)
        (extra,) = in_turns(lambda: policy.compress(entries, length // KEPT))
        cache = BudgetCache(model, policy)
        model(tokens, logits_to_keep=1, past_key_values=cache)
    full_bytes = sum(t.numel() * t.element_size() for t in (held.keys, held.values))
    return {
        "length": length,
        "prefill_ms": whole * 1e3,
        "compression_ms": extra * 1e3,
        "share_of_prefill": extra / whole,
        "full_bytes_per_layer": full_bytes,
        "held_bytes_per_layer": cache.held_bytes,
        "held_share": cache.held_bytes / full_bytes,
    }


def peak(layers: int = 8) -> dict[str, Any]:
    """The most that the cache holds at any moment of a prefill, and afterwards, against `DynamicCache`."""
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

    from tameshi.kv import BudgetCache, KeyNormPolicy
    from tameshi.kv.attention import watched

    length = LENGTHS[0]
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    tokens = torch.randint(512, (1, length), generator=torch.Generator().manual_seed(0))

    def most(cache: Any) -> tuple[int, int]:
        seen: list[int] = []

        def note(layer: int, queries: Any, keys: Any, scaling: float) -> None:
            held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(cache)}
            passing = 0 if keys.untyped_storage().data_ptr() in held else 2 * keys.untyped_storage().nbytes()
            seen.append(sum(held.values()) + passing)

        with torch.no_grad(), watched(model, note):
            model(tokens, past_key_values=cache, logits_to_keep=1)
        return max(seen), sum(
            {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(cache)}.values()
        )

    def tensors(cache: Any) -> list[Any]:
        parts = [(layer.keys, layer.values, getattr(layer, "positions", None)) for layer in cache.layers]
        return [t for part in parts for t in part if t is not None and t.numel()]

    full, _ = most(DynamicCache(config=config))
    during, after = most(BudgetCache(model, KeyNormPolicy(max_length=length // KEPT)))
    return {
        "layers": layers,
        "length": length,
        "full_bytes": full,
        "peak_share": during / full,
        "after_share": after / full,
    }


def as_markdown(results: dict[str, Any]) -> str:
    """The tables of benchmarks/README.md."""
    lines = [
        "| method | dtype | entries | kvpress | ours | times faster |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['method']} | {r['dtype']} | {r['length']:,} | {r['kvpress_ms']:.1f} ms | {r['ours_ms']:.1f} ms | "
        f"{r['times_faster']:.1f} |"
        for r in results["selection"]
    ]
    prefill, peak = results["prefill"], results["peak"]
    lines += [
        "",
        f"Prefill of one layer (the sizes of an 8 B Llama, bfloat16, {prefill['length']:,} tokens): "
        f"{prefill['prefill_ms'] / 1e3:.1f} s; score, select and gather: {prefill['compression_ms']:.1f} ms, "
        f"{prefill['share_of_prefill']:.2%} of it.",
        "",
        f"Held by the cache of {peak['layers']} layers and {peak['length']:,} tokens, one entry in {KEPT} kept: "
        f"{peak['after_share']:.1%} of what `DynamicCache` holds; at most {peak['peak_share']:.1%} at any moment of the "
        "prefill, for each layer is cut before the next one is computed.",
    ]
    return "\n".join(lines) + "\n"


def peer_python(folder: Path) -> Path:
    """The interpreter of the peer's environment, which is made first if it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="folder of the environment with kvpress")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--in-peer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.in_peer:
        print(json.dumps(selection()))
        return
    if given.peer is None:
        parser.error("name a folder for the environment with kvpress: --peer FOLDER")
    environment = os.environ | {"PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
    command = [peer_python(given.peer.resolve()), __file__, "--in-peer"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    from tameshi.doors import files

    results = {
        "machine": f"{platform.machine()}, one thread",
        "python": platform.python_version(),
        "peer": list(PEER),
        "selection": json.loads(done.stdout),
        "prefill": prefill(),
        "peak": peak(),
    }
    text = json.dumps(results, indent=2) + "\n"
    print(as_markdown(results))
    if given.output is not None:
        files.write(given.output, text)


if __name__ == "__main__":
    main()
