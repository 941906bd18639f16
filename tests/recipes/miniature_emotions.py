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
    "emov_db": Miniature(
        audio=[
            "bea/Amused/amused_1-15_0001.wav",
            "josh_Sleepy/sleepiness_1-28_0002.wav",
            "sam/Anger/Anger_1-28_0003.wav",
        ],
        tables={
            "cmuarctic.data": '( arctic_a0001 "Author of the "danger" trail, etc." )\n( arctic_a0002 "Not at all." )\n'
            '( arctic_b0003 "Of the other list." )\n'
        },
        expected={
            "all": [
                {
                    "id": "bea/amused_1-15_0001",
                    "text": 'Author of the "danger" trail, etc.',
                    "language": "en",
                    "speaker": "bea",
                    "attributes": {"gender": "female", "emotion": "amused"},
                },
                {
                    "id": "josh/sleepiness_1-28_0002",
                    "text": "Not at all.",
                    "language": "en",
                    "speaker": "josh",
                    "attributes": {"gender": "male", "emotion": "sleepy"},
                },
                {
                    "id": "sam/Anger_1-28_0003",
                    "language": "en",
                    "speaker": "sam",
                    "attributes": {"gender": "male", "emotion": "angry"},
                },
            ]
        },
    ),
    "iemocap": Miniature(
        audio=[
            "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
            "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav",
            "Session2/sentences/wav/Ses02M_script01_1b/Ses02M_script01_1b_FXX1.wav",
        ],
        tables={
            "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": "% [START_TIME - END_TIME] TURN_NAME EMOTION [V]\n\n"
            "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n"
            "[7.5712 - 10.4750]\tSes01F_impro01_M000\txxx\t[2.5000, 2.5000, 2.5000]\n",
            "Session1/dialog/transcriptions/Ses01F_impro01.txt": "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
            "M: (breathing)\nSes01F_impro01_M000 [007.5712-010.4750]: Do you have your forms?\n",
            "Session2/dialog/EmoEvaluation/Ses02M_script01_1b.txt": "[1.0000 - 2.5000]\tSes02M_script01_1b_FXX1\texc\t"
            "[4.0000, 4.0000, 3.0000]\n",
        },
        expected={
            "session1": [
                {
                    "id": "Ses01F_impro01_F000",
                    "text": "Excuse me.",
                    "language": "en",
                    "speaker": "Ses01F",
                    "attributes": {"gender": "female", "emotion": "neutral", "speaking_style": "improvised"},
                },
                {
                    "id": "Ses01F_impro01_M000",
                    "text": "Do you have your forms?",
                    "language": "en",
                    "speaker": "Ses01M",
                    "attributes": {"gender": "male", "speaking_style": "improvised"},
                },
            ],
            "session2": [
                {
                    "id": "Ses02M_script01_1b_FXX1",
                    "language": "en",
                    "speaker": "Ses02F",
                    "attributes": {"gender": "female", "emotion": "excited", "speaking_style": "scripted"},
                }
            ],
        },
    ),
    "meld": Miniature(
        audio=[
            "train_splits/dia0_utt0.wav",
            "dev_splits_complete/dia0_utt0.wav",
            "output_repeated_splits_test/dia7_utt3.wav",
        ],
        tables={
            "train_sent_emo.csv": "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
            "StartTime,EndTime\n"
            '1,"Oh my God, he\x92s lost it\x85",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"\n'
            '2,What?,Monica,surprise,negative,0,1,4,7,"00:21:01,927","00:21:03,261"\n',
            "dev_sent_emo.csv": "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
            "1,Hi!,Mark,joy,positive,0,0\n",
            "test_sent_emo.csv": "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
            "1,No.,Joey,neutral,neutral,7,3\n",
        },
        expected={
            "train": [
                {
                    "id": "train/dia0_utt0",
                    "text": "Oh my God, he's lost it...",
                    "language": "en",
                    "speaker": "Phoebe",
                    "attributes": {"gender": "female", "emotion": "sad"},
                }
            ],
            "dev": [
                {
                    "id": "dev/dia0_utt0",
                    "text": "Hi!",
                    "language": "en",
                    "speaker": "Mark",
                    "attributes": {"emotion": "happy"},
                }
            ],
            "test": [
                {
                    "id": "test/dia7_utt3",
                    "text": "No.",
                    "language": "en",
                    "speaker": "Joey",
                    "attributes": {"gender": "male", "emotion": "neutral"},
                }
            ],
        },
    ),
    "msp_podcast": Miniature(
        audio=["Audios/MSP-PODCAST_0001_0008.wav", "Audios/MSP-PODCAST_0002_0001.wav"],
        tables={
            "Labels/labels_consensus.csv": "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
            "MSP-PODCAST_0001_0008.wav,C,2.2,4.0,2.6,30,Male,Test1\n"
            "MSP-PODCAST_0002_0001.wav,X,4.0,4.0,4.0,Unknown,Unknown,Development\n",
            "Transcripts/MSP-PODCAST_0001_0008.txt": b"It\x92s fine.\n",
        },
        expected={
            "test1": [
                {
                    "id": "MSP-PODCAST_0001_0008",
                    "text": "It\u2019s fine.",
                    "language": "en",
                    "speaker": "30",
                    "attributes": {"gender": "male", "emotion": "contemptuous"},
                }
            ],
            "development": [{"id": "MSP-PODCAST_0002_0001", "language": "en"}],
        },
    ),
}
