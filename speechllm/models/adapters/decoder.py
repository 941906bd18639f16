"""A Q-Former that starts as Whisper's own decoder, as DiVA (arXiv 2410.02678) describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

from speechllm.errors import SpeechLLMError
from speechllm.models.adapters.base import Adapter, at_least_one, register
from speechllm.models.adapters.taps import TapMean


@register("decoder")
class DecoderQFormer(Adapter):
    """Hears words, as the decoder already does: queries in place of token embeddings, the rest is the decoder.

    DiVA's shapes: 448 queries, the 32 layers of Whisper-large-v3's decoder (size 1280, 20 heads, FFN 5120), its final
    LayerNorm and a Linear to the LLM's width; 845 M parameters beside Llama-3-8B. In their published code
    (`DivaModel` of levanter) queries start as noise of deviation .02 and the decoder adds its positions; here the sum
    is the parameter. As in the decoder, a query sees those before it. Read the last layer alone, `audio_layers =
    [last]`, for what DiVA reads.

    `blocks`, `heads` and `ffn_size` follow from the encoder's Whisper where a config leaves them out.
    """

    def __init__(
        self,
        num_layers: int,
        audio_size: int,
        text_size: int,
        *,
        queries: int = 448,
        blocks: int = 4,
        heads: int = 8,
        ffn_size: int = 2048,
    ) -> None:
        super().__init__()
        at_least_one(queries=queries, blocks=blocks, heads=heads, ffn_size=ffn_size)
        self.sizes = {"blocks": blocks, "heads": heads, "ffn_size": ffn_size}
        config = WhisperConfig(d_model=audio_size, decoder_attention_heads=heads, decoder_ffn_dim=ffn_size)
        config._attn_implementation = "sdpa"
        self.taps = TapMean(num_layers)
        self.queries = nn.Parameter(torch.randn(queries, audio_size) * 0.02)
        self.layers = nn.ModuleList(WhisperDecoderLayer(config, number) for number in range(blocks))
        self.layer_norm = nn.LayerNorm(audio_size)
        self.out = nn.Linear(audio_size, text_size)
        self.text_scale = nn.Parameter(torch.ones(()))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Adapter`; every mask of the result is all True."""
        audio_BTD = self.taps(states, mask)
        x_BND = self.queries.expand(len(states), -1, -1)
        count = x_BND.shape[1]
        before_NN = torch.ones(count, count, dtype=torch.bool, device=x_BND.device).tril()
        heard = mask[:, None, None, :].expand(-1, 1, count, -1)
        for layer in self.layers:
            x_BND = layer(x_BND, before_NN[None, None], audio_BTD, heard, use_cache=False)
        vectors = self.out(self.layer_norm(x_BND)) * self.text_scale
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)

    @staticmethod
    def num_vectors(frames: int, *, queries: int = 448, **_: Any) -> int:
        """A fixed number, whatever the length."""
        return queries

    @staticmethod
    def sizes_from(audio_config: Any) -> dict[str, Any]:
        """The sizes of the decoder that belongs to the encoder."""
        if not isinstance(audio_config, WhisperConfig):
            raise SpeechLLMError(
                f"adapter.type 'decoder' starts as Whisper's decoder, and a {audio_config.model_type} encoder has none;"
                " give a Whisper or another adapter"
            )
        return {
            "queries": audio_config.max_target_positions,
            "blocks": audio_config.decoder_layers,
            "heads": audio_config.decoder_attention_heads,
            "ffn_size": audio_config.decoder_ffn_dim,
        }

    @torch.no_grad()
    def start_from(self, load: Callable[[], Any]) -> None:
        """Copies the decoder; its positions go into the queries.

        Raises:
            SpeechLLMError: the settings are not those of the decoder.
        """
        speech_model = load()
        if self.queries.shape[1] != speech_model.config.d_model:
            raise SpeechLLMError("adapter.type 'decoder' hears its Whisper alone; leave paralinguistic_encoder out")
        theirs = self.sizes_from(speech_model.config)
        for name, size in self.sizes.items():
            if size != theirs[name]:
                raise SpeechLLMError(
                    f"adapter.{name} is {size}, but the decoder that it starts as has {theirs[name]}; leave it out"
                )
        if len(self.queries) > theirs["queries"]:
            raise SpeechLLMError(
                f"adapter.queries is {len(self.queries)}, but the decoder that it starts as has {theirs['queries']}"
                " positions; give fewer"
            )
        decoder = speech_model.decoder
        self.layers.load_state_dict(decoder.layers.state_dict())
        self.layer_norm.load_state_dict(decoder.layer_norm.state_dict())
        self.queries.add_(decoder.embed_positions.weight[: len(self.queries)])

    def set_text_scale(self, scale: float) -> None:
        """Starts the vectors at the size of the LLM's own embeddings."""
        nn.init.constant_(self.text_scale, scale)
