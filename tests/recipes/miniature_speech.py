"""Miniatures of corpora of sentences, read or acted."""

from miniature import Miniature

SPEECH = {
    "crema_d": Miniature(
        audio=["AudioWAV/1001_IEO_ANG_HI.wav", "AudioWAV/1002_WSI_NEU_XX.wav"],
        tables={
            "VideoDemographics.csv": '"ActorID","Age","Sex","Race","Ethnicity"\n'
            '1001,51,"Male","Caucasian","Not Hispanic"\n1002,21,"Female","Caucasian","Not Hispanic"\n'
        },
        expected={
            "all": [
                {
                    "id": "1001_IEO_ANG_HI",
                    "text": "It's eleven o'clock.",
                    "language": "en",
                    "speaker": "1001",
                    "attributes": {"gender": "male", "age": 51, "emotion": "angry", "emotion_intensity": "high"},
                },
                {
                    "id": "1002_WSI_NEU_XX",
                    "text": "We'll stop in a couple of minutes.",
                    "language": "en",
                    "speaker": "1002",
                    "attributes": {"gender": "female", "age": 21, "emotion": "neutral"},
                },
            ]
        },
    ),
    "common_voice": Miniature(
        audio=["clips/common_voice_cy_1.mp3", "clips/common_voice_cy_2.mp3", "clips/common_voice_cy_3.mp3"],
        tables={
            "train.tsv": "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender"
            "\taccents\tvariant\tlocale\tsegment\n"
            'ab12\tcommon_voice_cy_2.mp3\tf00\t"Bore da," meddai.\t\t2\t0\tfourties\tfemale_feminine\tGwynedd\t\tcy\t\n'
            "cd34\tcommon_voice_cy_1.mp3\tf01\tNos da.\t\t2\t0\t\t\t\t\tcy\t\n",
            "test.tsv": "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
            "ef56\tcommon_voice_cy_3.mp3\tDiolch.\t2\t0\ttwenties\tmale\tDyfed\n",
            "validated.tsv": "client_id\tpath\tsentence\nxx\tnot_official.mp3\tNa.\n",
        },
        expected={
            "train": [
                {
                    "id": "common_voice_cy_2",
                    "text": '"Bore da," meddai.',
                    "language": "cy",
                    "speaker": "ab12",
                    "attributes": {"gender": "female", "age": "forties", "accent": "Gwynedd"},
                },
                {"id": "common_voice_cy_1", "text": "Nos da.", "language": "cy", "speaker": "cd34"},
            ],
            "test": [
                {
                    "id": "common_voice_cy_3",
                    "text": "Diolch.",
                    "language": "corpus",  # the old tables have no locale, so the folder's name stands for it
                    "speaker": "ef56",
                    "attributes": {"gender": "male", "age": "twenties", "accent": "Dyfed"},
                }
            ],
        },
    ),
    "free_spoken_digit": Miniature(
        audio=["recordings/7_jackson_5.wav", "recordings/0_jackson_4.wav", "recordings/1_lucas_12.wav"],
        tables={
            "metadata.py": '"""Speakers."""\n\nmetadata = {\n    "jackson": {\n'
            "    \t'gender': 'male',\n    \t'accent': 'USA/neutral',\n    },\n}\n"
        },
        expected={
            "test": [
                {
                    "id": "0_jackson_4",
                    "text": "zero",
                    "language": "en",
                    "speaker": "jackson",
                    "attributes": {"gender": "male", "accent": "USA/neutral"},
                }
            ],
            "train": [
                {"id": "1_lucas_12", "text": "one", "language": "en", "speaker": "lucas"},
                {
                    "id": "7_jackson_5",
                    "text": "seven",
                    "language": "en",
                    "speaker": "jackson",
                    "attributes": {"gender": "male", "accent": "USA/neutral"},
                },
            ],
        },
    ),
    "librispeech": Miniature(
        audio=["dev-clean/84/121123/84-121123-0000.flac", "train-other-500/20/205/20-205-0003.flac"],
        tables={
            "SPEAKERS.TXT": ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
            "84   | F | dev-clean        | 8.02  | Christie Nowak\n20   | M | train-other-500  | 30.07 | A | B\n",
            "dev-clean/84/121123/84-121123.trans.txt": "84-121123-0000 GO DO YOU HEAR\n",
            "train-other-500/20/205/20-205.trans.txt": "20-205-0003 IT'S LATE\n",
        },
        expected={
            "dev-clean": [
                {
                    "id": "84-121123-0000",
                    "text": "GO DO YOU HEAR",
                    "language": "en",
                    "speaker": "84",
                    "attributes": {"gender": "female"},
                }
            ],
            "train-other-500": [
                {
                    "id": "20-205-0003",
                    "text": "IT'S LATE",
                    "language": "en",
                    "speaker": "20",
                    "attributes": {"gender": "male"},
                }
            ],
        },
    ),
    "ravdess": Miniature(
        audio=[
            "Audio_Speech_Actors_01-24/Actor_12/03-01-06-02-02-01-12.wav",
            "Audio_Song_Actors_01-24/Actor_01/03-02-01-01-01-02-01.wav",
            "Audio_Speech_Actors_01-24/Audio_Speech_Actors_01-24/Actor_12/03-01-06-02-02-01-12.wav",
        ],
        expected={
            "all": [
                {
                    "id": "03-01-06-02-02-01-12",
                    "text": "Dogs are sitting by the door.",
                    "language": "en",
                    "speaker": "12",
                    "attributes": {
                        "gender": "female",
                        "accent": "North American",
                        "emotion": "fearful",
                        "emotion_intensity": "strong",
                        "vocal_channel": "speech",
                    },
                },
                {
                    "id": "03-02-01-01-01-02-01",
                    "text": "Kids are talking by the door.",
                    "language": "en",
                    "speaker": "01",
                    "attributes": {
                        "gender": "male",
                        "accent": "North American",
                        "emotion": "neutral",
                        "emotion_intensity": "normal",
                        "vocal_channel": "song",
                    },
                },
            ]
        },
    ),
    "vctk": Miniature(
        audio=[
            f"wav48_silence_trimmed/{name}.flac"
            for name in ("p225/p225_001_mic1", "p225/p225_001_mic2", "p292/p292_002_mic1", "s5/s5_003_mic1")
        ],
        tables={
            "speaker-info.txt": "ID  AGE  GENDER  ACCENTS  REGION COMMENTS \n"
            "p225  23  F    English    Surrey\np292  23  M    NorthernIrish  Belfast\ns5    --  F    British\n",
            "txt/p225/p225_001.txt": "Please call Stella.\n",
            "txt/p292/p292_002.txt": "Ask her. \n",
        },
        expected={
            "all": [
                {
                    "id": "p225_001",
                    "text": "Please call Stella.",
                    "language": "en",
                    "speaker": "p225",
                    "attributes": {"gender": "female", "age": 23, "accent": "English"},
                },
                {
                    "id": "p292_002",
                    "text": "Ask her.",
                    "language": "en",
                    "speaker": "p292",
                    "attributes": {"gender": "male", "age": 23, "accent": "Northern Irish"},
                },
                {
                    "id": "s5_003",
                    "language": "en",
                    "speaker": "s5",
                    "attributes": {"gender": "female", "accent": "British"},
                },
            ]
        },
    ),
}
