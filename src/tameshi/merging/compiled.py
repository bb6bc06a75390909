"""Three loops over bfloat16 bits, compiled: every entry is read once, and no thread waits for Python's lock meanwhile.

`walk` is `start + sum_i w_i (theta_i - origin)`; with torch it takes six passes and six calls a piece, and threads that
make such short calls wait for each other. `products` are those of the differences `theta_i - origin`, and `largest` is
the largest magnitude, which says whether all are finite. A bfloat16 is the upper half of a float32: widened by sixteen
zeros, rounded to the nearest, to the even one of two.
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
_NUMBER, _DOUBLE, _ADDRESS = ir.FloatType(), ir.DoubleType(), ir.PointerType()
_LOOSE = ("contract",)  # a product may be added without being rounded first
_ANY_ORDER = ("contract", "reassoc")
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
    loop(None, *(_address(array, out.size) for array in arrays), *weights, out.size)


def products(origin: np.ndarray, models: Sequence[np.ndarray]) -> np.ndarray:
    """Inner products of the models' differences from the origin, which are float32, multiplied and summed in float64.

    Args:
        origin: bits, uint16, contiguous.
        models: bits, one array of that length per model.

    Returns:
        (models, models), float64, symmetric.

    Raises:
        ValueError: the arrays are not contiguous bits of one length.
    """
    count = len(models)
    found, pairs = np.zeros((count, count)), np.triu_indices(count)
    sums = np.zeros(len(pairs[0]))
    with _ONE_AT_A_TIME:
        loop = _products(count)
    loop(sums.ctypes.data, *(_address(array, origin.size) for array in (origin, *models)), origin.size)
    found[pairs] = found.T[pairs] = sums
    return found


def largest(bits: np.ndarray) -> int:
    """The largest magnitude, as bits without the sign: 0x7F80 is infinite, what is above it is NaN; 0 of none.

    Raises:
        ValueError: the array is not contiguous bits.
    """
    found = np.zeros(1, np.uint16)
    with _ONE_AT_A_TIME:
        loop = _largest()
    loop(found.ctypes.data, _address(bits, bits.size), bits.size)
    return int(found[0])


def _address(bits: np.ndarray, size: int) -> int:
    if bits.dtype != np.uint16 or bits.shape != (size,) or not bits.flags.c_contiguous:
        raise ValueError(f"the loop needs {size:,} contiguous uint16, got {bits.shape} of {bits.dtype}")
    return bits.ctypes.data


@functools.cache
def _walk(count: int) -> Callable[..., None]:
    """For that many models: (nothing, out, start, origin, *models, *weights, size)."""

    def step(build: ir.IRBuilder, j: Any, out: Any, start: Any, origin: Any, *rest: Any) -> list[Any]:
        total, centre = _number(build, start, j), _number(build, origin, j)
        for model, weight in zip(rest[:count], rest[count:], strict=True):
            change = build.fsub(_number(build, model, j), centre, flags=_LOOSE)
            total = build.fadd(total, build.fmul(weight, change, flags=_LOOSE), flags=_LOOSE)
        build.store(_rounded(build, total), build.gep(out, [j], source_etype=_HALF), align=1)
        return []

    return _compiled([_ADDRESS] * (3 + count) + [_NUMBER] * count, [], step)


@functools.cache
def _products(count: int) -> Callable[..., None]:
    """For that many models: (sums, origin, *models, size) -> the upper triangle, row by row."""

    def step(build: ir.IRBuilder, j: Any, origin: Any, *rest: Any) -> list[Any]:
        models, sums = rest[:count], iter(rest[count:])
        centre = _number(build, origin, j)
        changes = [build.fpext(build.fsub(_number(build, m, j), centre), _DOUBLE) for m in models]
        pairs = [build.fmul(a, b, flags=_ANY_ORDER) for i, a in enumerate(changes) for b in changes[i:]]
        return [build.fadd(next(sums), pair, flags=_ANY_ORDER) for pair in pairs]

    return _compiled([_ADDRESS] * (1 + count), [_DOUBLE(0.0)] * (count * (count + 1) // 2), step)


@functools.cache
def _largest() -> Callable[..., None]:
    """(largest, bits, size); without the sign, the order of numbers is that of their bits."""

    def step(build: ir.IRBuilder, j: Any, array: Any, best: Any) -> list[Any]:
        here = build.and_(_bits(build, array, j), _HALF(0x7FFF))
        return [build.select(build.icmp_unsigned(">", here, best), here, best)]

    return _compiled([_ADDRESS], [_HALF(0)], step)


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


def _compiled(kinds: Sequence[ir.Type], first: Sequence[Any], step: Callable[..., list[Any]]) -> Callable[..., None]:
    """`kept = first; for (j = 0; j < size; j++) kept = step(j, *arguments, *kept); found = kept`.

    Args:
        kinds: of the arguments. What the first one points at overlaps with no other.
        first: what is kept from entry to entry, at the beginning.
        step: (builder, j, *arguments, *kept) -> kept.

    Returns:
        A function of (address where the kept values go, *arguments, size).
    """
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_ADDRESS, *kinds, _LONG]), "loop")
    found, *arguments, size = function.args
    for lonely in (found, arguments[0]):
        lonely.add_attribute("noalias")
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
    build = ir.IRBuilder(entry)
    build.cbranch(build.icmp_signed(">", size, _LONG(0)), loop, done)

    build.position_at_end(loop)
    j, *kept = (build.phi(value.type) for value in (_LONG(0), *first))
    then = [build.add(j, _LONG(1), flags=("nuw", "nsw")), *step(build, j, *arguments, *kept)]
    build.cbranch(build.icmp_signed("<", then[0], size), loop, done)
    for phi, before, after in zip((j, *kept), (_LONG(0), *first), then, strict=True):
        phi.add_incoming(before, entry)
        phi.add_incoming(after, loop)

    build.position_at_end(done)
    last = [build.phi(value.type) for value in first]
    for phi, before, after in zip(last, first, then[1:], strict=True):
        phi.add_incoming(before, entry)
        phi.add_incoming(after, loop)
    for i, value in enumerate(last):
        build.store(value, build.gep(found, [_LONG(i)], source_etype=value.type))
    build.ret_void()
    return _loaded(str(module), [ctypes.c_float if kind == _NUMBER else ctypes.c_void_p for kind in kinds])


def _loaded(module: str, kinds: Sequence[Any]) -> Callable[..., None]:
    """The function `loop` of a module in LLVM's language, as machine code with this machine's vectors."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    try:
        features = binding.get_host_cpu_features().flatten()
    except RuntimeError:
        features = ""  # some systems do not tell; the name of the processor does then
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3
    )
    parsed = binding.parse_assembly(module)
    parsed.triple, parsed.data_layout = machine.triple, str(machine.target_data)
    tuning = binding.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(parsed, passes)
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *kinds, ctypes.c_int64)(engine.get_function_address("loop"))
    _ENGINES.append(engine)
    return function
