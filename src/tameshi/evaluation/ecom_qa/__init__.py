"""ChineseEcomQA: a benchmark of ten e-commerce concepts, an audit of it, and the way to build one's own.

Chen et al. 2025, arXiv:2502.20196. The public file has no licence and does not ship: `load_ecomqa` takes the user's
copy, and a generated shop stands in its place until then.

    items = load_ecomqa("ChineseEcomQA.jsonl")
    print(audit(items))                                   # what it gives away for nothing
    print(summary(score_items(items, answers)).table())   # answers of any model, without a judge
    Pipeline(generate, validators).run(snippets)          # a benchmark of one's own corpus
"""

from tameshi.evaluation.ecom_qa.audit import AuditReport, audit, trivial_baselines, trivial_scores
from tameshi.evaluation.ecom_qa.calibration import calibration, expected_calibration_error, read_confidence
from tameshi.evaluation.ecom_qa.construction import Benchmark, Candidate, Pipeline, Provenance, build_benchmark
from tameshi.evaluation.ecom_qa.items import TASKS, DatasetFormatError, Item, from_records, load_ecomqa, to_record
from tameshi.evaluation.ecom_qa.retrieval import BM25, with_passages
from tameshi.evaluation.ecom_qa.scoring import Scored, Summary, read_answer, score_item, score_items, summary
from tameshi.evaluation.ecom_qa.shop import Shop, Shopper, make_shop

__all__ = [
    "BM25",
    "TASKS",
    "AuditReport",
    "Benchmark",
    "Candidate",
    "DatasetFormatError",
    "Item",
    "Pipeline",
    "Provenance",
    "Scored",
    "Shop",
    "Shopper",
    "Summary",
    "audit",
    "build_benchmark",
    "calibration",
    "expected_calibration_error",
    "from_records",
    "load_ecomqa",
    "make_shop",
    "read_answer",
    "read_confidence",
    "score_item",
    "score_items",
    "summary",
    "to_record",
    "trivial_baselines",
    "trivial_scores",
    "with_passages",
]
