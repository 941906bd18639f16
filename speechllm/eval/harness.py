"""The LLM inside a checkpoint as a model of EleutherAI's lm-evaluation-harness, for its hundreds of text benchmarks."""

from __future__ import annotations

from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor

try:
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    raise SpeechLLMError(f"lm_eval is not installed ({error}); pip install speechllm[harness]") from error


class TextLM(HFLM):
    """The checkpoint's LLM as it answers text without audio: as trained, where training touched it.

    Audio-gated LoRA stays off, as it does on any text; LoRA that always acts, and an LLM trained whole, are measured.
    For the untouched LLM beside it, let lm_eval load the id in `model.config.llm` by its own `hf` model.

    What lm_eval does with a loaded transformers model (https://github.com/EleutherAI/lm-evaluation-harness,
    `lm_eval/models/huggingface.py`, written against 0.4.13) it does here; tasks fetch their data from Hugging Face:

        import lm_eval
        from speechllm.eval.harness import TextLM

        model = SpeechLLM.from_pretrained("runs/mine/checkpoint")
        processor = SpeechLLMProcessor.from_pretrained("runs/mine/checkpoint")
        found = lm_eval.simple_evaluate(TextLM(model, processor, batch_size=8), tasks=["arc_easy", "hellaswag"])
        print(found["results"])
    """

    def __init__(self, model: SpeechLLM, processor: SpeechLLMProcessor, batch_size: int = 1) -> None:
        """Takes the LLM of `model` where it lies, in its precision; `batch_size` requests are answered at once."""
        model.eval()
        super().__init__(
            pretrained=model.language_model, tokenizer=processor.tokenizer, backend="causal", batch_size=batch_size
        )
