"""Miniatures of corpora of emotions."""

from miniature import Miniature

EMOTIONS = {
    "esd": Miniature(
        audio=[
            "0001/Angry/0001_000351.wav",
            "0004/Happy/test/0004_000750.wav",
            "0012/Surprise/train/0012_001451.wav",
            "0013/Neutral/0013_000020.wav",
        ],
        tables={
            "0001/0001.txt": "0001_000351\t打远一看，它们的确很是美丽，\t生气\n".encode("gb2312"),
            "0004/0004.txt": "0004_000750\t我们俩。\t快乐\n",
            "0012/0012.txt": "0012_001451\tThe nine the eggs, I keep.\tSurprise\r\n".encode("utf-16"),
            "0013/0013.txt": b"0013_000020 I\x92d keep.\tNeutral\n",  # a line without its first tab
        },
        expected={
            "evaluation": [
                {
                    "id": "0001_000351",
                    "text": "打远一看，它们的确很是美丽，",
                    "language": "zh",
                    "speaker": "0001",
                    "attributes": {"gender": "female", "emotion": "angry"},
                },
                {
                    "id": "0013_000020",
                    "language": "en",
                    "speaker": "0013",
                    "attributes": {"gender": "male", "emotion": "neutral"},
                },
            ],
            "test": [
                {
                    "id": "0004_000750",
                    "text": "我们俩。",
                    "language": "zh",
                    "speaker": "0004",
                    "attributes": {"gender": "male", "emotion": "happy"},
                }
            ],
            "train": [
                {
                    "id": "0012_001451",
                    "text": "The nine the eggs, I keep.",
                    "language": "en",
                    "speaker": "0012",
                    "attributes": {"gender": "male", "emotion": "surprised"},
                }
            ],
        },
    ),
}
