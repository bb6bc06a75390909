"""The Game of 24: combine numbers two by two with + - * / until one is left, and it must be 24.

A state is a tuple of fully parenthesised expressions, `("(5 + 9)", "12", "12")`. All arithmetic is exact, in fractions: that
8 / (3 - 8 / 3) is 24 and not 23.999999999999996 decides labels.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any, ClassVar, TypeAlias

Expressions: TypeAlias = tuple[str, ...]

TARGET = Fraction(24)
LONGEST = 200  # characters of one expression; four numbers below 100 need 27
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class Game24:
    """One hand of numbers.

    Args:
        initial: whole numbers, as ints or strings; four in the paper, two to five here.

    Raises:
        ValueError: not whole numbers from 0 to 999, or too many of them.
    """

    kind: ClassVar[str] = "game24"

    def __init__(self, initial: Sequence[int | str]) -> None:
        if not 2 <= len(initial) <= 5:
            raise ValueError(f"the game is played with 2 to 5 numbers, got {len(initial)}")
        for word in map(str, initial):
            if not re.fullmatch(r"[0-9]{1,3}", word):
                raise ValueError(f"the numbers must be whole, 0 to 999, got {word!r}")
        self.initial: Expressions = tuple(str(int(word)) for word in initial)

    def children(self, state: Expressions) -> list[Expressions]:
        return self.moves(state)

    def moves(self, state: Expressions) -> list[Expressions]:
        """Six results for every pair (a+b, a-b, b-a, a*b, a/b, b/a), the new expression first, the rest in order.

        Results that happen to be equal are kept; a division by zero is none.
        """
        found = []
        for i, j in combinations(range(len(state)), 2):
            a, b = state[i], state[j]
            rest = tuple(e for k, e in enumerate(state) if k not in (i, j))
            made = [f"({a} + {b})", f"({a} - {b})", f"({b} - {a})", f"({a} * {b})"]
            made += [f"({a} / {b})"] if value(b) else []
            made += [f"({b} / {a})"] if value(a) else []
            found += [(expression, *rest) for expression in made]
        return found

    def objection(self, previous: Expressions, following: Expressions) -> str | None:
        if self._numbers(following) != self._numbers(self.initial):
            return "different numbers"
        if len(following) < len(previous) - 1:
            return "multiple moves"
        wanted = self._shapes(following)
        fits = len(following) == len(previous) - 1 and any(self._shapes(m) == wanted for m in self.moves(previous))
        return None if fits else "invalid move"

    def solvable(self, state: Expressions) -> bool:
        try:
            return reaches(tuple(sorted(value(e) for e in state)))
        except ZeroDivisionError:
            return False

    def solution(self, state: Expressions) -> Expressions | None:
        if not self.solvable(state):
            return None
        while len(state) > 1:
            state = next(move for move in self.moves(state) if self.solvable(move))
        return state

    def solved(self, state: Expressions) -> bool:
        return len(state) == 1 and value(state[0]) == TARGET and self._numbers(state) == self._numbers(self.initial)

    def extends(self, state: Expressions, earlier: Expressions) -> bool:
        """Every expression of the earlier state stands, whole, inside the state."""
        inside: Counter[Hashable] = Counter()
        for expression in state:
            inside.update(_subtrees(shape(expression)))
        return not self._shapes(earlier) - inside

    def same(self, one: Expressions, other: Expressions) -> bool:
        """Equal but for the order of the expressions and of what is added or multiplied."""
        return self._shapes(one) == self._shapes(other)

    def canonical(self, state: Expressions) -> Hashable:
        """The hand and the values left of it; by the values alone there would be too few states that are one step from 24."""
        return tuple(sorted(self.initial)), tuple(sorted(value(e) for e in state))

    def open_cells(self, state: Expressions) -> int:
        return len(state) - 1

    def render(self, state: Expressions) -> str:
        return "[" + ", ".join(f'"{e}"' for e in state) + "]"

    def parse(self, text: str) -> Expressions:
        """A list of expressions, `["(5 + 9)", "12"]`, quotes not needed, brackets not needed for one.

        Raises:
            ValueError: anything but whole numbers, + - * / and parentheses, or a division by zero.
        """
        _, bracket, listed = text[:4_000].partition("[")
        inside, closed, _ = listed.partition("]")
        if bracket and (not closed or "[" in inside):
            raise ValueError("the list of expressions is not well formed")
        first = inside if bracket else (text.strip().splitlines() or [""])[0].split("=")[0]
        words = [word.strip(" \n\"'`.") for word in first.split(",")]
        if not 1 <= len(words) <= 5 or not all(words):
            raise ValueError('a state is written as a list of expressions, ["(5 + 9)", "12"], but there is none')
        for word in words:
            value(word)
        return tuple(words)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "initial": list(self.initial)}

    def _numbers(self, state: Expressions) -> Counter[str]:
        return Counter(number for e in state for number in re.findall(r"\d+", e))

    def _shapes(self, state: Expressions) -> Counter[Hashable]:
        return Counter(shape(e) for e in state)


@lru_cache(100_000)
def value(expression: str) -> Fraction:
    """The exact value of an expression.

    Raises:
        ValueError: anything but whole numbers, + - * / and parentheses; too long; a division by zero.
    """
    try:
        return _evaluate(_parsed(expression))
    except ZeroDivisionError:
        raise ValueError(f"{expression[:LONGEST]!r} divides by zero") from None


@lru_cache(100_000)
def shape(expression: str) -> Hashable:
    """The expression as nested tuples, the same for a + b and b + a."""
    return _shaped(_parsed(expression))


@lru_cache(100_000)
def reaches(numbers: tuple[Fraction, ...]) -> bool:
    """Whether the numbers, each used once, can make 24.

    The last step joins two parts of the numbers: for every value that one part can take, the six partners that would make 24
    are looked up among the values of the other.
    """
    if len(numbers) == 1:
        return numbers[0] == TARGET
    for left, right in _splits(numbers):
        partners = values(right)
        for a in values(left):
            if TARGET - a in partners or a - TARGET in partners or a + TARGET in partners:
                return True
            if a and (TARGET / a in partners or a / TARGET in partners or a * TARGET in partners):
                return True
    return False


@lru_cache(100_000)
def values(numbers: tuple[Fraction, ...]) -> frozenset[Fraction]:
    """Every value that the numbers, each used once, can make."""
    if len(numbers) == 1:
        return frozenset(numbers)
    made: set[Fraction] = set()
    for left, right in _splits(numbers):
        for a in values(left):
            for b in values(right):
                made.update((a + b, a - b, b - a, a * b))
                if b:
                    made.add(a / b)
                if a:
                    made.add(b / a)
    return frozenset(made)


def _splits(numbers: tuple[Fraction, ...]) -> list[tuple[tuple[Fraction, ...], tuple[Fraction, ...]]]:
    """All ways to divide the numbers into two parts, each once: the first number is always in the left part."""
    found = []
    for chosen in range(2 ** (len(numbers) - 1) - 1):
        left = [numbers[0]] + [n for i, n in enumerate(numbers[1:]) if chosen >> i & 1]
        right = [n for i, n in enumerate(numbers[1:]) if not chosen >> i & 1]
        found.append((tuple(left), tuple(right)))
    return list(dict.fromkeys(found))


@lru_cache(100_000)
def _parsed(expression: str) -> ast.expr:
    if len(expression) > LONGEST:
        raise ValueError(f"an expression has at most {LONGEST} characters, got {len(expression)}")
    if not re.fullmatch(r"[0-9+\-*/() ]+", expression) or re.search(r"\*\s*\*|/\s*/|\d\s+\d|\d{5}", expression):
        raise ValueError(f"{expression!r} holds more than whole numbers, + - * / and parentheses")
    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} is not a well-formed expression") from error
    for node in ast.walk(body):
        if isinstance(node, ast.BinOp) or (isinstance(node, ast.Constant) and type(node.value) is int):
            continue
        if not isinstance(node, ast.operator) or type(node) not in _SIGNS:
            raise ValueError(f"{expression!r} holds more than whole numbers, + - * / and parentheses")
    return body


def _evaluate(node: ast.expr) -> Fraction:
    if not isinstance(node, ast.BinOp):
        assert isinstance(node, ast.Constant)
        return Fraction(int(str(node.value)))
    a, b = _evaluate(node.left), _evaluate(node.right)
    match _SIGNS[type(node.op)]:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case _:
            return a / b


def _shaped(node: ast.expr) -> Hashable:
    if not isinstance(node, ast.BinOp):
        assert isinstance(node, ast.Constant)
        return str(node.value)
    sign = _SIGNS[type(node.op)]
    parts = (_shaped(node.left), _shaped(node.right))
    return (sign, *(sorted(parts, key=repr) if sign in "+*" else parts))


def _subtrees(shaped: Hashable) -> list[Hashable]:
    if not isinstance(shaped, tuple):
        return [shaped]
    return [shaped, *(s for part in shaped[1:] for s in _subtrees(part))]
