"""SpeechLLM: a frozen speech encoder, a trainable adapter, a frozen text LLM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from speechllm import hub
from speechllm.data.jsonl import umask
from speechllm.errors import SpeechLLMError
from speechllm.models import fingerprint
from speechllm.models.adapters import Adapter, build_adapter, complete
from speechllm.models.configuration import SpeechLLMConfig
from speechllm.models.llm import load_llm
from speechllm.models.lora import add_lora, train_dropout
from speechllm.models.prefix import SharedPrefix, cached
from speechllm.models.splice import splice
from speechllm.models.tower import load_tower, run_tower

WEIGHTS = "adapter.safetensors"

EncodedAudio = tuple[torch.Tensor, torch.Tensor]
"""What the adapter reads of each window: (W, L, R, K) and its mask (W, R), see `Adapter.reduce`."""


@dataclass(frozen=True)
class ReplyRows:
    """Predictions of the N labelled tokens: logits (N, V), the tokens themselves (N,), last hidden states (N, D)."""

    logits: torch.Tensor
    wanted: torch.Tensor
    hidden: torch.Tensor | None = None


class SpeechLLM(PreTrainedModel):
    """Hears through `multi_modal_projector`; everything else is frozen, in eval mode, and never changes.

    On text-only input it calls the LLM and nothing else, so the logits are the untouched LLM's, bit for bit; that holds
    too with `lora` at audio positions. With `lora` everywhere or `train_llm` the LLM learns as well, and it does not.
    """

    config_class = SpeechLLMConfig
    config: Any
    audio_tower: Any
    language_model: Any
    multi_modal_projector: Adapter
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: SpeechLLMConfig, audio_tower: Any, language_model: Any) -> None:
        super().__init__(config)
        self.audio_tower = audio_tower
        self.language_model = language_model
        depth = audio_tower.config.num_hidden_layers
        if not config.audio_layers or not all(1 <= number <= depth for number in config.audio_layers):
            raise SpeechLLMError(
                f"audio_layers {config.audio_layers}: the encoder {config.encoder} has the layers 1 to {depth}"
            )
        embedding = language_model.get_input_embeddings().weight
        self.multi_modal_projector = build_adapter(
            config.adapter or {},
            num_layers=len(config.audio_layers),
            audio_size=audio_tower.config.hidden_size,
            text_size=embedding.shape[1],
        )
        self.multi_modal_projector.set_text_scale(float(embedding.detach().float().square().mean().sqrt()))
        language_model.requires_grad_(False)  # as the tower was when it was loaded
        if config.lora and config.train_llm:
            raise SpeechLLMError("model.lora and model.train_llm: train the LLM's weights or updates of them, not both")
        self.lora_gate = add_lora(language_model, config.lora) if config.lora else None
        self._published: list[Any] = []
        if config.train_llm:
            language_model.requires_grad_(True)
        self.prefix = SharedPrefix()
        self.train(False)

    @classmethod
    def from_references(
        cls,
        encoder: str,
        llm: str,
        adapter: dict[str, Any],
        *,
        dtype: torch.dtype | str = "auto",
        **settings: Any,
    ) -> SpeechLLM:
        """A model with a new, untrained adapter.

        Args:
            encoder: model reference of a Whisper, wav2vec2, HuBERT or WavLM.
            llm: model reference of an instruction-tuned LLM.
            adapter: `{"type": name, ...}` with a name in `speechllm.models.adapters.ADAPTERS` and its settings.
            dtype: of the frozen parts; "auto" is what each was stored in. What is trained is always float32.
            settings: more fields of `SpeechLLMConfig`.
        """
        audio_config = AutoConfig.from_pretrained(hub.resolve(encoder))
        config = SpeechLLMConfig(
            audio_config=audio_config,
            text_config=AutoConfig.from_pretrained(hub.resolve(llm)),
            encoder=encoder,
            llm=llm,
            adapter=complete(adapter, audio_config),
            **settings,
        )
        model = cls._assemble(config, dtype, "auto" if config.train_llm else dtype)
        model.multi_modal_projector.start_from(lambda: AutoModel.from_pretrained(hub.resolve(encoder)))
        return model

    @classmethod
    def _assemble(cls, config: SpeechLLMConfig, dtype: torch.dtype | str, llm_dtype: torch.dtype | str) -> SpeechLLM:
        if config.train_llm and llm_dtype == "auto":
            llm_dtype = torch.float32
        return cls(config, load_tower(config, dtype), load_llm(config.llm, llm_dtype))

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, dtype: torch.dtype | str = "auto", device: str | torch.device | None = None
    ) -> SpeechLLM:
        """Loads an adapter checkpoint and the frozen parts that it names.

        Args:
            folder: local folder or Hugging Face id of an adapter checkpoint.
            dtype: of the frozen parts; "auto" is what each was stored in.
            device: where to put the model; None leaves it on the CPU.

        Raises:
            SpeechLLMError: the folder is not a checkpoint, or its adapter was trained with another encoder, LLM or
                prompt template than the ones found; names both sides.
        """
        path, config = _checkpoint(folder)
        model = cls._assemble(config, dtype, dtype)
        model._take_over(path / WEIGHTS)
        return model if device is None else model.to(device)

    def begin_with(self, folder: str | Path) -> None:
        """Takes over the trained weights of an adapter checkpoint; what it does not hold, such as LoRA, stays as it is.

        Args:
            folder: local folder or Hugging Face id.

        Raises:
            SpeechLLMError: the folder is not a checkpoint, was trained with another encoder, LLM or adapter, or holds
                weights that this model does not train; names both sides.
        """
        path, config = _checkpoint(folder)
        for name in ("encoder", "llm", "adapter", "audio_layers", "paralinguistic_encoder"):
            theirs, mine = getattr(config, name), getattr(self.config, name)
            if theirs != mine:
                raise SpeechLLMError(
                    f"{path}: was trained with {name} {theirs!r}, this run has {mine!r}; take the same"
                )
        self._take_over(path / WEIGHTS, some=True)

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Writes config, trainable weights and the fingerprint of the frozen parts; see `export.write_checkpoint`."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(path)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.adapter_state().items()}
        try:
            save_file(weights, path / WEIGHTS, metadata={"format": "pt"})
        except (OSError, SafetensorError) as error:
            raise SpeechLLMError(
                f"{path / WEIGHTS}: cannot be written: {error}; free some space or pick another folder"
            ) from error
        (path / WEIGHTS).chmod(0o666 & ~umask())  # safetensors writes files that only their owner can read
        fingerprint.write(path, self.config)

    def adapter_state(self) -> dict[str, torch.Tensor]:
        """The trainable tensors by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def _take_over(self, file: Path, some: bool = False) -> None:
        """Loads all trainable tensors, or `some`: those that the file holds."""
        try:
            weights = load_file(file)
        except (OSError, SafetensorError) as error:
            raise SpeechLLMError(f"{file}: is damaged ({error}); copy the checkpoint again") from error
        mine = self.adapter_state()
        if some:
            mine = {name: tensor for name, tensor in mine.items() if name in weights}
        wrong = sorted(set(mine) ^ set(weights)) or [n for n in mine if mine[n].shape != weights[n].shape]
        if wrong and some:
            raise SpeechLLMError(
                f"{file}: holds {wrong[0]!r}, which this run does not train in that shape; give it the model.lora,"
                " model.encoder_lora and model.train_llm that the checkpoint was trained with"
            )
        if wrong:
            raise SpeechLLMError(f"{file}: does not fit the adapter that config.json describes; first at {wrong[0]!r}")
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(weights[name])

    def train(self, mode: bool = True) -> SpeechLLM:
        """Training mode for what is trained; frozen parts stay in eval mode, so no dropout disturbs them."""
        super().train(mode)
        self.audio_tower.eval()
        train_dropout(self.audio_tower, mode)
        if not self.config.train_llm:
            self.language_model.eval()
            train_dropout(self.language_model, mode)
        return self

    @property
    def learns_text(self) -> bool:
        """Whether text without audio can teach it anything: something acts on text that is not frozen."""
        return bool(self.config.train_llm or (self.config.lora and self.config.lora["where"] == "everywhere"))

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Within the block `language_model` is the LLM as published; with `train_llm` a second copy of it is loaded."""
        if not self.config.train_llm:
            with nullcontext() if self.lora_gate is None else self.lora_gate.untouched():
                yield
            return
        if not self._published:  # in a list, so that it is no part of this module
            self._published.append(load_llm(self.config.llm, self.language_model.dtype).requires_grad_(False).eval())
        trained = self.language_model
        self.language_model = self._published[0].to(self.device)
        try:
            yield
        finally:
            self.language_model = trained

    def _hearing(self, input_ids: torch.Tensor | None) -> AbstractContextManager[None]:
        """Within the block the LLM is called with these tokens, or with embeddings of them."""
        if self.lora_gate is None or input_ids is None:
            return nullcontext()
        return self.lora_gate.hearing(input_ids == self.config.audio_token_id)

    def get_input_embeddings(self) -> Any:
        """The LLM's token embeddings."""
        return self.language_model.get_input_embeddings()

    def encode_audio(self, input_features: torch.Tensor, input_features_mask: torch.Tensor) -> EncodedAudio:
        """Features (W, M, F), or samples (W, F), with mask (W, F) -> what the adapter reads.

        Without gradients, unless the encoder has updates that are trained.
        """
        features = input_features.to(device=self.device, dtype=self.audio_tower.dtype)
        with nullcontext() if self.config.encoder_lora else torch.no_grad():
            states, mask = run_tower(self.audio_tower, features, input_features_mask.to(self.device), self.config)
            return self.multi_modal_projector.reduce(states, mask)

    def project(self, encoded: EncodedAudio) -> tuple[torch.Tensor, torch.Tensor]:
        """What `encode_audio` returns -> vectors (W, N, D) in float32 and their mask (W, N)."""
        states, mask = encoded
        # Where the frozen parts are bfloat16 so are the adapter's products; its weights and gradients stay float32.
        fast = self.language_model.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            vectors, valid = self.multi_modal_projector(states.float(), mask)
        return vectors.float(), valid

    def get_audio_features(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (W, M, F), or samples (W, F), with mask (W, F) -> audio vectors (W, N, D) and their mask (W, N)."""
        return self.project(self.encode_audio(input_features, input_features_mask))

    def embed(
        self,
        input_ids: torch.Tensor,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        encoded_audio: EncodedAudio | None = None,
    ) -> torch.Tensor:
        """Token embeddings (B, S, D) with audio vectors where the placeholders stand."""
        if encoded_audio is None:
            if input_features is None or input_features_mask is None:
                raise SpeechLLMError("the prompt holds audio placeholders but no input_features were given")
            encoded_audio = self.encode_audio(input_features, input_features_mask)
        return self._spliced(input_ids, *self.project(encoded_audio))

    def _spliced(self, input_ids: torch.Tensor, vectors: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        is_audio = input_ids == self.config.audio_token_id
        # The placeholder may have no row in the embedding table; any other id does, its embedding is replaced.
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(is_audio, 0))
        return splice(embeddings, is_audio, vectors, valid)

    def read(self, input_ids: torch.Tensor, vectors: torch.Tensor, **kwargs: Any) -> CausalLMOutputWithPast:
        """What the LLM returns for prompts whose audio is projected already: `forward` without the encoder's work.

        Args:
            input_ids: (B, S) with one placeholder for each audio vector.
            vectors: (N, D), those that are valid of what `project` returns, in reading order.
            kwargs: passed to the LLM.
        """
        if not len(vectors):
            return self.language_model(input_ids=input_ids, **kwargs)
        everything = torch.ones(1, len(vectors), dtype=torch.bool, device=vectors.device)
        with self._hearing(input_ids):
            return self.language_model(inputs_embeds=self._spliced(input_ids, vectors[None], everything), **kwargs)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoded_audio: EncodedAudio | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and with `labels` the loss.

        Args:
            input_ids: (B, S) with one placeholder for each audio vector.
            attention_mask: (B, S).
            input_features: (W, M, F) log-mel, or (W, F) samples, of all windows of the batch.
            input_features_mask: (W, F).
            labels: (B, S), -100 outside the replies. The loss is the sum over reply tokens divided by
                `num_items_in_batch`, or by their number here. With labels, `logits` has the predicting rows only,
                (reply tokens, V): the vocabulary projection of all other rows would be thrown away.
            encoded_audio: from `encode_audio`, in place of `input_features`.
            num_items_in_batch: reply tokens in the whole (accumulated, distributed) batch.
            kwargs: passed to the LLM (`logits_to_keep`, `position_ids`, its cache, ...).
        """
        if labels is not None:
            rows = self.predict_replies(
                input_ids, labels, attention_mask, input_features, input_features_mask, encoded_audio, **kwargs
            )
            total = nn.functional.cross_entropy(rows.logits.float(), rows.wanted, reduction="sum")
            count = num_items_in_batch if num_items_in_batch is not None else max(int(rows.wanted.numel()), 1)
            return CausalLMOutputWithPast(loss=total / count, logits=rows.logits)
        inputs = self._inputs(input_ids, input_features, input_features_mask, encoded_audio)
        with self._hearing(input_ids):
            return self.language_model(**inputs, attention_mask=attention_mask, **kwargs)

    def predict_replies(
        self,
        input_ids: torch.Tensor | None,
        labels: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        encoded_audio: EncodedAudio | None = None,
        output_hidden_states: bool = False,
        **kwargs: Any,
    ) -> ReplyRows:
        """What the LLM predicts at each of the N labelled tokens; arguments as in `forward`.

        Tokens with which all rows begin are run once for all batches, see `SharedPrefix`.
        """
        if input_ids is not None:
            audio = self.config.audio_token_id
            length, cache = self.prefix.find(self.language_model, input_ids, labels, attention_mask, audio)
            input_ids, labels = input_ids[:, length:], labels[:, length:]
            kwargs |= {} if cache is None else cached(self.language_model, cache)
            if length and kwargs.get("position_ids") is not None:
                kwargs["position_ids"] = kwargs["position_ids"][:, length:]
        inputs = self._inputs(input_ids, input_features, input_features_mask, encoded_audio)
        predicts = nn.functional.pad(labels[:, 1:] != -100, (0, 1))  # row t predicts token t + 1
        with rows_only(self.language_model, predicts), self._hearing(input_ids):
            out = self.language_model(
                **inputs,
                attention_mask=attention_mask,
                use_cache=False,
                output_hidden_states=output_hidden_states,
                **kwargs,
            )
        hidden = out.hidden_states[-1][predicts] if output_hidden_states else None
        return ReplyRows(out.logits, labels[:, 1:][labels[:, 1:] != -100], hidden)

    def _inputs(
        self,
        input_ids: torch.Tensor | None,
        input_features: torch.Tensor | None,
        input_features_mask: torch.Tensor | None,
        encoded_audio: EncodedAudio | None,
    ) -> dict[str, Any]:
        """What the LLM is called with: text as it is, and embeddings only where there is audio."""
        if input_ids is None or not bool((input_ids == self.config.audio_token_id).any()):
            return {"input_ids": input_ids}
        return {"inputs_embeds": self.embed(input_ids, input_features, input_features_mask, encoded_audio)}

    @torch.no_grad()  # not inference_mode: of a sharded LLM the buffers that it makes would be useless in training
    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        encoded_audio: EncodedAudio | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Prompt and reply, (B, S + T), as `generate` of transformers returns them; takes its keyword arguments."""
        if not bool((input_ids == self.config.audio_token_id).any()):
            return self.language_model.generate(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        embeddings = self.embed(input_ids, input_features, input_features_mask, encoded_audio)
        with self._hearing(input_ids):
            reply = self.language_model.generate(inputs_embeds=embeddings, attention_mask=attention_mask, **kwargs)
        return torch.cat([input_ids, reply], dim=1)


def _checkpoint(folder: str | Path) -> tuple[Path, SpeechLLMConfig]:
    """Where an adapter checkpoint lies and what it says of itself, its frozen parts being those it was trained with."""
    path = hub.resolve(str(folder))
    if not (path / WEIGHTS).is_file():
        raise SpeechLLMError(
            f"{path}: is not an adapter checkpoint ({WEIGHTS} is missing); give the folder that training wrote"
        )
    config = SpeechLLMConfig.from_pretrained(path)
    fingerprint.check(path, config)
    return path, config


@contextmanager
def rows_only(language_model: Any, rows: torch.Tensor) -> Iterator[None]:
    """Within the block the LLM projects only `rows` (B, S bool) onto the vocabulary: logits are (rows, V).

    A hook on the output embeddings rather than a projection of our own, so that whatever the LLM does around it
    (scaling, soft-capping) still happens. Two-dimensional operands also keep matrix products fast on the CPU.
    """
    head = language_model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, args: (args[0][rows],))
    try:
        yield
    finally:
        hook.remove()
