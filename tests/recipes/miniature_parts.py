"""Miniatures of corpora whose recordings are taken in parts."""

from miniature import Miniature

PARTS = {
    "expresso": Miniature(
        seconds=4.0,
        audio=[
            "audio_48khz/read/ex03/happy/base/ex03_happy_00001.wav",
            "audio_48khz/read/ex04/default/longform/ex04_default_longform_00001.wav",
            "audio_48khz/conversational/ex01-ex02/animal-animaldir/ex01-ex02_animal-animaldir_001.wav",
            "audio_48khz/conversational/ex01-ex02/sad/ex01-ex02_sad_002.wav",
        ],
        tables={
            "splits/README": "Not a list.",
            "splits/train.txt": "# comment\nex03_happy_00001\nex04_default_longform_00001\t(,2.5s)\n"
            "ex01-ex02_animal-animaldir_001\t(,3.0s)\n",
            "splits/dev.txt": "ex04_default_longform_00001\t(2.5s,)\n",
            "splits/test.txt": "ex01-ex02_sad_002\n",
            "read_transcriptions.txt": "ex03_happy_00001\tWe did *not* know.\n"
            "ex04_default_longform_00001\tA long story.\n",
            "VAD_segments.txt": "ex04_default_longform_00001\t(0.0, 4.0)\n"
            # of the second speaker the first stretch overlaps, the second is alone and goes on past the split's end
            "ex01-ex02_animal-animaldir_001/channel1\t(0.1, 0.3) (0.5, 1.25)\n"
            "ex01-ex02_animal-animaldir_001/channel2\t(1.0, 1.75) (2.0, 4.0)\n"
            "ex01-ex02_sad_002/channel1\t(1.0, 2.0)\n",
        },
        expected={
            "train": [
                {
                    "id": "ex03_happy_00001",
                    "text": "We did not know.",
                    "language": "en",
                    "speaker": "ex03",
                    "attributes": {"gender": "male", "emotion": "happy"},
                },
                {
                    "id": "ex04_default_longform_00001_0.00",
                    "language": "en",
                    "speaker": "ex04",
                    "attributes": {"gender": "female"},
                    "end": 2.5,
                },
                {
                    "id": "ex01-ex02_animal-animaldir_001_ex02_2.00",
                    "language": "en",
                    "speaker": "ex02",
                    "attributes": {"gender": "female", "speaking_style": "speaking to an animal"},
                    "start": 2.0,
                    "end": 3.0,
                },
            ],
            "dev": [
                {
                    "id": "ex04_default_longform_00001_2.50",
                    "language": "en",
                    "speaker": "ex04",
                    "attributes": {"gender": "female"},
                    "start": 2.5,
                }
            ],
            "test": [
                {
                    "id": "ex01-ex02_sad_002_ex01_1.00",
                    "language": "en",
                    "speaker": "ex01",
                    "attributes": {"gender": "male", "emotion": "sad"},
                    "start": 1.0,
                    "end": 2.0,
                }
            ],
        },
    ),
}
