"""Adapters: from the states of the tapped encoder layers to vectors that the LLM reads."""

from speechllm.models.adapters.base import ADAPTERS, Adapter, build_adapter, complete, num_vectors
from speechllm.models.adapters.convolution import ConvolutionBottleneck
from speechllm.models.adapters.decoder import DecoderQFormer
from speechllm.models.adapters.pooled import PooledStatistics
from speechllm.models.adapters.qformer import QFormer
from speechllm.models.adapters.stack import StackMLP

__all__ = [
    "ADAPTERS",
    "Adapter",
    "ConvolutionBottleneck",
    "DecoderQFormer",
    "PooledStatistics",
    "QFormer",
    "StackMLP",
    "build_adapter",
    "complete",
    "num_vectors",
]
