"""The table of the formats in which families of models write tool calls, and a reader for each. Pure.

A format says where calls begin: after one of its `markers`, or with one of its `openings` at the very start of the
text. The openings are needed because a detokenizer that skips special tokens removes some markers. The format's
reader reads one call from an index of a text. All readers take the text and an index: a slice would copy the text.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triton_adapter.errors import BadRequestError
from triton_adapter.jsontext import dumps

# What a reader returns when it finds no call. WAIT: more text is needed. NONE: there is no call here.
WAIT = "wait"
NONE = "none"
# The value of what begins and ends as JSON does, and is none. No call is made of it.
BROKEN = None
# A call whose name is not known within so many characters is read only once it is complete.
HEAD_LIMIT = 1024
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z0-9_.:/-]+")
_DECODER = json.JSONDecoder()
# Matches `{"name": "...", "arguments": {`, with other simple members before either. It matches nothing but JSON, so
# that it never disagrees with the reader of complete calls.
_MEMBERS = (
    r'(?:"(?!(?:name|arguments|parameters)")[^"\\\x00-\x1f]*"_:_'
    r'(?:"[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)|true|false|null)_,_)*'
)
_HEAD = re.compile(
    rf'{{_{_MEMBERS}"name"_:_"([^"\\\x00-\x1f]+)"_,_{_MEMBERS}"(?:arguments|parameters)"_:_(?={{)'.replace(
        "_", r"[ \t\r\n]*"
    )
)
_BRACKETS = {False: re.compile(r'["{}\[\]]'), True: re.compile(r'["\\]')}  # outside and inside of strings


@dataclass(slots=True)
class ToolCall:
    """One call. `arguments` is JSON text, as in OpenAI's API."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a call. Its arguments, a JSON object, follow at `end`.

    `bare`: the call ends with its arguments. `listed`: the call is the first of a JSON list.
    """

    end: int
    name: str
    bare: bool = False
    listed: bool = False


Found = tuple[
    int, list[ToolCall]
]  # the position after the calls, and the calls; none: it is read, and is text


class Brackets:
    """Counts the open brackets of JSON text as it comes: `depth`. Brackets in strings do not count."""

    __slots__ = ("_escaped", "_inside", "depth")

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self._inside = self._escaped = False

    def close(self, text: str, at: int = 0) -> int:
        """Read text to where every bracket is closed again. Return the index after it, or -1 if there is none."""
        while at < len(text):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            match = _BRACKETS[self._inside].search(text, at)
            if match is None:
                break
            at = match.end()
            character = match[0]
            if self._inside:
                self._escaped, self._inside = character == "\\", character != '"'
            elif character == '"':
                self._inside = self.depth > 0
            elif character in "{[":
                self.depth += 1
            elif self.depth:
                self.depth -= 1
                if self.depth == 0:
                    return at
        return -1


@dataclass(frozen=True, slots=True)
class Format:
    """One family's way to write calls. `between` separates two calls, `closing` ends each.

    `id_length` is the number of letters in a call's id: Mistral's templates refuse ids of another length than 9.
    """

    name: str
    markers: tuple[str, ...]
    openings: tuple[str, ...]
    between: str
    read: Callable[[str, int], Head | Found | str]
    closing: str = ""
    id_length: int = 24


def read_json(text: str, at: int) -> tuple[int, Any] | str:
    """Read one JSON object or array: return its end and value, WAIT if it is cut off, NONE if it cannot be one.

    Once its brackets are closed, no more text can make it valid. If it is not, its value is BROKEN: it has an end too,
    so that nobody reads it again from one of its inner brackets.
    """
    at = skip(text, at)
    if at >= len(text):
        return WAIT
    if text[at] not in "{[":
        return NONE
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (
        ValueError,
        RecursionError,
    ):  # also an integer of thousands of digits, or thousands of nested brackets
        end = Brackets().close(text, at)
        return WAIT if end < 0 else (end, BROKEN)
    return end, value


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # some models write the arguments as JSON text already
        # Half of a surrogate pair is no text.
        half = any("\ud800" <= letter <= "\udfff" for letter in arguments)
        return None if half else ToolCall(value["name"], arguments)
    return ToolCall(value["name"], _written(arguments))


def _written(arguments: Any) -> str:
    """Return arguments as JSON text. orjson refuses integers of more than 64 bits, which a model may write."""
    try:
        return dumps(arguments).decode()
    except BadRequestError:
        return json.dumps(arguments, separators=(",", ":"))


def read_object(text: str, at: int) -> Head | Found | str:
    """Read `{"name": ..., "arguments" or "parameters": {...}}`, or its beginning up to the arguments."""
    at = skip(text, at)
    head = _HEAD.match(text, at, at + HEAD_LIMIT)
    if head is not None:
        return Head(head.end(), head[1])
    found = read_json(text, at)
    if isinstance(found, str):
        return found
    call = _call(found[1])
    return found[0], [call] if call else []


def read_rest(text: str, at: int) -> int | str | None:
    """Find the end of a call's object after its arguments: other members may follow them.

    NONE: no comma follows. The call has ended, and its last bracket is missing. BROKEN: a comma follows, and what comes
    after it is not JSON.
    """
    at = skip(text, at)
    if at >= len(text):
        return WAIT
    if text[at] != ",":
        return at + 1 if text[at] == "}" else NONE
    at = skip(text, at + 1)
    if at >= len(text):
        return WAIT
    if text[at] != '"':
        return BROKEN
    end = Brackets(1).close(text, at)
    if end < 0:
        return WAIT
    members = read_json("{" + text[at:end], 0)
    return BROKEN if isinstance(members, str) or members[1] is BROKEN else end


def read_separator(text: str, at: int, closing: str, *, listed: bool) -> tuple[int, bool] | str:
    """Find where the next call may begin, and whether it is the next item of a list."""
    begin, at = at, skip(text, at)
    if listed:
        if at >= len(text):
            return WAIT
        return (at + 1, text[at] == ",") if text[at] in ",]" else (begin, False)
    if closing and text.startswith(closing, at):
        return at + len(closing), False
    cut_off = len(text) - at < len(closing) and closing.startswith(text[at:])
    return WAIT if cut_off else (begin, False)


def _mistral_calls(text: str, at: int) -> Head | Found | str:
    """Read `[{...}, {...}]`, or the newer `name[ARGS]{...}`. A detokenizer may have removed `[ARGS]`."""
    at = skip(text, at)
    if at >= len(text):
        return WAIT
    if text[at] == "[":
        first = skip(text, at + 1)
        head = _HEAD.match(text, first, first + HEAD_LIMIT)
        if head is not None:
            return Head(head.end(), head[1], listed=True)
        found = read_json(text, at)
        if isinstance(found, str):
            return found
        listed = [_call(item) for item in found[1]] if isinstance(found[1], list) else []
        calls = [call for call in listed if call is not None]
        return found[0], calls if len(calls) == len(listed) else []
    named = _NAME.match(text, at)
    if named is None or named.end() - at > HEAD_LIMIT:
        return NONE
    end = named.end()
    if len(text) - end < len("[ARGS]") and "[ARGS]".startswith(text[end:]):
        return WAIT
    end += len("[ARGS]") if text.startswith("[ARGS]", end) else 0
    end = skip(text, end)
    if text.startswith("{", end):
        return Head(end, named[0], bare=True)
    found = read_json(text, end)
    if isinstance(found, str):
        return found
    return found[0], [] if found[1] is BROKEN else [ToolCall(named[0], _written(found[1]))]


def skip(text: str, at: int) -> int:
    """Return the index of the first character that is not blank, from `at` on."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


FORMATS: dict[str, Format] = {
    item.name: item
    for item in (
        Format("llama3", ("<|python_tag|>",), ("{",), ";", read_object),
        Format("mistral", ("[TOOL_CALLS]",), ('[{"',), "[TOOL_CALLS]", _mistral_calls, id_length=9),
        Format("hermes", ("<tool_call>",), (), "<tool_call>", read_object, closing="</tool_call>"),
    )
}
FORMATS["qwen"] = FORMATS["hermes"]
