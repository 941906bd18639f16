"""Adapters: from the states of the tapped encoder layers to vectors that the LLM reads."""

from speechllm.models.adapters.base import ADAPTERS, Adapter, build_adapter, num_vectors
from speechllm.models.adapters.pooled import PooledStatistics
from speechllm.models.adapters.qformer import QFormer

__all__ = ["ADAPTERS", "Adapter", "PooledStatistics", "QFormer", "build_adapter", "num_vectors"]
