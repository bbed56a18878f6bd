"""How families of models write tool calls, as a table. Pure.

A format says where calls begin (`markers`, or the very start of the text: `openings`) and reads one call from a
position. A detokenizer that skips special tokens removes some markers, hence the openings.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    return end, value


def _closed(text: str, at: int) -> bool:
    """Tell whether the braces opened at `at` are closed again: then what failed to parse never will."""
    depth, inside, escaped = 0, False, False
    for character in text[at:]:
        if escaped:
            escaped = False
        elif inside:
            escaped, inside = character == "\\", character != '"'
        elif character == '"':
            inside = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return True
    return False


def _inside_string(text: str, at: int) -> bool:
    return not _closed(text, at) and text.count('"', at) % 2 == 1


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # some models write the arguments as JSON text already
        return ToolCall(value["name"], arguments)
    return ToolCall(value["name"], dumps(arguments).decode())


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
    return found[0], [ToolCall(named[0], dumps(found[1]).decode())]


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
