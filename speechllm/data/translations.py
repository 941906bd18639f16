"""The words of descriptions in other languages than English: attribute names, their values, and what stands between.

English is the vocabulary of `speechllm.data.attributes` as it is. A value or a name that has no translation here (an
accent, a home town, a number) is written as the manifest has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from speechllm.data.attributes import display_name, unit

DescriptionLanguage = Literal["en", "zh"]
LANGUAGES: tuple[DescriptionLanguage, ...] = get_args(DescriptionLanguage)


@dataclass(frozen=True)
class Wording:
    """How one language words a description; the templates are for `str.format`."""

    fact: str
    """Of `{name}` and `{value}`, in sentences."""
    lists: tuple[str, str]
    """Between the facts of a sentence, and before the last."""
    stop: str
    says: str
    """Of `{text}` and `{speaker}`."""
    someone: str
    """The speaker whom the manifest does not name."""
    between: str
    """Between sentences."""
    span: str
    """Of `{start}` and `{end}`, time stamps: opens the sentences about one segment."""
    markup: dict[str, str]
    """The tags that are not attributes."""
    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def name(self, attribute: str) -> str:
        """What a description calls an attribute."""
        return self.names.get(attribute) or display_name(attribute)

    def value(self, attribute: str, value: str | int | float) -> str:
        """How a description writes a value, with its unit; the lookup does not mind capitals."""
        word = self.values.get(str(value).lower(), str(value))
        return word if isinstance(value, str) else f"{word} {unit(attribute)}".rstrip()


_MANDARIN_NAMES = {
    "gender": "性别",
    "age": "年龄",
    "language": "语言",
    "accent": "口音",
    "emotion": "情绪",
    "pitch": "音高",
    "volume": "音量",
    "speaking_rate": "语速",
    "snr_db": "信噪比",
    "c50_ms": "混响",
    "reverberation": "混响",
    "noise": "噪声",
    "silence": "静音",
    "bandwidth": "带宽",
    "duration": "时长",
    "sound": "声音",
}

_MANDARIN_VALUES = {
    **{"female": "女", "male": "男", "child": "儿童", "teenager": "青少年", "adult": "成年人", "senior": "老年人"},
    **{"very low": "很低", "low": "低", "moderate": "中等", "medium": "中等", "normal": "正常"},
    **{"high": "高", "very high": "很高", "very slow": "很慢", "slow": "慢", "fast": "快", "very fast": "很快"},
    **{"neutral": "中性", "calm": "平静", "happy": "高兴", "sad": "悲伤", "angry": "愤怒", "fearful": "恐惧"},
    **{"disgusted": "厌恶", "surprised": "惊讶"},
    **{
        "chinese": "中文",
        "dutch": "荷兰语",
        "english": "英语",
        "french": "法语",
        "german": "德语",
        "italian": "意大利语",
    },
    **{"japanese": "日语", "korean": "韩语", "polish": "波兰语", "portuguese": "葡萄牙语", "russian": "俄语"},
    **{"spanish": "西班牙语", "yes": "是", "no": "否"},
}

WORDINGS: dict[DescriptionLanguage, Wording] = {
    "en": Wording(
        fact="the {name} of {speaker} is {value}",
        lists=(", ", " and "),
        stop=".",
        says='{speaker} says: "{text}"',
        someone="the speaker",
        between=" ",
        span="From {start} to {end}:",
        markup={},
    ),
    "zh": Wording(
        fact="{speaker}的{name}是{value}",
        lists=("，", "，"),
        stop="。",
        says="{speaker}说：“{text}”",
        someone="说话人",
        between="",
        span="从 {start} 到 {end}：",
        markup={"text": "文本", "speaker": "说话人", "segment": "片段", "time": "时间"},
        names=_MANDARIN_NAMES,
        values=_MANDARIN_VALUES,
    ),
}
