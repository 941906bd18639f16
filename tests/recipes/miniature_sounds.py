"""Miniatures of corpora of words, prompts and sounds."""

from miniature import Miniature

SOUNDS = {
    "asterisk": Miniature(
        audio=[
            f"usr/share/asterisk/sounds/fr_CA_f_June/{name}.wav" for name in ("digits/0", "vm-and", "beep", "silence/1")
        ],
        tables={
            "usr/share/doc/asterisk-core-sounds-fr/core-sounds-fr.txt.gz": "; Core Asterisk Sounds in French\n\n"
            "digits/0: zéro\nvm-and: et: puis\nbeep:\n"
        },
        expected={
            "all": [
                {
                    "id": f"fr_CA_f_June/{prompt}",
                    **text,
                    "language": "fr",
                    "speaker": "June",
                    "attributes": {"gender": "female", "accent": "fr-CA"},
                }
                for prompt, text in [("beep", {}), ("digits/0", {"text": "zéro"}), ("vm-and", {"text": "et: puis"})]
            ]
        },
    ),
    "esc50": Miniature(
        audio=["audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav"],
        tables={
            "meta/esc50.csv": "filename,fold,target,category,esc10,src_file,take\n"
            "1-100032-A-0.wav,1,0,dog,True,100032,A\n5-9032-A-0.wav,5,35,washing_machine,False,9032,A\n"
        },
        expected={
            "fold1": [{"id": "1-100032-A-0", "attributes": {"sound": "dog"}}],
            "fold5": [{"id": "5-9032-A-0", "attributes": {"sound": "washing machine"}}],
        },
    ),
    "musan": Miniature(
        audio=[
            "music/fma/music-fma-0000.wav",
            "noise/free-sound/noise-free-sound-0000.wav",
            "speech/librivox/speech-librivox-0000.wav",
            "speech/us-gov/speech-us-gov-0000.wav",
        ],
        tables={
            "music/fma/ANNOTATIONS": "music-fma-0000 folk,jazz N Somebody\n",
            "speech/librivox/ANNOTATIONS": "speech-librivox-0000 f japanese\n",
        },
        expected={
            "music": [
                {
                    "id": "music-fma-0000",
                    "attributes": {"sound": "music", "genre": "folk, jazz", "vocals": "no"},
                }
            ],
            "noise": [{"id": "noise-free-sound-0000", "attributes": {"sound": "noise"}}],
            "speech": [
                {"id": "speech-librivox-0000", "attributes": {"sound": "speech", "gender": "female"}},
                {"id": "speech-us-gov-0000", "attributes": {"sound": "speech"}},
            ],
        },
    ),
    "speech_commands": Miniature(
        audio=[
            "yes/0a7c2a8d_nohash_0.wav",
            "no/0a7c2a8d_nohash_0.wav",
            "no/012c8314_nohash_1.wav",
            "_background_noise_/pink_noise.wav",
        ],
        tables={"validation_list.txt": "no/012c8314_nohash_1.wav\n", "testing_list.txt": "yes/0a7c2a8d_nohash_0.wav\n"},
        expected={
            "dev": [{"id": "no/012c8314_nohash_1", "text": "no", "language": "en", "speaker": "012c8314"}],
            "test": [{"id": "yes/0a7c2a8d_nohash_0", "text": "yes", "language": "en", "speaker": "0a7c2a8d"}],
            "train": [{"id": "no/0a7c2a8d_nohash_0", "text": "no", "language": "en", "speaker": "0a7c2a8d"}],
        },
    ),
    "vocalsound": Miniature(
        audio=[
            f"audio_16k/{name}.wav"
            for name in ("f0003_0_throatclearing", "m0004_1_cough", "f0005_0_sniff", "m0006_0_sigh")
        ],
        tables={
            "datafiles/tr.json": '{"data": [{"wav": "/data/audio_16k/f0003_0_throatclearing.wav", "labels": "/m/x"}]}',
            "datafiles/val.json": '{"data": [{"wav": "m0004_1_cough.wav", "labels": "/m/y"}]}',
            "datafiles/te.json": '{"data": [{"wav": "f0005_0_sniff.wav", "labels": "/m/z"}]}',
            "meta/all_meta.json": '[["f0003", "female", 25, "USA", "English", "no"],'
            ' ["m0004", "male", "61", "India", "Tamil", "cold"]]',
        },
        expected={
            "train": [
                {
                    "id": "f0003_0_throatclearing",
                    "speaker": "f0003",
                    "attributes": {
                        "sound": "throat clearing",
                        "gender": "female",
                        "age": 25,
                        "country": "USA",
                        "native_language": "English",
                    },
                }
            ],
            "val": [
                {
                    "id": "m0004_1_cough",
                    "speaker": "m0004",
                    "attributes": {
                        "sound": "cough",
                        "gender": "male",
                        "age": 61,
                        "country": "India",
                        "native_language": "Tamil",
                    },
                }
            ],
            "test": [{"id": "f0005_0_sniff", "speaker": "f0005", "attributes": {"sound": "sniff", "gender": "female"}}],
            "unlisted": [{"id": "m0006_0_sigh", "speaker": "m0006", "attributes": {"sound": "sigh", "gender": "male"}}],
        },
    ),
    "audiocaps": Miniature(
        audio=["train/r1nicOVtvkQ_130.wav", "test/-0_x_30.flac", "val/97151.wav"],
        tables={
            "train.csv": "audiocap_id,youtube_id,start_time,caption\n91139,r1nicOVtvkQ,130,A woman talks\n"
            "58146,UDGBjjwyaqE,20,Multiple clanging sounds\n",
            "val.csv": "audiocap_id,youtube_id,start_time,caption\n97151,vfY_TJq7n_U,130,Rain falls\n",
            "test.csv": "audiocap_id,youtube_id,start_time,caption\n"
            '1,-0_x,30,"Wind, then rain"\n2,-0_x,30,Rain\n3,-0_x,30,A storm\n',
        },
        expected={
            "train": [{"id": "train/r1nicOVtvkQ_130", "attributes": {"caption": "A woman talks"}}],
            "val": [{"id": "val/97151", "attributes": {"caption": "Rain falls"}}],
            "test": [
                {
                    "id": "test/-0_x_30",
                    "attributes": {"caption": "Wind, then rain", "caption_2": "Rain", "caption_3": "A storm"},
                }
            ],
        },
    ),
}
