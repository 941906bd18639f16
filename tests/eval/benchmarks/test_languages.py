"""The language of a text is what langdetect says, letter for letter, only sooner."""

import random

import langdetect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langdetect import DetectorFactory

from speechllm.eval.benchmarks.checkers import load_checkers, variants, with_check
from speechllm.eval.benchmarks.languages import LONGEST_KEPT, detect

SENTENCES = (
    "The rain falls on quiet evenings; people gather and talk about what the day has brought.",
    "IT RAINS ON QUIET EVENINGS, AND NOBODY THINKS OF TOMORROW BECAUSE WORK BEGINS EARLY.",
    "An ruhigen Abenden fällt der Regen, und niemand denkt an morgen, weil die Arbeit früh beginnt.",
    "La lluvia cae en las noches tranquilas y nadie piensa en mañana.",
    "A chuva cai nas noites calmas e ninguém pensa no amanhã.",
    "Det regner på stille kvelder, og ingen tenker på i morgen.",
    "Дождь идёт тихими вечерами, и никто не думает о завтрашнем дне.",
    "Дощ іде тихими вечорами, і ніхто не думає про завтра.",
    "बारिश शांत शामों में होती है और कोई कल के बारे में नहीं सोचता।",
    "يهطل المطر في الأمسيات الهادئة ولا يفكر أحد في الغد.",
    "باران در شب های آرام می بارد و هیچ کس به فردا فکر نمی کند.",
    "雨が静かな夕方に降り、誰も明日のことを考えません。",
    "安静的傍晚下着雨，没有人想到明天，因为工作很早就开始了。",
    "조용한 저녁에 비가 내리고 아무도 내일을 생각하지 않는다.",
    "Mưa rơi vào những buổi tối yên tĩnh và không ai nghĩ đến ngày mai.",
    "Ploaia cade în serile liniștite și nimeni nu se gândește la ziua de mâine.",
    "* **Bold** words, half**bold** ones, https://example.org/a?b=1 and some.one@example.org",
    "12345 !? ...",
)


@pytest.fixture(autouse=True, scope="module")
def seeded():
    before = DetectorFactory.seed
    DetectorFactory.seed = 0
    yield
    DetectorFactory.seed = before


def by_langdetect(text):
    try:
        return langdetect.detect(text)
    except langdetect.LangDetectException:
        return None


def mixed(rng):
    """A reply of several lines in one to three languages."""
    spoken = rng.sample(SENTENCES, rng.randint(1, 3))
    lines = [
        " ".join(rng.choices(rng.choice(spoken).split(" "), k=rng.randint(1, 30))) for _ in range(rng.randint(1, 4))
    ]
    text = rng.choice(("\n", "\n\n", "   ")).join(lines)
    return rng.choice((str, str.upper, str.lower, str.title))(text)


def test_the_language_is_what_langdetect_says():
    rng = random.Random(0)
    texts = ["", " ", *SENTENCES, *(mixed(rng) for _ in range(250))]
    found = {text: detect(text) for text in texts}
    assert found == {text: by_langdetect(text) for text in texts}
    assert len(set(found.values())) > 12


@pytest.mark.parametrize(
    "text", ["word " * 3000, "x" * 12_000, "安静" * 800, "a" * (LONGEST_KEPT + 1), " \n" * 6000 + "so"]
)
def test_long_texts_and_long_words(text):
    assert detect(text) == by_langdetect(text)


@pytest.mark.parametrize("text", ["ạ ở a ụ ẹ", "नâạ́ô eि्e", "аo b̀ồ́ạ̀", "a eララấ어ồơ"])
def test_vietnamese_letters_count_as_other_than_latin(text):
    assert detect(text) == by_langdetect(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text(text):
    assert detect(text) == by_langdetect(text)


def test_verdicts_are_googles():
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT as GOOGLE

    rng, ours = random.Random(1), load_checkers()
    replies = [text for text in (mixed(rng) for _ in range(40)) for text in variants(text) if text.strip()]
    for name, arguments in {
        "language:response_language": {"language": "de"},
        "change_case:english_capital": {},
        "change_case:english_lowercase": {},
    }.items():
        mine, theirs = (kinds[name](name) for kinds in (ours, GOOGLE))
        for checker in (mine, theirs):
            checker.build_description(**arguments)
        found = [mine.check_following(text) for text in replies]
        assert found == [theirs.check_following(text) for text in replies]
    assert {name for name in ours if ours[name] is not GOOGLE[name]} == {
        "language:response_language", "change_case:english_capital", "change_case:english_lowercase",
    }  # fmt: skip


def test_a_checker_with_another_check_hands_on_its_arguments():
    check = with_check(
        load_checkers()["language:response_language"], lambda arguments, text: arguments["language"] in text
    )
    asked = check("language:response_language")
    asked.build_description(language="de")
    assert (asked.check_following("de"), asked.check_following("en")) == (True, False)
