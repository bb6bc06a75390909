"""Two loops over bfloat16 bits, compiled: every entry is read once, and no thread waits for Python's lock meanwhile.

`walk` is `start + sum_i w_i (theta_i - origin)`; with torch it takes six passes and six calls a piece, and threads that
make such short calls wait for each other. `largest` is the largest magnitude, which says whether all are finite. A
bfloat16 is the upper half of a float32: widened by sixteen zeros, rounded to the nearest, to the even one of two.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir

_HALF, _WHOLE, _LONG = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_NUMBER, _ADDRESS = ir.FloatType(), ir.PointerType()
_LOOSE = ("contract",)  # a product may be added without being rounded first
_ONE_AT_A_TIME = threading.Lock()  # for compiling
_ENGINES: list[Any] = []  # own the machine code


def walk(
    out: np.ndarray, start: np.ndarray, origin: np.ndarray, models: Sequence[np.ndarray], weights: Sequence[float]
) -> None:
    """Fill `out` with `start + sum_i w_i (theta_i - origin)`, summed in float32 in the order of the models, rounded once.

    Args:
        out: bits of the result, uint16, contiguous; shares no memory with the others.
        start, origin: bits, of that length.
        models: bits, one array per model.
        weights: one per model.

    Raises:
        ValueError: the arrays are not contiguous bits of one length, or not one weight per model.
    """
    if len(models) != len(weights):
        raise ValueError(f"a walk needs one weight per model, got {len(weights)} for {len(models)}")
    arrays = [out, start, origin, *models]
    with _ONE_AT_A_TIME:
        loop = _walk(len(models))
    loop(*(_address(array, out.size) for array in arrays), *weights, out.size)


def largest(bits: np.ndarray) -> int:
    """The largest magnitude, as bits without the sign: 0x7F80 is infinite, what is above it is NaN; 0 of none.

    Raises:
        ValueError: the array is not contiguous bits.
    """
    with _ONE_AT_A_TIME:
        loop = _largest()
    return loop(_address(bits, bits.size), bits.size)


def _address(bits: np.ndarray, size: int) -> int:
    if bits.dtype != np.uint16 or bits.shape != (size,) or not bits.flags.c_contiguous:
        raise ValueError(f"the loop needs {size:,} contiguous uint16, got {bits.shape} of {bits.dtype}")
    return bits.ctypes.data


@functools.cache
def _walk(count: int) -> Callable[..., int]:
    """For that many models: (out, start, origin, *models, *weights, size)."""

    def step(build: ir.IRBuilder, j: Any, kept: Any, out: Any, start: Any, origin: Any, *rest: Any) -> Any:
        total, centre = _number(build, start, j), _number(build, origin, j)
        for model, weight in zip(rest[:count], rest[count:], strict=True):
            change = build.fsub(_number(build, model, j), centre, flags=_LOOSE)
            total = build.fadd(total, build.fmul(weight, change, flags=_LOOSE), flags=_LOOSE)
        build.store(_rounded(build, total), build.gep(out, [j], source_etype=_HALF))
        return kept

    return _compiled([_ADDRESS] * (3 + count) + [_NUMBER] * count, step)


@functools.cache
def _largest() -> Callable[..., int]:
    """(bits, size) -> the largest; without the sign, the order of numbers is that of their bits."""

    def step(build: ir.IRBuilder, j: Any, best: Any, array: Any) -> Any:
        here = build.and_(_bits(build, array, j), _HALF(0x7FFF))
        return build.select(build.icmp_unsigned(">", here, best), here, best)

    return _compiled([_ADDRESS], step)


def _bits(build: ir.IRBuilder, array: Any, j: Any) -> Any:
    """Entry j; a file's tensor may begin at any byte."""
    return build.load(build.gep(array, [j], source_etype=_HALF), typ=_HALF, align=1)


def _number(build: ir.IRBuilder, array: Any, j: Any) -> Any:
    """The float32 that entry j stands for."""
    return build.bitcast(build.shl(build.zext(_bits(build, array, j), _WHOLE), _WHOLE(16)), _NUMBER)


def _rounded(build: ir.IRBuilder, number: Any) -> Any:
    """Bits of the bfloat16 nearest to a float32; what is too large becomes infinite."""
    bits = build.bitcast(number, _WHOLE)
    even = build.and_(build.lshr(bits, _WHOLE(16)), _WHOLE(1))
    return build.trunc(build.lshr(build.add(bits, build.add(even, _WHOLE(0x7FFF))), _WHOLE(16)), _HALF)


def _compiled(kinds: Sequence[ir.Type], step: Callable[..., Any]) -> Callable[..., int]:
    """`kept = 0; for (j = 0; j < size; j++) kept = step(j, kept, *arguments); return kept`.

    Args:
        kinds: of the arguments; addresses come first, and what the first one points at overlaps with no other.
        step: (builder, j, kept, *arguments) -> kept.

    Returns:
        A function of the arguments and the size.
    """
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(_HALF, [*kinds, _LONG]), "loop")
    *arguments, size = function.args
    arguments[0].add_attribute("noalias")
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
    build = ir.IRBuilder(entry)
    build.cbranch(build.icmp_signed(">", size, _LONG(0)), loop, done)
    build.position_at_end(loop)
    j, kept = build.phi(_LONG), build.phi(_HALF)
    new, following = step(build, j, kept, *arguments), build.add(j, _LONG(1), flags=("nuw", "nsw"))
    build.cbranch(build.icmp_signed("<", following, size), loop, done)
    for phi, first, then in ((j, _LONG(0), following), (kept, _HALF(0), new)):
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop)
    build.position_at_end(done)
    result = build.phi(_HALF)
    result.add_incoming(_HALF(0), entry)
    result.add_incoming(new, loop)
    build.ret(result)
    return _loaded(str(module), [ctypes.c_void_p if kind == _ADDRESS else ctypes.c_float for kind in kinds])


def _loaded(module: str, kinds: Sequence[Any]) -> Callable[..., int]:
    """The function `loop` of a module in LLVM's language, as machine code with this machine's vectors."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3
    )
    parsed = binding.parse_assembly(module)
    parsed.triple, parsed.data_layout = machine.triple, str(machine.target_data)
    tuning = binding.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(parsed, passes)
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(ctypes.c_uint16, *kinds, ctypes.c_int64)(engine.get_function_address("loop"))
    _ENGINES.append(engine)
    return function
