"""The text that the stand-in of a language model answers with: a pure function of prompt, seed and settings.

A token here is a word, a number or a punctuation mark, with the white space before it. Joined, the tokens of a text are
that text. They are not the tokens of any real model: counts of them (`num_input_tokens`, `max_tokens`) are the
emulator's own, and the documentation says so.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import shake_128
from itertools import islice
from typing import NamedTuple

#: One token: optional white space, then a run of word characters or one other character.
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")

#: The words of invented sentences: eight to choose from at each place. The last place is a full stop or a conjunction.
SENTENCE = (
    "the a each this every one that another",
    "small large new simple clear quick long plain",
    "model server token request prompt tensor batch answer",
    "sends holds reads makes follows keeps finds shows",
    "the a each this every one that another",
    "word text question shape number stream name line",
    ". . . . . and but while",
)
_PLACES = tuple(tuple(word if word == "." else " " + word for word in place.split()) for place in SENTENCE)
#: Adjectives, nouns and verbs of the sentences, for outputs that need single words.
WORDS = tuple(word for place in SENTENCE[1:4] for word in place.split())

#: The most tokens of one answer, whatever a request asks for: the event loop generates them in about a millisecond.
MAX_TOKENS = 4096

#: Only this many characters of a text are counted: counting more would delay every other request.
COUNTED = 1 << 20


def tokens(text: str) -> list[str]:
    """Split a text into tokens; joined, they are the text again."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """The number of tokens in the first COUNTED characters of a text."""
    return sum(1 for _ in _TOKEN.finditer(text, 0, COUNTED))


@dataclass(frozen=True, slots=True)
class Source:
    """Where answers come from, in this order: the first of `replies` whose pattern is found in the prompt; one of
    `reply`, chosen by prompt and seed; the prompt itself, if `echo` is set; invented words.

    `length` is the least and the most tokens of an invented answer. A request's own limits are applied after it.
    """

    seed: int = 0
    echo: bool = False
    reply: Sequence[str] = ()
    replies: Mapping[re.Pattern[str], str] = field(default_factory=dict)
    length: tuple[int, int] = (12, 48)


DEFAULT_SOURCE = Source()


class Limits(NamedTuple):
    """The limits that a request sets to one answer. `max_tokens` None means no limit; a negative number means 0."""

    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = ()


class Answer(NamedTuple):
    """A finished answer: its tokens, "stop" or "length", and the stop word that ended it, if any."""

    tokens: list[str]
    finish_reason: str
    stop_reason: str | None = None


NO_LIMITS = Limits()


def answer(
    source: Source,
    prompt: str,
    limits: Limits = NO_LIMITS,
    *,
    seed: int = 0,
    index: int = 0,
    vocabulary: Sequence[str] = (),
) -> Answer:
    """The answer to a prompt. `seed` is the request's own; `index` distinguishes several answers to one prompt.

    Invented tokens are drawn from `vocabulary` if there is one; else they are words that make sentences.
    """

    def digest(size: int) -> bytes:
        key = f"{source.seed}/{seed}/{index}/".encode() + prompt.encode("utf-8", "surrogateescape")
        return shake_128(key).digest(size)

    limit = MAX_TOKENS if limits.max_tokens is None else max(0, min(limits.max_tokens, MAX_TOKENS))
    fixed = _fixed(source, prompt, digest)
    if fixed is None:
        made = _invented(source.length, limits, limit, digest, vocabulary)
    else:
        made = list(islice(_cut(fixed) if len(fixed) < 4096 else _tokens(fixed), limit + 1))
    cut_short = len(made) > limit or limits.ignore_eos
    del made[limit:]
    if limits.bad_words:
        made = [token for token in made if token.strip() not in limits.bad_words]
    if limits.stop:
        kept = _before(made, limits.stop)
        if kept is not None:
            return Answer(kept[0], "stop", kept[1])
    return Answer(made, "length" if cut_short else "stop")


def _tokens(text: str) -> Iterator[str]:
    return (match[0] for match in _TOKEN.finditer(text))


@lru_cache(maxsize=256)
def _cut(text: str) -> tuple[str, ...]:
    """The tokens of a text that is answered repeatedly."""
    return tuple(_tokens(text))


def _fixed(source: Source, prompt: str, digest: Callable[[int], bytes]) -> str | None:
    """The answer that the settings give for a prompt, or None if it must be invented."""
    for pattern, reply in source.replies.items():
        if pattern.search(prompt):
            return reply
    if len(source.reply) == 1:
        return source.reply[0]
    if source.reply:
        return source.reply[int.from_bytes(digest(2), "big") % len(source.reply)]
    return prompt if source.echo else None


def _invented(
    length: tuple[int, int],
    limits: Limits,
    limit: int,
    digest: Callable[[int], bytes],
    vocabulary: Sequence[str],
) -> list[str]:
    """Invented tokens, one more than `limit` if the answer would be longer."""
    low, high = length
    most = limit if limits.ignore_eos else min(max(high, limits.min_tokens), limit + 1)
    drawn = digest(2 + most)
    natural = low + int.from_bytes(drawn[:2], "big") % (high - low + 1)
    wanted = limit if limits.ignore_eos else min(max(natural, limits.min_tokens), limit + 1)
    if vocabulary:
        return [vocabulary[byte % len(vocabulary)] for byte in drawn[2 : 2 + wanted]]
    made: list[str] = []
    opening = True
    for place, byte in enumerate(drawn[2 : 2 + wanted]):
        token = _PLACES[place % 7][byte & 7]
        made.append(token.title() if opening else token)
        opening = token == "."  # noqa: S105 - a token of text
    if made:
        made[0] = made[0].lstrip()
        if wanted <= limit and not limits.ignore_eos and len(made) > 1 and "." not in made[-2:]:
            made[-1] = "."
    return made


def _before(made: list[str], stop: tuple[str, ...]) -> tuple[list[str], str] | None:
    """The tokens before the first stop word in their text, and that word; None if the text has no stop word."""
    text = "".join(made)
    found = [(text.find(word), word) for word in stop if word and word in text]
    if not found:
        return None
    at, word = min(found)
    kept: list[str] = []
    for token in made:
        if at <= 0:
            break
        kept.append(token[:at])
        at -= len(token)
    return kept, word
