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
    "l2_arctic": Miniature(
        audio=["ABA/wav/arctic_a0001.wav", "SKA/wav/arctic_b0126.wav", "suitcase_corpus/wav/aba.wav"],
        tables={
            "ABA/transcript/arctic_a0001.txt": "Author of the danger trail",
            "SKA/transcript/arctic_b0126.txt": "They were grave.\n",
        },
        expected={
            "all": [
                {
                    "id": "ABA/arctic_a0001",
                    "text": "Author of the danger trail",
                    "language": "en",
                    "speaker": "ABA",
                    "attributes": {"gender": "male", "accent": "Arabic"},
                },
                {
                    "id": "SKA/arctic_b0126",
                    "text": "They were grave.",
                    "language": "en",
                    "speaker": "SKA",
                    "attributes": {"gender": "female", "accent": "Arabic"},
                },
            ]
        },
    ),
    "aishell1": Miniature(
        audio=[
            f"data_aishell/wav/{name}.wav"
            for name in (
                "train/S0002/BAC009S0002W0122",
                "train/S0002/BAC009S0002W0999",
                "dev/S0724/BAC009S0724W0121",
                "test/S0764/BAC009S0764W0121",
            )
        ],
        tables={
            "data_aishell/transcript/aishell_transcript_v0.8.txt": "BAC009S0002W0122 也 成为 眼中 钉\n"
            "BAC009S0724W0121 广州 市\nBAC009S0764W0121 甚至 出现\n",
            "resource_aishell/speaker.info": "0002 F\n0724 M\n",
        },
        expected={
            "train": [
                {
                    "id": "BAC009S0002W0122",
                    "text": "也成为眼中钉",
                    "language": "zh",
                    "speaker": "S0002",
                    "attributes": {"gender": "female"},
                }
            ],
            "dev": [
                {
                    "id": "BAC009S0724W0121",
                    "text": "广州市",
                    "language": "zh",
                    "speaker": "S0724",
                    "attributes": {"gender": "male"},
                }
            ],
            "test": [{"id": "BAC009S0764W0121", "text": "甚至出现", "language": "zh", "speaker": "S0764"}],
        },
    ),
    "fleurs": Miniature(
        audio=["audio/train/10004.wav", "audio/dev/20005.wav"],
        tables={
            "train.tsv": "6\t10004.wav\tDit is nog nie bekend nie.\tdit is nog nie bekend nie\td i t |\t8000\tFEMALE\n",
            "dev.tsv": "7\t20005.wav\tDie hof.\tdie hof\td i e |\t8000\tOTHER\n",
        },
        expected={
            "train": [
                {
                    "id": "10004",
                    "text": "Dit is nog nie bekend nie.",
                    "language": "corpus",  # the folder's name, up to the first underscore
                    "attributes": {"gender": "female"},
                }
            ],
            "dev": [{"id": "20005", "text": "Die hof.", "language": "corpus"}],
        },
    ),
}
