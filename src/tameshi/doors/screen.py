"""Door: foreign text is shown. What came from outside is made harmless before a terminal or a page sees it."""

from __future__ import annotations

import unicodedata

# Cc control, Cf format (bidi, zero width), Cs lone surrogate, Co private, Zl and Zp line separators
ACTIVE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
LONGEST = 2_000  # characters shown of one piece of foreign text; a name is never longer, an error seldom


def plain(text: object, *, longest: int = LONGEST) -> str:
    """Text without anything active: control characters, terminal escapes, bidirectional and invisible characters are spelt out.

    Line breaks and tabs become spaces. HTML is escaped by the templates, which all have autoescape on; Rich markup by showing
    the result as `rich.text.Text`, never as markup.
    """
    shown = str(text)
    if len(shown) > longest:
        shown = f"{shown[:longest]}… ({len(shown):,} characters)"
    return "".join(_spell(c) for c in shown)


def plain_json(text: str) -> str:
    """JSON for a terminal: the same value, with everything active or invisible written as an escape."""
    return "".join(c if c in "\n " else _escape(c) for c in text)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in ACTIVE:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _spell(character: str) -> str:
    if character in "\n\t\r":
        return " "
    if unicodedata.category(character) in ACTIVE:
        return f"\\u{ord(character):04x}"
    return character
