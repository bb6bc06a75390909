"""Key-value caches that hold less than the text: budgets, policies, compression of prompts.

A policy says which entries stay (one file each); `BudgetCache` keeps any of them under a cap while text is read and
generated; `compress_after_prefill` compresses prompts once.
"""

try:
    from tameshi.kv.cache import BudgetCache
    from tameshi.kv.expected_attention import ExpectedAttentionPolicy
    from tameshi.kv.full import FullPolicy
    from tameshi.kv.h2o import H2OPolicy
    from tameshi.kv.key_norm import KeyNormPolicy
    from tameshi.kv.policy import Policy
    from tameshi.kv.prefill import compress_after_prefill
    from tameshi.kv.q_filters import QFilters, QFiltersPolicy, QFiltersWarning
    from tameshi.kv.random_choice import RandomPolicy
    from tameshi.kv.snapkv import SnapKVPolicy
    from tameshi.kv.streaming_llm import StreamingLLMPolicy
except ModuleNotFoundError as error:
    if error.name not in {"torch", "transformers", "safetensors"}:
        raise
    raise ImportError(f"tameshi.kv needs {error.name}, which is not installed: pip install 'tameshi[kv]'") from error

__all__ = [
    "BudgetCache",
    "ExpectedAttentionPolicy",
    "FullPolicy",
    "H2OPolicy",
    "KeyNormPolicy",
    "Policy",
    "QFilters",
    "QFiltersPolicy",
    "QFiltersWarning",
    "RandomPolicy",
    "SnapKVPolicy",
    "StreamingLLMPolicy",
    "compress_after_prefill",
]
