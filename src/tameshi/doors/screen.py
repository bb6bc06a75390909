"""Door: foreign text is shown. What came from outside is made harmless before a terminal or a page sees it."""

from __future__ import annotations

import unicodedata

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


def _spell(character: str) -> str:
    if character in "\n\t\r":
        return " "
    # Cc control, Cf format (bidi, zero width), Cs lone surrogate, Co private, Zl/Zp line separators
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
        return f"\\u{ord(character):04x}"
    return character
