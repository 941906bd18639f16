"""Which language a text is in: the very answer of langdetect with seed 0, in a fraction of its time.

langdetect (https://github.com/Mimino666/langdetect) goes through a text letter by letter and draws n-grams until its
probabilities converge, seven times over; long replies to many language rules would spend minutes there. Here n-grams
are kept for each word, all languages are updated at once in the same order of operations, and trials end as soon as
those that are left cannot change the answer.
"""

from __future__ import annotations

import random
import re
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import numpy as np
from langdetect.detector import Detector
from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
from langdetect.utils.ngram import NGram

SEED = 0

LONGEST_KEPT = 40
"""Letters of the longest word of a text whose words' n-grams are kept; longer ones, such as a Chinese sentence, hardly
come again."""

_WORD = re.compile("[^ ]+ ?")
_LATIN = re.compile("[A-z]+")
_NOT_LATIN = re.compile("[\u0300-\U0010ffff]+")
"""From the combining marks on; langdetect means to leave out Latin Extended Additional (`ạ`), and does not."""


def detect(text: str) -> str | None:
    """A language as langdetect codes it, `unknown` included; None where the text has nothing to tell it by."""
    letters = _cleaned(_shortened(text)).translate(_LETTERS)
    return _language(re.sub(" +", " ", letters).lstrip(" "))


@lru_cache(maxsize=256)
def _language(letters: str) -> str | None:
    """The language of what is left of a text; variants of a reply often come down to the same."""
    drawn_from = _ngrams(letters)
    if not drawn_from:
        return None
    languages, trials = _profiles().langlist, _DEFAULTS.n_trial
    draw, found = random.Random(SEED), np.zeros(len(languages))
    for left in reversed(range(trials)):
        found += _trial(drawn_from, draw, len(languages)) / trials
        second, first = np.sort(found)[-2:]
        if first - second > left / trials + 1e-6:  # what is left adds up to no more than this
            break
    best = int(found.argmax())
    return str(languages[best]) if found[best] > Detector.PROB_THRESHOLD else Detector.UNKNOWN_LANG


def _trial(drawn_from: list[np.ndarray], draw: random.Random, languages: int) -> np.ndarray:
    """Probabilities of all languages once they have converged on n-grams drawn at random, (languages,)."""
    found = np.full(languages, 1.0 / languages)
    alpha = Detector.ALPHA_DEFAULT + draw.gauss(0.0, 1.0) * Detector.ALPHA_WIDTH
    weight = np.array(alpha / Detector.BASE_FREQ)  # an array: numpy adds it in half the time of a float
    choice, step = draw.choice, 0
    while True:
        found *= weight + choice(drawn_from)
        if step % 5 == 0:
            shares = found.tolist()
            total = sum(shares)  # in langdetect's order: numpy adds in another, which rounds otherwise
            found /= total
            if max(shares) / total > Detector.CONV_THRESHOLD or step >= Detector.ITERATION_LIMIT:
                return found
        step += 1


@cache
def _profiles() -> Any:
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    return factory


_DEFAULTS = Detector(DetectorFactory())


def _shortened(text: str) -> str:
    """Without addresses of pages and mails, and runs of spaces as one."""
    if "http" in text:
        text = Detector.URL_RE.sub(" ", text)
    if "@" in text:
        text = Detector.MAIL_RE.sub(" ", text)
    if not text.isascii():
        text = NGram.normalize_vi(text)
    return re.sub(" +", " ", text[: _DEFAULTS.max_text_length])


def _cleaned(text: str) -> str:
    """Without Latin letters, where most are others."""
    if text.isascii():
        return text
    latin, others = (sum(map(len, letters.findall(text))) for letters in (_LATIN, _NOT_LATIN))
    return _LATIN.sub("", text) if 2 * latin < others else text


class _Letters(dict[int, str]):
    """What langdetect takes each letter for, by code point; for a space whatever parts words."""

    def __missing__(self, point: int) -> str:
        return self.setdefault(point, NGram.normalize(chr(point)))


_LETTERS = _Letters()


def _ngrams(letters: str) -> list[np.ndarray]:
    """Of each n-gram of one to three letters that any language has, in order, its frequency in all of them."""
    words = _WORD.findall(letters)
    repeated = max(map(len, words), default=0) <= LONGEST_KEPT
    return list(chain.from_iterable(map(_of_word if repeated else _of_word.__wrapped__, words)))


class _Normalised(NGram):
    """N-grams of letters that went through `_LETTERS` before."""

    @classmethod
    def normalize(cls, ch: str) -> str:
        return ch


@lru_cache(maxsize=1 << 16)
def _of_word(word: str) -> tuple[np.ndarray, ...]:
    """A word's n-grams; with the space behind it, where there is one."""
    known, seen, found = _profiles().word_lang_prob_map, _Normalised(), []
    for letter in word:
        seen.add_char(letter)
        grams = [] if seen.capitalword else [seen.grams[-n:] for n in range(1, len(seen.grams) + 1)]
        found += [_frequencies(gram) for gram in grams if gram != " " and gram in known]
    return tuple(found)


@cache
def _frequencies(ngram: str) -> np.ndarray:
    return np.array(_profiles().word_lang_prob_map[ngram])
