"""Writing: an output folder is whole or not there, whatever happens on the way, and little memory is needed."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from tameshi.doors.files import NotWritten
from tameshi.doors.models import write_tensors
from tameshi.merging import merge
from tameshi.merging.folder import shards
from tameshi.merging.pieces import side_by_side

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(script, *arguments):
    code = textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def test_a_killed_merge_leaves_no_folder_and_the_next_one_cleans_up(family, tmp_path):
    out = tmp_path / "out"
    child = start(
        """
        import sys, time
        from dataclasses import replace
        from tameshi.merging import merge
        base, expert, out = sys.argv[1:]
        merged = merge({"m": expert}, method="task-arithmetic", base=base)
        def slow(name, count=[0]):
            count[0] += 1
            if count[0] == 20:
                print("half", flush=True)
                time.sleep(600)
            return merged.compute(name)
        replace(merged, compute=slow).save_pretrained(out, shard_bytes=4000)
        """,
        family["base"], family["math"], out,
    )  # fmt: skip
    assert child.stdout.readline() == "half\n"
    assert not out.exists()
    assert list(tmp_path.glob(".out.*.partial"))
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not out.exists()
    merge({"m": family["math"]}, method="task-arithmetic", base=family["base"]).save_pretrained(out)
    assert (out / "config.json").is_file()
    assert not list(tmp_path.glob(".out.*.partial"))


def test_a_full_disk_in_mid_write_leaves_nothing(family, tmp_path):
    out = tmp_path / "out"
    child = start(
        """
        import resource, signal, sys
        from tameshi.doors.files import NotWritten
        from tameshi.merging import merge
        base, expert, out = sys.argv[1:]
        merged = merge({"m": expert}, method="task-arithmetic", base=base)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            merged.save_pretrained(out)
        except NotWritten as error:
            print(error)
        """,
        family["base"], family["math"], out,
    )  # fmt: skip
    said, complaints = child.communicate()
    assert f"could not write {out}" in said, complaints
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "code", "instruct", "math"]


def test_a_disk_that_is_too_small_is_refused_first(family, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(NotWritten, match=r"needs 28,608 bytes, but .* has 1 free"):
        merge({"m": family["math"]}).save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_error_in_mid_write_leaves_nothing(family, tmp_path):
    from dataclasses import replace

    merged = merge({"m": family["math"]})

    def broken(name):
        if "layers.2" in name:
            raise RuntimeError("broken")
        return merged.compute(name)

    with pytest.raises(RuntimeError, match="broken"):
        replace(merged, compute=broken).save_pretrained(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "code", "instruct", "math"]


def test_memory_stays_below_three_of_the_largest_tensor(tmp_path):
    """Anonymous memory, sampled while a merge of three models runs whose largest tensor has 64 MB."""
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(4096, 4096, generator=draw)
    for name in ("base", "one", "two"):
        (tmp_path / name).mkdir()
        step = 0.1 * torch.randn(4096, 4096, generator=draw) * (name != "base")
        tensors = {"model.layers.0.w": base.clone(), "model.layers.1.w": base + step}  # the first layer does not change
        save_file(tensors, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    child = start(
        """
        import sys, threading, time
        from tameshi.merging import merge
        def anonymous():
            for line in open("/proc/self/status"):
                if line.startswith("RssAnon"):
                    return int(line.split()[1]) * 1024
        def watch():
            global peak
            while not done.is_set():
                peak = max(peak, anonymous())
                time.sleep(0.001)
        merge({"m": sys.argv[1]}, method="linear").compute("model.layers.0.w")  # what is loaded once
        before = peak = anonymous()
        done = threading.Event()
        watcher = threading.Thread(target=watch)
        watcher.start()
        models = {"one": sys.argv[2], "two": sys.argv[3]}
        merge(models, method="ties", base=sys.argv[1]).save_pretrained(sys.argv[4])
        done.set()
        watcher.join()
        print(peak - before)
        """,
        tmp_path / "base", tmp_path / "one", tmp_path / "two", tmp_path / "out",
    )  # fmt: skip
    said, complaints = child.communicate()
    assert 64e6 < int(said) < 3 * 67_108_864, complaints


def test_a_number_too_large_for_half_precision_is_refused(tmp_path):
    (tmp_path / "big").mkdir()
    save_file({"w": torch.tensor([1e6])}, tmp_path / "big" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "big" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="w is too large for float16"):
        merge({"m": tmp_path / "big"}, dtype="float16").save_pretrained(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big"]


# --- the layout of the files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3_000, 10_000, 10**9])
def test_shards_hold_every_tensor_once_and_stay_below_the_limit(limit, family):
    merged = merge({"m": family["math"]})
    parts = shards(merged, limit)
    assert sorted(n for part in parts for n in part) == sorted(merged.shapes)
    for part in parts:
        size = sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in part.values())
        assert size <= limit or len(part) == 1


def test_tensors_written_one_by_one_are_what_safetensors_reads(tmp_path):
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8)
    made = {f"t{i}": (torch.arange(6).view(2, 3) % 2).to(kind) for i, kind in enumerate(kinds)}
    made |= {"none": torch.zeros(0, 4), "single": torch.tensor(2.5), "turned": torch.arange(6.0).view(2, 3).T}
    layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in made.items()}
    with side_by_side() as threads:
        write_tensors(tmp_path / "x.safetensors", layout, made.__getitem__, threads)
    found = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(found[n], made[n]) and found[n].dtype == made[n].dtype for n in made)


@pytest.mark.parametrize("given", [torch.zeros(3), torch.zeros(2, dtype=torch.bfloat16)])
def test_tensors_that_were_not_announced_are_refused(given, tmp_path):
    with side_by_side() as threads, pytest.raises(ValueError, match="announced"):
        write_tensors(tmp_path / "x.safetensors", {"a": ((2,), torch.float32)}, lambda name: given, threads)
