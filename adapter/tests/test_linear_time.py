"""The work for an answer grows with its length and not with the square of it.

Work is counted, not timed: the functions called, and the characters that are copied where texts are added or cut.
"""

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, SupportsIndex

import pytest

from triton_adapter.generation.answers import Answer, ChoiceState, Lane
from triton_adapter.generation.pieces import Piece
from triton_adapter.generation.tools import FORMATS, ToolParser
from triton_adapter.generation.tools.formats import HEAD_LIMIT
from triton_adapter.openai.requests import Generation
from triton_adapter.profiles.binding import bare_info, bind
from triton_adapter.settings import DEFAULTS

PIECE = "word "


class Copied(str):
    """Text that counts the characters that are copied when it is added to another, or cut, and those searched."""

    __slots__ = ()
    characters = 0

    @classmethod
    def made(cls, text: str) -> "Copied":
        cls.characters += len(text)
        return cls(text)

    def __add__(self, other: str) -> "Copied":
        return self.made(str.__add__(self, other))

    def __radd__(self, other: str) -> "Copied":
        return self.made(str.__add__(other, self))

    def __getitem__(self, key: SupportsIndex | slice) -> "Copied":
        return self.made(str.__getitem__(self, key))

    def lstrip(self, characters: str | None = None) -> "Copied":
        return self.made(str.lstrip(self, characters))

    def find(self, text: str, *edges: SupportsIndex | None) -> int:
        found = str.find(self, text, *edges)
        begin = int(edges[0] or 0) if edges else 0
        Copied.characters += (len(self) if found < 0 else found) - begin
        return found


def work(task: Callable[[int], object], size: int) -> int:
    """Return how many functions a task calls for a size, and how many characters it copies."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    Copied.characters = 0
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        task(size)
    finally:
        sys.setprofile(before)
    return calls + Copied.characters


def choice(size: int = 0, *, stop: str = "", tools: str = "", echo: str | None = None) -> ChoiceState:
    request = Generation(stream=bool(size % 2), stop=[stop] if stop else [])
    return ChoiceState(0, request, ToolParser(FORMATS[tools], {"time"}) if tools else None, echo, None)


def feed(made: ChoiceState, text: str, by: int) -> None:
    """Give a choice a text in pieces, and end it."""
    for at in range(0, len(text), by):
        made.feed(Copied(text[at : at + by]))
    made.end()


def lanes(number: int) -> None:
    binding = bind(bare_info(DEFAULTS, "m"), DEFAULTS)
    made = [Lane(at, 1, "p") for at in range(number)]
    answer = Answer(binding, Generation(), made, None)
    for lane in made:
        list(answer.feed(lane, Piece(["x"], [])))
        list(answer.end(lane))


CALL = '<tool_call>{"name": "time", "arguments": {"a": "'
TASKS: dict[str, Callable[[int], None]] = {
    "a stream of many pieces": lambda n: feed(choice(1), PIECE * n, 5),
    "a whole answer of many pieces": lambda n: feed(choice(2), PIECE * n, 5),
    "the prompt, repeated in many pieces": lambda n: feed(choice(1, echo=PIECE * n), PIECE * n, 5),
    "almost the prompt": lambda n: feed(choice(1, echo=PIECE * n + "."), PIECE * n + "!", 5),
    "almost a long stop sequence, again and again": lambda n: feed(
        choice(1, stop="a" * n + "b"), "a" * 4 * n, 1
    ),
    "almost a long stop sequence, in long pieces": lambda n: feed(
        choice(1, stop="a" * n + "b"), "a" * 8 * n, n
    ),
    "beginnings of a stop sequence of two letters in turn": lambda n: feed(
        choice(1, stop="ab" * n + "c"), "ab" * 2 * n, 3
    ),
    "a long argument in many pieces": lambda n: feed(choice(2, tools="hermes"), CALL + PIECE * n, 5),
    "a long argument in one piece": lambda n: feed(choice(2, tools="hermes"), CALL + PIECE * 1000 * n, 10**9),
    "markers inside of what is no call": lambda n: feed(
        choice(1, tools="hermes"), "<tool_call>{" * n + "}" * n, 8
    ),
    "openings inside of what is no call": lambda n: feed(
        choice(1, tools="llama3"), '{"a": ' * n + "}" * n, 8
    ),
    "lists inside of what is no call": lambda n: feed(
        choice(1, tools="mistral"), '[TOOL_CALLS][{"' * n + "]" * 2 * n, 8
    ),
    "brackets deeper than JSON's reader goes": lambda n: feed(
        choice(1, tools="hermes"), "<tool_call>" + "[" * 20 * n + "]" * 20 * n, 8
    ),
    "other members after the arguments": lambda n: feed(
        choice(1, tools="hermes"), '<tool_call>{"name": "time", "arguments": {}, "a": ' + "[" * n + "]" * n, 8
    ),
    "many answers of one request": lanes,
}


# What brings the parser into a state, and what it may stay in there.
BEGINNINGS = {
    "hermes": [
        "",
        "text ",
        "<tool_call>",
        "<tool_call>[",
        '<tool_call>{"a": "',
        '<tool_call>{"name": "time", "arguments": ',
        '<tool_call>{"name": "time", "arguments": {"a": "',
        '<tool_call>{"name": "time", "arguments": {}',
        '<tool_call>{"name": "time", "arguments": {},',
        '<tool_call>{"name": "time", "arguments": {}, "a": [',
        '<tool_call>{"name": "time", "arguments": {}, "a": "',
        '<tool_call>{"name": "time", "arguments": {}}',
        '<tool_call>{"name": "time", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "unknown", "arguments": {"a": [',
    ],
    "llama3": [
        "",
        "text ",
        "{",
        '{"a": "',
        '<|python_tag|>{"name": "time", "parameters": {}, "a": [',
        '{"name": "time", "parameters": {}, and ',
        '{"name": "time", "parameters": {}};',
        '{"name": "unknown", "parameters": {"a": "',
    ],
    "mistral": [
        "",
        "text ",
        "[TOOL_CALLS]",
        '[{"',
        "[TOOL_CALLS]time",
        "[TOOL_CALLS]time[ARGS]",
        "[TOOL_CALLS]time[ARGS][",
        '[TOOL_CALLS]time[ARGS]{"a": "',
        '[TOOL_CALLS]unknown[ARGS]{"a": "',
        "[TOOL_CALLS]unknown[ARGS][",
        '[TOOL_CALLS][{"name": "time", "arguments": {}}',
        '[TOOL_CALLS][{"name": "time", "arguments": {}},',
        '[TOOL_CALLS][{"name": "time", "arguments": {}, "a": [',
    ],
}
MARKERS = {"hermes": "<tool_call>", "llama3": "<|python_tag|>", "mistral": "[TOOL_CALLS]"}
# What is repeated; @ is the marker.
UNITS = [
    " ",
    "{",
    '"',
    "[1, ",
    "@",
    "@x ",
    "@{} ",
    "@{",
    "@[1] ",
    '"@{}", ',
    "@time[ARGS][1]",
    '@{"name": "time", "arguments": {}}',
    '@{"name": "time", "arguments": {}, "a": ["@"]}',
    '@{"name": "time", "arguments": {}, @}',
    '{"name": "time", "parameters": {}};',
    '{"name": "unknown", "parameters": {}};',
    '{"name": "time", "arguments": {}},',
    ";",
    "\\",
]


def parse(form: str, text: str, by: int) -> None:
    parser = ToolParser(FORMATS[form], {"time"})
    for at in range(0, len(text), by):
        parser.feed(Copied(text[at : at + by]))
    parser.end()


@pytest.mark.parametrize(
    ("form", "begun"), [(form, begun) for form, beginnings in BEGINNINGS.items() for begun in beginnings]
)
@pytest.mark.parametrize("by, end", [(29, "]}"), (10**9, "]}"), (10**9, "")])
def test_whatever_a_text_repeats_tool_calls_are_read_in_linear_time(
    form: str, begun: str, by: int, end: str
) -> None:
    # In small pieces the beginning of a call is read anew with each, up to a limit.
    length = HEAD_LIMIT if by < HEAD_LIMIT else HEAD_LIMIT // 4
    for unit in UNITS:
        piece = unit.replace("@", MARKERS[form])
        number = length // len(piece) + 1 | 1  # odd, and so is three times as many: the same quotes are open

        def task(times: int) -> None:
            parse(form, begun + piece * number * times + end, by)  # noqa: B023 - it is called in this round

        once, thrice = work(task, 1), work(task, 3)
        assert thrice < 4 * once, (piece, once, thrice)


@pytest.mark.parametrize("name", TASKS)
def test_twice_as_much_takes_twice_the_work(name: str) -> None:
    task = TASKS[name]
    task(1)  # what is made once and kept
    once, twice = work(task, 300), work(task, 600)
    assert twice < 2.3 * once, (once, twice)


@pytest.mark.parametrize("tools", ["", "hermes"], ids=["text", "a tool call"])
def test_a_stream_without_end_keeps_nothing_of_its_text(tools: str) -> None:
    made = choice(1, stop="never", tools=tools)
    if tools:
        made.feed(CALL)
    made.feed(PIECE)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            made.feed(PIECE)
            made.counts.add(1)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000, kept
    assert made.text.size + made.arguments.size > 100_000
