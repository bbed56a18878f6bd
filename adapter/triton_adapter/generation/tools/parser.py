"""The tool parser: takes a model's text as it comes, gives text to show and calls to make.

A call begins when its name is known and is one of those offered: from then on its arguments are passed on as the
model writes them. Text that turns out to be no call before that (unknown function, broken JSON, cut off) is shown as
text: nothing is lost, and nothing is taken back.
"""

import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass

from triton_adapter.generation.stopping import longest_overlap
from triton_adapter.generation.tools.formats import (
    HEAD_LIMIT,
    NONE,
    WAIT,
    Brackets,
    Format,
    Head,
    ToolCall,
    read_object,
    read_rest,
    read_separator,
)

_ALPHABET = string.ascii_letters + string.digits


@dataclass(slots=True)
class CallPart:
    """What is new of the call at `index`: its beginning, which has a name and an id, or more of its arguments."""

    index: int
    arguments: str
    name: str = ""
    id: str = ""


Parsed = tuple[str, list[CallPart]]


class ToolParser:
    """Reads one choice's text. With `single`, calls after the first are refused (`parallel_tool_calls: false`).

    `cut` says that the last call is not over.
    """

    __slots__ = (
        "_again",
        "_blank",
        "_brackets",
        "_buffer",
        "_final",
        "_format",
        "_head",
        "_listed",
        "_muted",
        "_names",
        "_open",
        "_parts",
        "_shown",
        "_single",
        "_step",
        "_texts",
        "calls",
        "cut",
    )

    def __init__(self, form: Format, names: Collection[str], *, single: bool = False) -> None:
        self._format = form
        self._names = names
        self._single = single
        self._buffer = ""
        self._step = self._until_call  # takes from the buffer; tells whether there may be more in it
        self._final = False
        self._shown = False  # there was text or a call, so that none can open the text any more
        self._blank = True  # nothing but blanks since the start, or since the last call: they are held back
        self._again = False  # a call has just ended, and another may follow without a marker
        self._open = ""  # the marker that began the calls, shown if they are none
        self._listed = False  # the call is one of a JSON list
        self._head: Head | None = None  # of the call whose arguments are coming
        self._muted = False  # the call is one too many
        self._brackets: Brackets | None = None  # of what is not over before they are closed
        self._texts: list[str] = []
        self._parts: list[CallPart] = []
        self.calls = 0
        self.cut = False

    def feed(self, text: str) -> Parsed:
        """Take text; return the text to show and what is new of the calls."""
        self._buffer += text
        # What is long and comes token by token is not read anew with each of them.
        if self._step != self._arguments and self._brackets is not None:
            if self._brackets.close(text) < 0:
                return "", []
            self._brackets = None
        return self._advance()

    def end(self) -> Parsed:
        """Return what was held back, when the text is over."""
        self._final = True
        self._brackets = None if self._step != self._arguments else self._brackets
        shown, parts = self._advance()
        rest = self._open + self._buffer
        if self.calls and not rest.strip(" \t\r\n;"):
            rest = ""  # what stands between and after calls is no text
        self._buffer = self._open = ""
        return shown + rest, parts

    def _advance(self) -> Parsed:
        while self._step():
            pass
        parsed = "".join(self._texts), self._parts
        self._texts, self._parts = [], []
        return parsed

    def _until_call(self) -> bool:
        text = self._buffer
        if not self._shown:
            start = text.lstrip()
            if any(start.startswith(opening) for opening in self._format.openings):
                return self._may_call(text[: len(text) - len(start)], start)
            if any(opening.startswith(start) for opening in self._format.openings):
                return False
        if self._again:
            rest = text.lstrip("; \t\r\n")
            if not rest:
                return False
            self._again = False
            if rest[0] == "{" or ";" in text[: len(text) - len(rest)]:
                return self._may_call(text[: len(text) - len(rest)], rest)
        for marker in self._format.markers:
            at = text.find(marker)
            if at >= 0:
                before, rest = text[:at], text[at + len(marker) :]
                if self._blank and not before.strip():
                    # The line breaks before, between and after calls are no text, unless what follows is no call.
                    return self._may_call(before + marker, rest)
                self._shown |= bool(before)
                self._texts.append(before)
                return self._may_call(marker, rest)
        keep = max((longest_overlap(text, marker) for marker in self._format.markers), default=0)
        shown = text[: len(text) - keep]
        if self._blank and not shown.strip():
            return False
        self._buffer = text[len(text) - keep :]
        self._blank, self._shown = False, True
        self._texts.append(shown)
        return False

    def _may_call(self, opened: str, rest: str) -> bool:
        self._open, self._buffer, self._step = opened, rest, self._beginning
        return True

    def _beginning(self) -> bool:
        """Read up to the arguments of a call, or all of it where they come first, or are no object."""
        found = read_object(self._buffer) if self._listed else self._format.read(self._buffer)
        if isinstance(found, str):
            if found == NONE:
                return self._not_a_call(1)  # from its first letter on: a later marker may still begin one
            return self._wait(self._buffer if len(self._buffer) > HEAD_LIMIT else "")
        if isinstance(found, Head):
            if found.name not in self._names:
                return self._not_a_call(found.end)
            self._buffer, self._open = self._buffer[found.end :], ""
            self._begin(found.name, "")
            self._listed |= found.listed
            self.cut = not self._muted
            self._head, self._brackets, self._step = found, Brackets(), self._arguments
            return True
        end, calls = found
        if any(call.name not in self._names for call in calls):
            return self._not_a_call(end)
        self._buffer, self._open, self._step = self._buffer[end:], "", self._separator
        for call in calls:
            self._begin(call.name, call.arguments)
        return True

    def _begin(self, name: str, arguments: str) -> None:
        self._muted = self._single and self.calls > 0
        self.calls += 1
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(self._format.id_length))
        identifier = letters if self._format.id_length == 9 else f"call_{letters}"
        self._add(CallPart(self.calls - 1, arguments, name, identifier))

    def _arguments(self) -> bool:
        if self._brackets is None or self._head is None:
            raise AssertionError("arguments without a head")
        end = self._brackets.close(self._buffer)
        written = self._buffer if end < 0 else self._buffer[:end]
        self._buffer = self._buffer[len(written) :]
        if written:
            self._add(CallPart(self.calls - 1, written))
        if end < 0:
            return False
        self.cut, self._brackets = False, None
        self._step = self._separator if self._head.bare else self._rest
        return True

    def _rest(self) -> bool:
        end = read_rest(self._buffer)
        if end == WAIT:
            return self._wait("{" + self._buffer if self._buffer.strip() else "")
        self._buffer = self._buffer[end:] if isinstance(end, int) else self._buffer
        self._step = self._separator
        return True

    def _separator(self) -> bool:
        found = read_separator(self._buffer, self._format.closing, listed=self._listed)
        if isinstance(found, str):
            return self._wait("")
        end, self._listed = found
        self._buffer = self._buffer[end:]
        if self._listed:
            return self._may_call("", self._buffer)
        self._shown, self._blank, self._step = True, True, self._until_call
        self._again = (
            self._format.between == ";"
        )  # Llama's calls follow each other without a marker of their own
        return True

    def _wait(self, unclosed: str) -> bool:
        """Wait for more text: if brackets of `unclosed` are open, until they are closed."""
        if self._final:
            if self._step != self._beginning:
                self._buffer = ""  # the end of a call that was cut off behind its arguments
        elif unclosed:
            brackets = Brackets()
            brackets.close(unclosed)
            self._brackets = brackets if brackets.depth else None
        return False

    def _add(self, part: CallPart) -> None:
        if self._muted:
            return
        if self._parts and self._parts[-1].index == part.index:
            self._parts[-1].arguments += part.arguments
        else:
            self._parts.append(part)

    def _not_a_call(self, length: int) -> bool:
        self._texts.append(self._open + self._buffer[:length])
        self._buffer = self._buffer[length:]
        self._open, self._listed, self._shown, self._blank = "", False, True, False
        self._step = self._until_call
        return bool(self._buffer)


def joined(calls: list[ToolCall], parts: list[CallPart]) -> None:
    """Add to calls what is new of them."""
    for part in parts:
        if part.name:
            calls.append(ToolCall(part.name, part.arguments, part.id))
        else:
            calls[part.index].arguments += part.arguments
