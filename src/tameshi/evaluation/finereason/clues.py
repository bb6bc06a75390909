"""Clues of logic grids: boolean expressions that come from a file, and are therefore never evaluated as Python.

A clue such as `T[r('Guy')][c('times')] - 2 == T[r('back pain')][c('times')]` is parsed, checked node by node against a short
list of allowed forms, and turned into closures. `T[r(v)][c(h)]` is the cell in the row that holds v and the column headed h.
Whatever else stands in the text is refused before anything is computed: attribute access, imports, calls, powers, names.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = int | float | str
Lookup: TypeAlias = Callable[[Value, str], Value]

LONGEST = 2_000  # characters
DEEPEST = 40  # nested operations; the longest official clue needs 6
LARGEST = 10**9  # absolute value of a number

_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
}


class UnsafeClueError(ValueError):
    """A clue that holds something other than cells, constants, comparisons, and/or, and sums."""


class _Undecided(Exception):
    """An operation that its operands do not allow, such as a comparison of a number with an empty cell."""


@dataclass(frozen=True)
class Clue:
    """A parsed clue.

    Args:
        text: as it was written.
        named: the values that it names, in the order of their first occurrence.
        headers: the column headers that it names.
    """

    text: str
    named: tuple[Value, ...]
    headers: tuple[str, ...]
    _truth: Callable[[Lookup], Value]

    def holds(self, lookup: Lookup) -> bool:
        """Whether the clue is true of a table.

        Args:
            lookup: (value, header) -> the cell in that value's row; "" if the value has no row yet or the cell is empty.

        Returns:
            False also where the clue cannot be decided: the official code counts every error as false.
        """
        try:
            return bool(self._truth(lookup))
        except _Undecided:
            return False


def parse_clue(text: str) -> Clue:
    """Read a clue.

    Raises:
        UnsafeClueError: naming what is not allowed.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise UnsafeClueError(f"a clue is a text of at most {LONGEST:,} characters")
    if "\\" in text or not text.isprintable():
        raise UnsafeClueError("a clue holds no backslash and no control character")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnsafeClueError(f"a clue must be one well-formed expression: {str(error)[:80]}") from None
    reading = _Reading()
    truth = reading.compiled(body, 0)
    return Clue(text, tuple(dict.fromkeys(reading.named)), tuple(dict.fromkeys(reading.headers)), truth)


class _Reading:
    """Turns allowed nodes into closures, and remembers the values and headers on the way."""

    def __init__(self) -> None:
        self.named: list[Value] = []
        self.headers: list[str] = []

    def compiled(self, node: ast.expr, depth: int, *, names: bool = True) -> Callable[[Lookup], Value]:
        if depth > DEEPEST:
            raise UnsafeClueError(f"a clue is nested at most {DEEPEST} deep")
        match node:
            case ast.BoolOp(op=ast.And() | ast.Or(), values=values):
                parts = [self.compiled(v, depth + 1) for v in values]
                wanted = isinstance(node.op, ast.Or)
                return lambda lookup: wanted if any(bool(p(lookup)) is wanted for p in parts) else not wanted
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison([left, *rights], ops, depth)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
                # A number in a sum is a distance, not a value that the clue places.
                a, b = self.compiled(left, depth + 1, names=False), self.compiled(right, depth + 1, names=False)
                sign = 1 if isinstance(node.op, ast.Add) else -1
                return lambda lookup: _number(a(lookup)) + sign * _number(b(lookup))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.compiled(operand, depth + 1, names=False)
                return lambda lookup: -_number(inner(lookup))
            case ast.Constant(value=value):
                constant = _constant(value)
                if names:
                    self.named.append(constant)
                return lambda lookup: constant
            case ast.Subscript(value=ast.Subscript(value=ast.Name(id="T"), slice=row), slice=column):
                value, header = self._argument("r", row), str(self._argument("c", column))
                self.named.append(value)
                self.headers.append(header)
                return lambda lookup: lookup(value, header)
        raise UnsafeClueError(f"a clue holds cells, constants, comparisons, and/or, and sums, but not {_spoken(node)}")

    def _comparison(self, sides: list[ast.expr], ops: list[ast.cmpop], depth: int) -> Callable[[Lookup], Value]:
        for op in ops:
            if type(op) not in _COMPARISONS:
                raise UnsafeClueError(f"a clue compares by == != < >, not by {type(op).__name__}")
        tests = [_COMPARISONS[type(op)] for op in ops]
        parts = [self.compiled(side, depth + 1) for side in sides]

        def truth(lookup: Lookup) -> Value:
            found = [part(lookup) for part in parts]
            try:
                return all(test(a, b) for test, a, b in zip(tests, found, found[1:], strict=False))
            except TypeError:
                raise _Undecided from None

        return truth

    @staticmethod
    def _argument(name: str, node: ast.expr) -> Value:
        match node:
            case ast.Call(func=ast.Name(id=called), args=[ast.Constant(value=value)], keywords=[]) if called == name:
                return _constant(value)
        raise UnsafeClueError(f"a cell is written T[r(value)][c(header)], but {name}(...) is {_spoken(node)}")


def _constant(value: object) -> Value:
    if isinstance(value, str):
        return value
    if (
        type(value) in (int, float)
        and isinstance(value, int | float)
        and math.isfinite(value)
        and abs(value) <= LARGEST
    ):
        return value
    raise UnsafeClueError(f"a clue's constants are texts and numbers up to {LARGEST:,}, but not {str(value)[:40]}")


def _number(value: Value) -> int | float:
    if isinstance(value, str):
        raise _Undecided
    return value


def _spoken(node: ast.AST) -> str:
    kind = type(node).__name__
    operation = getattr(node, "op", None)
    return f"{kind} ({type(operation).__name__})" if operation is not None else kind
