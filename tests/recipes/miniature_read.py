"""Miniatures of corpora of read and prompted sentences."""

from miniature import Miniature

READ = {
    "libritts_r": Miniature(
        audio=["train-clean-100/19/198/19_198_000000_000001.wav", "test-other/367/130732/367_130732_000002_000000.wav"],
        tables={
            "speakers.tsv": "READER\tGENDER\tSUBSET NAME\n19\tF\ttrain-clean-100\tKara\n",
            "train-clean-100/19/198/19_198_000000_000001.normalized.txt": "Chapter one.",
            "train-clean-100/19/198/19_198_000000_000001.original.txt": "CHAPTER 1.",
        },
        expected={
            "test-other": [{"id": "367_130732_000002_000000", "language": "en", "speaker": "367"}],
            "train-clean-100": [
                {
                    "id": "19_198_000000_000001",
                    "text": "Chapter one.",
                    "language": "en",
                    "speaker": "19",
                    "attributes": {"gender": "female"},
                }
            ],
        },
    ),
}
