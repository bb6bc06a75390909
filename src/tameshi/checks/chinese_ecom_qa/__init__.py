"""ChineseEcomQA: on a generated shop whose shoppers know a stated share of its facts, or on the user's file and models.

The public file has no licence and is never shipped; `--data ChineseEcomQA.jsonl` points to the user's copy. What needs
families of real models is out of reach here, and the option that brings it into reach is named.
"""

from tameshi.checks.chinese_ecom_qa.applied import build, look, release
from tameshi.checks.chinese_ecom_qa.figures import beside_trivial, calibrated, lifted, stages
from tameshi.checks.chinese_ecom_qa.knowledge import shoppers
from tameshi.checks.chinese_ecom_qa.models import separation
from tameshi.checks.chinese_ecom_qa.pipeline import cleaning
from tameshi.checks.chinese_ecom_qa.rules import RULES

__all__ = [
    "RULES",
    "beside_trivial",
    "build",
    "calibrated",
    "cleaning",
    "lifted",
    "look",
    "release",
    "separation",
    "shoppers",
    "stages",
]
