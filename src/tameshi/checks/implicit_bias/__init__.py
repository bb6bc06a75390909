"""Implicit bias: the survey's ways of measuring, on models in which the truth is planted, or on the user's own.

What the survey asserts is about measures, so the subject is a model whose association is known. Two worlds are run: one
in which only one kind of sentence carries the association, and one in which names and occupations also keep the same
company, as associated words do in natural text. Measures on vectors see the second and not the first.
"""

from tameshi.checks.implicit_bias.applied import read_answers, report
from tameshi.checks.implicit_bias.figures import recovery, through_questions
from tameshi.checks.implicit_bias.planting import planted
from tameshi.checks.implicit_bias.questions import denial, scripted
from tameshi.checks.implicit_bias.rules import RULES

__all__ = ["RULES", "denial", "planted", "read_answers", "recovery", "report", "scripted", "through_questions"]
