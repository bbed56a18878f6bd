"""Tools: the template lists them, the model calls them in its text, and the parser reads the calls."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.tests.driving import Sdk, ask, ends_of, failure, read_report, text_of
from adapter.tests.upstream import Upstream, chunked, event
from triton_adapter import errors
from triton_adapter.generation.tools import FORMATS, ToolParser, joined
from triton_adapter.generation.tools.formats import HEAD_LIMIT
from triton_adapter.generation.tools.states import TRANSITIONS, Event, State

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]
# The prompt is the last message, so that a test determines the model's answer.
ECHO = "{{ messages[-1].content }}"
WEATHER = ("weather", '{"city": "Zürich {"}')
TIME = ("time", "{}")

TEXTS = [
    ("llama3", '{"name": "weather", "parameters": {"city": "Zürich {"}}', "", [WEATHER]),
    ("llama3", '<|python_tag|>{"name": "weather", "parameters": {"city": "Zürich {"}}', "", [WEATHER]),
    ("llama3", '{"name": "weather", "parameters": {"city": "Zürich {"}}; {"name": "time", "parameters": {}}', "", [WEATHER, TIME]),  # noqa: E501
    ("llama3", '{"answer": 42} is the answer', '{"answer": 42} is the answer', []),
    ("llama3", '{"name": "launch", "parameters": {}}', '{"name": "launch", "parameters": {}}', []),
    ("llama3", '{"name": "weather", "parameters": {"ci', "", [("weather", '{"ci')]),
    ("llama3", '{"name": "weather", "parameters": ', '{"name": "weather", "parameters": ', []),
    ("llama3", '{"type": "function", "name": "time", "strict": true, "parameters": {}, "id": "7"}', "", [TIME]),
    ("llama3", '{"parameters": {}, "name": "time"}; {"name": "time"}', "", [TIME, TIME]),
    ("llama3", '{"name": "time", "parameters": {}};;', "", [TIME]),
    ("llama3", '{"name": "time", "parameters": {}, and so on', ", and so on", [TIME]),
    ("llama3", '{"name": "time", "parameters": {"at": now}}', "", [("time", '{"at": now}')]),
    ("llama3", "It is {sunny}.", "It is {sunny}.", []),
    ("mistral", '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Zürich {"}}, {"name": "time", "arguments": {}}]', "", [WEATHER, TIME]),  # noqa: E501
    ("mistral", '[{"name": "time", "arguments": {}}]', "", [TIME]),
    ("mistral", 'Let me see.[TOOL_CALLS]weather[ARGS]{"city": "Zürich {"}[TOOL_CALLS]time[ARGS]{}', "Let me see.", [WEATHER, TIME]),  # noqa: E501
    ("mistral", '[TOOL_CALLS]time[ARGS][1, "]"]', "", [("time", '[1,"]"]')]),
    ("mistral", '[{"name": "time", "arguments": {}}, {"arguments": {}, "name": "time"}, {"name": "launch", "arguments": {}}]', ' {"name": "launch", "arguments": {}}]', [TIME, TIME]),  # noqa: E501
    ("mistral", "[1, 2, 3]", "[1, 2, 3]", []),
    ("mistral", "I would [TOOL_CALLS", "I would [TOOL_CALLS", []),
    ("hermes", 'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich {"}}\n</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>', "Let me see.\n", [WEATHER, TIME]),  # noqa: E501
    ("hermes", '<tool_call>\n{"name": "time", "arguments": {}}', "", [TIME]),
    ("hermes", '<tool_call>\n{"name": "time", "arguments": "{}"}\n</tool_call>', "", [TIME]),
    ("hermes", "1 < 2 and <tool", "1 < 2 and <tool", []),
    ("hermes", '<tool_call>{"name": "time", "arguments": {"at": ' + "1" * 40 + "}}</tool_call>", "", [("time", '{"at": ' + "1" * 40 + "}")]),  # noqa: E501
    ("hermes", '<tool_call>{"name": "time", "arguments": {"at": "\\ud800"}}</tool_call>', "", [("time", '{"at": "\\ud800"}')]),  # noqa: E501
    ("hermes", '<tool_call>{"name": "time", "arguments": "\\ud800"}</tool_call>', '<tool_call>{"name": "time", "arguments": "\\ud800"}</tool_call>', []),  # noqa: E501
    ("hermes", "<tool_call>nonsense</tool_call> and more", "<tool_call>nonsense</tool_call> and more", []),
]  # fmt: skip


CALLS = {
    "llama3": '{"name": "weather", "parameters": {"city": "Zürich"}}',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Zürich"}}]',
    "hermes": '<tool_call> {"name": "weather", "arguments": {"city": "Zürich"}} </tool_call>',
}


def parsed(form: str, parts: list[str], *, single: bool = False) -> tuple[str, list[tuple[str, str]]]:
    parser = ToolParser(FORMATS[form], {"weather", "time"}, single=single)
    found = [parser.feed(part) for part in parts] + [parser.end()]
    calls = joined([part for _, new in found for part in new])
    return "".join(text for text, _ in found), [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize(
    "form, text, shown, calls", TEXTS, ids=[f"{form}: {text}" for form, text, _, _ in TEXTS]
)
def test_a_text_is_read_whole_and_letter_by_letter(
    form: str, text: str, shown: str, calls: list[Any]
) -> None:
    assert parsed(form, [text]) == (shown, calls)
    assert parsed(form, list(text)) == (shown, calls)


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 200), max_size=6))
def test_a_text_cut_anywhere_is_read_the_same(case: tuple[str, str, str, list[Any]], cuts: list[int]) -> None:
    form, text, shown, calls = case
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    parts = [text[start:stop] for start, stop in pairwise(edges)]
    assert parsed(form, parts) == (shown, calls)


@given(
    st.sampled_from(["llama3", "mistral", "hermes"]),
    st.text(alphabet='{}[]"<>/_:,;ab TOOLCALSname|python', max_size=60),
)
def test_any_text_is_lossless_unless_it_calls(form: str, text: str) -> None:
    shown, calls = parsed(form, list(text))
    assert calls or shown == text


PIECES = [
    *"{}[] \n;,a",
    *CALLS.values(),
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "time",
    "and",
    '{"name": "time", "arguments": ',
    '"name": "time", ',
    '"id": 7, ',
    '[{"',
]


@given(st.sampled_from(sorted(CALLS)), st.lists(st.sampled_from(PIECES), max_size=7).map("".join), st.data())
def test_no_cut_changes_what_is_read(form: str, text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[start:stop] for start, stop in pairwise([0, *cuts, len(text)])]
    assert parsed(form, parts) == parsed(form, list(text)) == parsed(form, [text])


@given(
    st.sampled_from(sorted(CALLS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text('ab{}[]",\\ü'),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"}'), inner, max_size=3),
        max_leaves=8,
    ),
    st.booleans(),
    st.data(),
)
def test_whatever_the_arguments_are_no_cut_changes_them(
    form: str, value: Any, escaped: bool, data: st.DataObject
) -> None:
    written = json.dumps({"city": value}, ensure_ascii=escaped)
    text = CALLS[form].replace('{"city": "Zürich"}', written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[start:stop] for start, stop in pairwise([0, *cuts, len(text)])]
    assert parsed(form, parts) == parsed(form, list(text)) == ("", [("weather", written)])


# The text, what of it is shown, and the calls. A marker with a call of an offered function stands in each.
INNER = [
    ("hermes", '<tool_call>{"name": "launch", "arguments": {}, "note": [<tool_call>{"name": "time"}]} So', None, []),
    ("hermes", '<tool_call>{"name": "launch", "arguments": {"say": "<tool_call>{\'name\'} {\\"name\\""}} So', None, []),
    ("hermes", '<tool_call>{"note": [<tool_call>{"name": "time"}], "name": "time"} So', None, []),
    ("hermes", '<tool_call>{"name": "time", "arguments": {}, "a": [<tool_call>{"name": "time"}]} So', ', "a": [<tool_call>{"name": "time"}]} So', [TIME]),  # noqa: E501
    ("hermes", '<tool_call>{"name": "time", "arguments": {}, a <tool_call>{"name": "time"}} So', ', a <tool_call>{"name": "time"}} So', [TIME]),  # noqa: E501
    ("llama3", '{"name": "launch", "parameters": {"say": "<|python_tag|>{}"}, "a": <|python_tag|>{"name": "time"}}', None, []),  # noqa: E501
    ("llama3", '{"name": "time", "parameters": {}}; {"name": "launch", "parameters": {"say": <|python_tag|>{"name": "time"}}}', '; {"name": "launch", "parameters": {"say": <|python_tag|>{"name": "time"}}}', [TIME]),  # noqa: E501
    ("mistral", '[TOOL_CALLS]launch[ARGS]{"say": "[TOOL_CALLS]time[ARGS]{}"} So', None, []),
    ("mistral", '[TOOL_CALLS][{"name": "launch", "arguments": {"say": "[TOOL_CALLS]time[ARGS]{}"}}] So', None, []),
    ("mistral", '[TOOL_CALLS][{"arguments": {"say": "[TOOL_CALLS]time[ARGS]{}"}, "name": "launch"}] So', None, []),
    ("mistral", '[{"name": "launch", "arguments": {}}, {"name": "[TOOL_CALLS]time[ARGS]{}"}] So', None, []),
    ("mistral", '[{"name": "time", "arguments": {}}, {"name": "launch", "arguments": {}}, "[TOOL_CALLS]time[ARGS]{}"] So', ' {"name": "launch", "arguments": {}}, "[TOOL_CALLS]time[ARGS]{}"] So', [TIME]),  # noqa: E501
    ("mistral", '[{"name": "time", "arguments": {}}, "[TOOL_CALLS]time[ARGS]{}"] So', ' "[TOOL_CALLS]time[ARGS]{}"] So', [TIME]),  # noqa: E501
    ("mistral", '[{"name": "time", "arguments": {}}, {"[TOOL_CALLS]time[ARGS]{}"}, {"[TOOL_CALLS]time[ARGS]{}"}] So', ' {"[TOOL_CALLS]time[ARGS]{}"}, {"[TOOL_CALLS]time[ARGS]{}"}] So', [TIME]),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(
    "form, text, shown, calls", INNER, ids=[f"{form}: {text}" for form, text, _, _ in INNER]
)
def test_a_call_inside_of_what_is_no_call_is_text(
    form: str, text: str, shown: str | None, calls: list[Any]
) -> None:
    shown = text if shown is None else shown
    assert parsed(form, [text]) == parsed(form, list(text)) == (shown, calls)
    known = {"hermes": '<tool_call>{"name": "weather", "arguments": {}}'}.get(form, CALLS["mistral"])
    if form != "llama3":  # what is text has ended with its brackets: a call after it is made
        assert len(parsed(form, [text, known])[1]) == len(calls) + 1


@pytest.mark.parametrize(
    "form, first, second",
    [
        (
            "hermes",
            '<tool_call>{"name": "time", "arguments": {}',
            '</tool_call>\n<tool_call>{"name": "time"}',
        ),
        ("hermes", '<tool_call>{"name": "time", "arguments": {}', '\n<tool_call>{"name": "time"}'),
        ("llama3", '{"name": "time", "parameters": {}', '; {"name": "time"}'),
        ("mistral", '[TOOL_CALLS][{"name": "time", "arguments": {}}', "[TOOL_CALLS]time[ARGS]{}"),
    ],
)
def test_a_call_whose_last_bracket_is_missing_ends_at_the_next(form: str, first: str, second: str) -> None:
    assert parsed(form, [first + second]) == parsed(form, list(first + second)) == ("", [TIME, TIME])


def test_blanks_between_two_markers_change_nothing() -> None:
    call = '<tool_call>{"name": "time"}'
    assert parsed("hermes", ["<tool_call>" + call]) == ("<tool_call>", [TIME])
    assert parsed("hermes", ["<tool_call>\n" + call]) == ("<tool_call>\n", [TIME])


@pytest.mark.parametrize("form", CALLS)
def test_what_no_call_holds_is_shown_as_it_comes(form: str) -> None:
    parser = ToolParser(FORMATS[form], {"time"})
    begun, _, rest = CALLS[form].partition("Zürich")
    parser.feed(begun)
    marker = FORMATS[form].markers[0]
    assert [parser.feed(letter) for letter in marker + rest[:2]] == [
        (letter, []) for letter in marker + rest[:2]
    ]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"arguments": {"at": ' + "1" * 5000 + '}, "name": "time"}</tool_call>',
        "<tool_call>" + "[" * 20_000,
    ],
    ids=["an integer that Python does not read", "brackets by the thousand"],
)
def test_what_looks_like_a_call_and_cannot_be_read_is_text(text: str) -> None:
    assert parsed("hermes", [text]) == (text, [])


@pytest.mark.parametrize(
    "order, compact",
    [
        ('"name": "time", "arguments": ARGUMENTS', None),
        ('"arguments": ARGUMENTS, "name": "time"', (",", ":")),
    ],
    ids=["name first", "arguments first"],
)
def test_a_long_call_that_comes_in_small_parts_is_read_once_not_with_each(
    monkeypatch: pytest.MonkeyPatch, order: str, compact: tuple[str, str] | None
) -> None:
    reads: list[int] = []
    read = FORMATS["hermes"].read

    def counted(text: str, at: int) -> Any:
        reads.append(len(text) - at)
        return read(text, at)

    counting = replace(FORMATS["hermes"], read=counted)
    monkeypatch.setitem(FORMATS, "hermes", counting)
    written = json.dumps({"code": "if (x) { y[0] }\n" * 500})
    whole = f"<tool_call>{{{order}}}</tool_call>".replace("ARGUMENTS", written)
    assert parsed("hermes", pairs(whole)) == (
        "",
        [("time", json.dumps(json.loads(written), separators=compact))],
    )
    assert sum(length > HEAD_LIMIT for length in reads) < 5


def pairs(text: str) -> list[str]:
    """Cut a text into parts of two letters."""
    return [text[at : at + 2] for at in range(0, len(text), 2)]


@pytest.mark.parametrize(
    "form, begun",
    [
        ("hermes", "<tool_call>"),
        ("hermes", '<tool_call>{"name": "time", "arguments": {}'),
        ("hermes", '<tool_call>{"name": "time", "arguments": {}}'),
        ("hermes", '<tool_call>{"name": "time", "arguments": {}}</tool_call>'),
        ("hermes", ""),
        ("llama3", '{"name": "time", "parameters": {}};'),
        ("mistral", "[TOOL_CALLS]time"),
    ],
    ids=[
        "after a marker",
        "after the arguments",
        "before the end tag",
        "after a call",
        "before all text",
        "between two calls",
        "after the name",
    ],
)
def test_blanks_without_end_are_not_read_anew_with_each(
    monkeypatch: pytest.MonkeyPatch, form: str, begun: str
) -> None:
    reads = 0
    readers = ToolParser.READERS

    def counted(parser: ToolParser) -> Event | None:
        nonlocal reads
        reads += 1
        return readers[parser.state](parser)

    monkeypatch.setattr(ToolParser, "READERS", dict.fromkeys(readers, counted))
    parser = ToolParser(FORMATS[form], {"time"})
    parser.feed(begun + " " * (HEAD_LIMIT + 1))
    reads = 0
    assert [parser.feed("\n") for _ in range(100)] == [("", [])] * 100
    assert reads == 0


# The text that a parser has read, and its repr then: its state, the calls so far, the characters held back.
STATES = [
    ("hermes", "", "START, 0 calls, 0 characters held back"),
    ("hermes", "\n", "START, 0 calls, 1 characters held back"),
    ("llama3", " {", "HEAD, 0 calls, 2 characters held back"),
    ("hermes", "Let me see. <tool", "TEXT, 0 calls, 5 characters held back"),
    ("hermes", "Hello <tool_call>{", "HEAD, 0 calls, 12 characters held back"),
    ("hermes", "<tool_call>what", "TEXT, 0 calls, 0 characters held back"),
    ("hermes", '<tool_call>{"name": "time", "arguments": {"at"', "ARGUMENTS, 1 call, 0 characters held back"),
    ("hermes", '<tool_call>{"name": "time", "arguments": {}', "TAIL, 1 call, 0 characters held back"),
    ("hermes", '<tool_call>{"name": "time", "arguments": {}}', "SEPARATOR, 1 call, 0 characters held back"),
    ("hermes", '<tool_call>{"name": "time", "arguments": {}}</tool_call>\n', "GAP, 1 call, 1 characters held back"),
    ("hermes", '<tool_call>{"name": "launch", "arguments": {<tool_call>', "QUOTED, 0 calls, 0 characters held back"),
    ("hermes", '<tool_call>{"name": "time"}', "SEPARATOR, 1 call, 0 characters held back"),
    ("hermes", '<tool_call>{"name": "time", "arguments": {}}</tool_call>So', "TEXT, 1 call, 0 characters held back"),
    ("mistral", "[TOOL_CALLS]time[ARGS]{}", "GAP, 1 call, 0 characters held back"),
    ("mistral", '[{"name": "time", "arguments": {}},', "HEAD, 1 call, 0 characters held back"),
    ("llama3", '{"name": "time", "parameters": {}}; ', "NEXT, 1 call, 2 characters held back"),
    ("llama3", '{"name": "time", "parameters": {}} <|python_tag', "GAP, 1 call, 13 characters held back"),
    ("llama3", '{"name": "time", "parameters": {}}; {', "HEAD, 1 call, 3 characters held back"),
]  # fmt: skip


@pytest.mark.parametrize("form, text, described", STATES, ids=[f"{form}: {text}" for form, text, _ in STATES])
def test_a_parser_says_where_in_the_text_it_is(form: str, text: str, described: str) -> None:
    whole, by_letter = (ToolParser(FORMATS[form], {"time"}) for _ in range(2))
    whole.feed(text)
    for letter in text:
        by_letter.feed(letter)
    assert repr(whole) == repr(by_letter) == f"<ToolParser {form} [{described}]>"


def test_every_state_has_a_reader_and_can_be_reached() -> None:
    reached = {State.START}.union(*(found.values() for found in TRANSITIONS.values()))
    assert reached == set(State) == set(TRANSITIONS)


def test_one_call_is_kept_where_several_are_not_allowed() -> None:
    text = '<tool_call>{"name": "time", "arguments": {}}</tool_call>' * 2
    assert parsed("hermes", [text], single=True) == ("", [TIME])


@pytest.mark.parametrize(
    "form, text",
    [
        *CALLS.items(),
        ("mistral", '[TOOL_CALLS]weather[ARGS]{"city": "Zürich"}'),
        ("llama3", '{"type": "function", "name": "weather", "parameters": {"city": "Zürich"}}'),
    ],
    ids=[*CALLS, "mistral by name", "llama3 with a type"],
)
def test_arguments_grow_with_every_letter_that_the_model_writes(form: str, text: str) -> None:
    parser = ToolParser(FORMATS[form], {"weather"})
    written = '{"city": "Zürich"}'
    begin = text.index(written)
    (first,) = [part for letter in text[:begin] + "{" for part in parser.feed(letter)[1]]
    assert (first.index, first.name, first.arguments) == (0, "weather", "{")
    for letter in written[1:]:
        (part,) = parser.feed(letter)[1]
        assert (part.index, part.name, part.arguments) == (0, "", letter)
    assert [parser.feed(letter) for letter in text[begin + len(written) :]] == [("", [])] * (
        len(text) - begin - len(written)
    )
    assert parser.end() == ("", [])
    assert not parser.cut


@pytest.mark.parametrize("form", CALLS)
def test_a_call_of_no_tool_is_shown_as_soon_as_its_name_is_known(form: str) -> None:
    parser = ToolParser(FORMATS[form], {"time"})
    text = CALLS[form]
    known = text.index("{", text.index("weather"))
    assert parser.feed(text[: known + 1])[0] == text[: known + 1]


@pytest.mark.parametrize("form", CALLS)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_that_the_limit_cuts_off_ends_with_length(
    sdk: Sdk, triton: str, form: str, streamed: bool
) -> None:
    text = CALLS[form].replace("Zürich", "Zürich on the Limmat and more")
    tokens = text[: text.index(" on")].count(" ") + 1
    asked = {
        "api_base": triton, "tools": TOOLS, "chat_template": ECHO, "tool_parser": form, "max_tokens": tokens
    }  # fmt: skip
    if streamed:
        chunks, error = sdk.collect("vllm", ask(f"SAY {text}"), **asked)
        assert error is None
        deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        found = ("".join(delta.function.arguments for delta in deltas), ends_of(chunks))
    else:
        choice = sdk.completion("trtllm", ask(f"SAY {text}"), **asked).choices[0]
        found = (choice.message.tool_calls[0].function.arguments, [choice.finish_reason])
    assert found == ('{"city": "Zürich', ["length"])


@pytest.mark.parametrize("form", CALLS)
def test_a_call_in_a_reply(sdk: Sdk, triton: str, form: str) -> None:
    reply = sdk.completion(
        "vllm", ask(f"SAY {CALLS[form]}"), api_base=triton, tools=TOOLS, chat_template=ECHO, tool_parser=form
    )
    choice = reply.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Zürich"}
    assert len(call.id) == 9 if form == "mistral" else call.id.startswith("call_")


@pytest.mark.parametrize("form", CALLS)
def test_a_call_in_a_stream_sent_byte_by_byte(sdk: Sdk, upstream: Upstream, form: str) -> None:
    text = CALLS[form]
    events = [event(text_output=text[at : at + 3]) for at in range(0, len(text), 3)]
    upstream.answer(*(bytes([byte]) for part in chunked(*events) for byte in part))
    chunks, error = sdk.collect(
        "m", ask("x"), api_base=upstream.url, tools=TOOLS, chat_template=ECHO, tool_parser=form
    )
    assert error is None
    assert (text_of(chunks), ends_of(chunks)) == ("", ["tool_calls"])
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    arguments = [delta.function.arguments for delta in deltas]
    assert json.loads("".join(arguments)) == {"city": "Zürich"}
    assert (arguments[0], max(map(len, arguments))) == ("", 3)


@pytest.mark.parametrize("form", CALLS)
def test_a_call_in_a_stream(sdk: Sdk, triton: str, form: str) -> None:
    chunks, error = sdk.collect(
        "vllm", ask(f"SAY {CALLS[form]}"), api_base=triton, tools=TOOLS, chat_template=ECHO, tool_parser=form
    )
    assert error is None
    assert text_of(chunks) == ""
    assert ends_of(chunks) == ["tool_calls"]
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert {delta.index for delta in deltas} == {0}
    assert [delta.function.name for delta in deltas if delta.function.name] == ["weather"]
    assert json.loads("".join(delta.function.arguments for delta in deltas)) == {"city": "Zürich"}


def test_text_without_a_call_is_text(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect(
        "vllm", ask("SAY it is sunny"), api_base=triton, tools=TOOLS, chat_template=ECHO, tool_parser="hermes"
    )
    assert error is None
    assert (text_of(chunks), ends_of(chunks)) == ("it is sunny", ["stop"])


@pytest.mark.parametrize("name", ["llama3", "mistral", "hermes", "qwen"])
def test_a_built_in_template_shows_the_tools(sdk: Sdk, triton: str, name: str) -> None:
    reply = sdk.completion("flat", ask("Hi"), api_base=triton, tools=TOOLS, chat_template=name)
    assert '"weather"' in reply.choices[0].message.content
    silent = sdk.completion(
        "flat", ask("Hi"), api_base=triton, tools=TOOLS, tool_choice="none", chat_template=name
    )
    assert '"weather"' not in silent.choices[0].message.content


@pytest.mark.parametrize(
    "settings", [{}, {"chat_template": "gemma"}, {"chat_template": ECHO}, {"tool_parser": "hermes"}]
)
def test_tools_without_template_and_parser_are_refused_by_name(
    sdk: Sdk, triton: str, settings: dict[str, str]
) -> None:
    error = failure(lambda: sdk.completion("flat", ask("Hi"), api_base=triton, tools=TOOLS, **settings))
    assert isinstance(error, errors.UnsupportedParameterError)
    assert error.param == "tools"


def test_a_demanded_call_is_guided(sdk: Sdk, triton: str) -> None:
    choice = {"type": "function", "function": {"name": "time"}}
    reply = sdk.completion(
        "vllm",
        ask('SAY {"name": "time", "arguments": {}}'),
        api_base=triton,
        tools=TOOLS,
        tool_choice=choice,
        chat_template=ECHO,
        tool_parser="hermes",
    )
    assert [call.function.name for call in reply.choices[0].message.tool_calls] == ["time"]
    report = sdk.completion(
        "trtllm",
        ask("REPORT"),
        api_base=triton,
        tools=TOOLS,
        tool_choice="required",
        chat_template=ECHO,
        tool_parser="hermes",
    )
    schema = json.loads(read_report(report)["inputs"]["guided_decoding_guide"][0])
    assert [option["properties"]["name"] for option in schema["anyOf"]] == [
        {"const": "weather"},
        {"const": "time"},
    ]


def test_a_call_that_cannot_be_promised_is_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(
        lambda: sdk.completion(
            "flat", ask("Hi"), api_base=triton, tools=TOOLS, tool_choice="required", chat_template="llama3"
        )
    )
    assert error.param == "tool_choice"


def test_a_tool_that_was_not_offered_cannot_be_chosen(sdk: Sdk) -> None:
    choice = {"type": "function", "function": {"name": "launch"}}
    error = failure(
        lambda: sdk.completion("m", ask("Hi"), api_base="http://127.0.0.1:9", tools=TOOLS, tool_choice=choice)
    )
    assert (error.status_code, error.param) == (400, "tool_choice")


def test_arguments_that_are_no_json_are_refused(sdk: Sdk, triton: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    messages = [*ask("Hi"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    error = failure(lambda: sdk.completion("flat", messages, api_base=triton, chat_template="hermes"))
    assert (error.status_code, error.param) == (400, "messages")
