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
    "voxceleb1": Miniature(
        audio=["vox1_dev_wav/wav/id10001/1zcIwhmdeo4/00001.wav", "wav/id10270/5r0dWxy17C8/00002.wav"],
        tables={
            "vox1_meta.csv": "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
            "id10001\tA.J._Buckley\tm\tIreland\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\n"
        },
        expected={
            "dev": [
                {
                    "id": "id10001/1zcIwhmdeo4/00001",
                    "speaker": "id10001",
                    "attributes": {"gender": "male", "nationality": "Ireland"},
                }
            ],
            "test": [
                {
                    "id": "id10270/5r0dWxy17C8/00002",
                    "speaker": "id10270",
                    "attributes": {"gender": "female", "nationality": "USA"},
                }
            ],
        },
    ),
    "accentdb": Miniature(
        audio=["data/american/speaker_01/american_s01_001.wav", "data/odiya/speaker_02/odiya_s02_033.wav"],
        expected={
            "all": [
                {
                    "id": "american_s01_001",
                    "language": "en",
                    "speaker": "american/speaker_01",
                    "attributes": {"accent": "American"},
                },
                {
                    "id": "odiya_s02_033",
                    "language": "en",
                    "speaker": "odiya/speaker_02",
                    "attributes": {"accent": "Odiya"},
                },
            ]
        },
    ),
    "dailytalk": Miniature(
        audio=["data/0/0_1_d0.wav", "data/0/1_0_d0.wav"],
        tables={
            "metadata.json": '{"0": {"0": {"index": 0, "text": "how are you?", "speaker": 1, "topic": "Work",'
            ' "emotion": "no emotion", "act": "question"}, "1": {"index": 1, "text": "great!", "speaker": 0,'
            ' "topic": "Work", "emotion": "happiness", "act": "inform"}}}'
        },
        expected={
            "all": [
                {
                    "id": "0_1_d0",
                    "text": "how are you?",
                    "language": "en",
                    "speaker": "1",
                    "attributes": {"gender": "female", "topic": "Work"},
                },
                {
                    "id": "1_0_d0",
                    "text": "great!",
                    "language": "en",
                    "speaker": "0",
                    "attributes": {"gender": "male", "topic": "Work", "emotion_of_words": "happiness"},
                },
            ]
        },
    ),
    "prompttts": Miniature(
        audio=["wavs/a.wav", "wavs/b.wav"],
        tables={
            "metadata.csv": "file_name,text,gender,pitch,speed,volume,emotion,style_prompt\n"
            "wavs/a.wav,Hello there.,F,low,slow,normal,cheerful,A lady speaks slowly\nwavs/b.wav,No.,M,high,fast,,,\n"
        },
        expected={
            "all": [
                {
                    "id": "a",
                    "text": "Hello there.",
                    "language": "en",
                    "attributes": {
                        "gender": "female",
                        "pitch": "low",
                        "speaking_rate": "slow",
                        "volume": "normal",
                        "emotion": "cheerful",
                        "caption": "A lady speaks slowly",
                    },
                },
                {
                    "id": "b",
                    "text": "No.",
                    "language": "en",
                    "attributes": {"gender": "male", "pitch": "high", "speaking_rate": "fast"},
                },
            ]
        },
    ),
}
