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
}
