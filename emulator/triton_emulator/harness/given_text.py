"""A plan as a text, as `--fault` takes it: a fault, and fields after it, as `error(503) operation=generate times=2`."""

import ast
import re
from collections.abc import Iterator
from typing import Any

from triton_emulator.harness.given import GivenPlan, plan_of

#: the fields whose values are texts, which need not be quoted
_TEXTS = frozenset(("operation", "model", "version", "protocol"))


def plan_of_text(text: str) -> GivenPlan:
    """The plan that a text means. Raises ValueError."""
    words = list(_words(text))
    start = next((at for at, word in enumerate(words) if _FIELD.match(word)), len(words))
    if not start:
        raise ValueError("a plan begins with its fault, for example: error(503) operation=generate times=2")
    given: dict[str, Any] = {"fault": " ".join(words[:start])}
    if given["fault"].endswith(","):
        raise ValueError(
            "a space is between a fault and its fields, not a comma: error(503) operation=generate"
        )
    for word in words[start:]:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(
                f"{word!r} is no field of a plan; write it as name=value, and quote a text with spaces"
            )
        if name in given:
            raise ValueError(f"{name} is given twice")
        given[name] = _value(name, value)
    return plan_of(given)


_FIELD = re.compile(r"[A-Za-z_]+=(?!=)")


def _words(text: str) -> Iterator[str]:
    """The words of a text: white space within brackets or quotes does not end one."""
    word: list[str] = []
    depth, quote, escaped = 0, "", False
    for character in text:
        if quote:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character.isspace() and depth <= 0:
            if word:
                yield "".join(word)
            word = []
            continue
        word.append(character)
    if word:
        yield "".join(word)


def _value(name: str, text: str) -> Any:
    """The value of a field: a literal; of a field that is a text, the text itself unless it is quoted."""
    if name in _TEXTS and text[:1] not in ("'", '"'):
        return text
    try:
        return None if text == "null" else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text  # which the field refuses
