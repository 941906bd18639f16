"""Everything that is measured of a clip, under the names of the attributes that hold it."""

from __future__ import annotations

from speechllm.audio.measure.levels import Signal, active_frames, bandwidth, frame_power, loudness, volume
from speechllm.audio.measure.noise import signal_to_noise
from speechllm.audio.measure.pitch import median_pitch, voiced_pitch
from speechllm.audio.measure.reverberation import reverberation_time
from speechllm.audio.measure.spectrum import power_spectrum
from speechllm.audio.measure.tempo import count_nuclei, count_syllables, per_second

DECIMALS = {
    "pitch_hz": 1,
    "syllables_per_second": 2,
    "nuclei_per_second": 2,
    "volume_dbfs": 1,
    "loudness_lufs": 1,
    "snr_db": 1,
    "rt60_s": 2,
    "silence_share": 3,
    "bandwidth_hz": 0,
}
"""The attributes that hold measured numbers, and to how many decimals: what the measures are good for, and no more."""


def measure_clip(signal: Signal, text: str | None = None, language: str | None = None) -> dict[str, float]:
    """All measures of a clip by the names in `DECIMALS`; those that could not be taken are left out.

    Args:
        signal: mono samples (samples,) at 16 kHz, full scale at +-1; from `load_audio`.
        text: the words spoken, for `syllables_per_second`.
        language: of the text, as `en`.
    """
    power, spectrum = frame_power(signal), power_spectrum(signal)
    active = active_frames(power)
    found = {
        "pitch_hz": median_pitch(*voiced_pitch(signal, active)),
        "syllables_per_second": per_second(count_syllables(text or "", language), active),
        "nuclei_per_second": per_second(count_nuclei(spectrum, active), active),
        "volume_dbfs": volume(power, active),
        "loudness_lufs": loudness(signal),
        "snr_db": signal_to_noise(spectrum, active),
        "rt60_s": reverberation_time(spectrum),
        "silence_share": 1.0 - float(active.mean()),
        "bandwidth_hz": bandwidth(spectrum, active),
    }
    return {name: round(value, DECIMALS[name]) for name, value in found.items() if value is not None}
