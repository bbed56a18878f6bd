"""How families of models write tool calls, as a table. Pure.

A format says where calls begin (`markers`, or the very start of the text: `openings`) and reads one call from a
position. A detokenizer that skips special tokens removes some markers, hence the openings.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triton_adapter.errors import BadRequestError
from triton_adapter.triton.jsontext import dumps

# What a reader answers: where the call ends and the call; WAIT: more text is needed; NONE: there is no call here.
WAIT = "wait"
NONE = "none"
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z0-9_.:/-]+")
_DECODER = json.JSONDecoder()


@dataclass(slots=True)
class ToolCall:
    """One call: `arguments` is JSON text, as OpenAI has it."""

    name: str
    arguments: str
    id: str = ""


Found = tuple[int, list[ToolCall]]


class Brackets:
    """Counts the brackets of JSON text as it comes, those in strings left out: `depth` of them are open."""

    __slots__ = ("_escaped", "_inside", "depth")

    def __init__(self) -> None:
        self.depth = 0
        self._inside = self._escaped = False

    def feed(self, text: str) -> bool:
        """Take text; tell whether every bracket was closed again somewhere in it."""
        closed = False
        for character in text:
            if self._escaped:
                self._escaped = False
            elif self._inside:
                self._escaped, self._inside = character == "\\", character != '"'
            elif character == '"':
                self._inside = self.depth > 0
            elif character in "{[":
                self.depth += 1
            elif character in "}]" and self.depth:
                self.depth -= 1
                closed |= self.depth == 0
        return closed


@dataclass(frozen=True, slots=True)
class Format:
    """One family's way to write calls: `between` separates two of them, `closing` ends each."""

    name: str
    markers: tuple[str, ...]
    openings: tuple[str, ...]
    between: str
    read: Callable[[str, int], Found | str]
    closing: str = ""
    id_length: int = 24


def read_json(text: str, at: int) -> tuple[int, Any] | str:
    """Read one JSON value. WAIT if it is cut off, NONE if it can be none."""
    at = _skip(text, at)
    if at >= len(text):
        return WAIT
    if text[at] not in "{[":
        return NONE
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        broken = error.pos < len(text.rstrip()) - 1 and not _inside_string(text, at)
        return NONE if broken and _closed(text, at) else WAIT
    except (ValueError, RecursionError):  # an integer of thousands of digits, brackets by the thousand
        return NONE
    return end, value


def _closed(text: str, at: int) -> bool:
    """Tell whether the braces opened at `at` are closed again: then what failed to parse never will."""
    return Brackets().feed(text[at:])


def _inside_string(text: str, at: int) -> bool:
    return not _closed(text, at) and text.count('"', at) % 2 == 1


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # some models write the arguments as JSON text already
        half = any("\ud800" <= letter <= "\udfff" for letter in arguments)  # of a pair: no text
        return None if half else ToolCall(value["name"], arguments)
    return ToolCall(value["name"], _written(arguments))


def _written(arguments: Any) -> str:
    """Return arguments as JSON text, also what the model may write and orjson does not: integers of any size."""
    try:
        return dumps(arguments).decode()
    except BadRequestError:
        return json.dumps(arguments, separators=(",", ":"))


def _object_call(text: str, at: int) -> Found | str:
    """Read `{"name": ..., "arguments" or "parameters": {...}}`."""
    found = read_json(text, at)
    if isinstance(found, str):
        return found
    call = _call(found[1])
    return (found[0], [call]) if call else NONE


def _hermes_call(text: str, at: int) -> Found | str:
    """Read an object call and its closing tag."""
    found = _object_call(text, at)
    if isinstance(found, str):
        return found
    end = _skip(text, found[0])
    tag = "</tool_call>"
    if text.startswith(tag, end):
        return end + len(tag), found[1]
    return WAIT if tag.startswith(text[end:]) else (end, found[1])


def _mistral_calls(text: str, at: int) -> Found | str:
    """Read `[{...}, {...}]`, or the newer `name[ARGS]{...}`; a detokenizer may have taken `[ARGS]` away."""
    at = _skip(text, at)
    if at >= len(text):
        return WAIT
    if text[at] == "[":
        found = read_json(text, at)
        if isinstance(found, str):
            return found
        listed = [_call(item) for item in found[1]] if isinstance(found[1], list) else []
        calls = [call for call in listed if call is not None]
        return (found[0], calls) if calls and len(calls) == len(listed) else NONE
    named = _NAME.match(text, at)
    if named is None:
        return NONE
    end = named.end()
    if "[ARGS]".startswith(text[end:]) and len(text) - end < len("[ARGS]"):
        return WAIT
    end += len("[ARGS]") if text.startswith("[ARGS]", end) else 0
    found = read_json(text, end)
    if isinstance(found, str):
        return found
    return found[0], [ToolCall(named[0], _written(found[1]))]


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


FORMATS: dict[str, Format] = {
    item.name: item
    for item in (
        Format("llama3", ("<|python_tag|>",), ("{",), ";", _object_call),
        Format("mistral", ("[TOOL_CALLS]",), ('[{"',), "[TOOL_CALLS]", _mistral_calls, id_length=9),
        Format("hermes", ("<tool_call>",), (), "<tool_call>", _hermes_call, closing="</tool_call>"),
    )
}
FORMATS["qwen"] = FORMATS["hermes"]
