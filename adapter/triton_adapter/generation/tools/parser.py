"""The tool parser: reads a model's text as it comes and tells the text to show from the calls to make.

The rules
---------

A call begins when its name is known and is one of the offered ones. From then on its arguments are passed on as the
model writes them. Text that turns out before that to be no call (an unknown function, broken JSON, an early end) is
shown as text. So no text is lost, and nothing that was passed on is taken back. How the text is cut into pieces
changes nothing: every cut gives the same text and the same calls.

Theory of operation
-------------------

`states` explains the states and has the table of transitions. Here each state has a reader. `ToolParser` runs the
reader of its state until one needs more text: the reader reports what it found, the table gives the next state.

Text that is waited for
-----------------------

Reading the buffer anew with every token would take time that grows with the square of the text. So a reader that
needs a certain thing (a closing bracket, anything but blanks) leaves a test for it in `_awaited`. Text that does not
pass the test is put aside in `_pieces`, and is neither joined nor read until some text does.

For the same reason no text is read twice as a call. What looks like a call from its first bracket to its last, and is
none, is text as a whole; a marker inside of it begins no call.
"""

import secrets
import string
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import ClassVar

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
from triton_adapter.generation.tools.states import TRANSITIONS, Event, State

_ALPHABET = string.ascii_letters + string.digits
_BETWEEN = "; \t\r\n"  # what may stand between two calls
# Longer text is read in pieces of so many characters: what a reader takes is cut off the rest by a copy of the rest.
PIECE = 4096


@dataclass(slots=True)
class CallPart:
    """What is new of the call at `index`: its beginning, which has a name and an id, or more of its arguments."""

    index: int
    arguments: str
    name: str = ""
    id: str = ""


Parsed = tuple[str, list[CallPart]]


class ToolParser:
    """Reads the text of one choice. With `single`, calls after the first are read and dropped.

    `single` is OpenAI's `parallel_tool_calls: false`. `calls` counts the calls begun so far. `cut` is true while the
    arguments of the last call have not ended.
    """

    __slots__ = (
        "_arguments",
        "_awaited",
        "_bare",
        "_buffer",
        "_final",
        "_format",
        "_listed",
        "_muted",
        "_names",
        "_open",
        "_parts",
        "_pieces",
        "_single",
        "_texts",
        "calls",
        "cut",
        "state",
    )

    def __init__(self, form: Format, names: Collection[str], *, single: bool = False) -> None:
        self._format = form
        self._names = names
        self._single = single
        self.state = State.START
        self.calls = 0
        self.cut = False
        # Text that has not been taken: what the readers have seen, what came after it, and what they wait for.
        self._buffer = ""
        self._pieces: list[str] = []
        self._awaited: Callable[[str], bool] | None = None
        self._final = False  # the text has ended
        # The call that is being read.
        self._open = ""  # the marker that began it, to be shown if it turns out to be none
        self._listed = False  # it is an item of a JSON list
        self._bare = False  # nothing of it follows its arguments
        self._muted = False  # it is one too many: read, but not passed on
        self._arguments = Brackets()
        # What the next return of `feed` or `end` passes on.
        self._texts: list[str] = []
        self._parts: list[CallPart] = []

    def __repr__(self) -> str:
        held = len(self._open) + len(self._buffer) + sum(map(len, self._pieces))
        calls = f"{self.calls} call{'' if self.calls == 1 else 's'}"
        return f"<ToolParser {self._format.name} [{self.state.name}, {calls}, {held} characters held back]>"

    def feed(self, text: str) -> Parsed:
        """Take text; return the text to show and what is new of the calls."""
        if len(text) <= PIECE:
            self._read(text)
        else:
            for at in range(0, len(text), PIECE):
                self._read(text[at : at + PIECE])
        return self._passed_on()

    def end(self) -> Parsed:
        """Return what was held back, when the text is over."""
        self._final, self._awaited = True, None
        self._read("")
        shown, parts = self._passed_on()
        rest = self._open + self._buffer
        if self.calls and not rest.strip(_BETWEEN):
            rest = ""  # what stands between and after calls is no text
        self._buffer = self._open = ""
        return shown + rest, parts

    def _read(self, text: str) -> None:
        """Run the machine until a reader needs more text."""
        if self._awaited is not None:
            if not self._awaited(text):
                self._pieces.append(text)
                return
            self._awaited = None
        if self._pieces:
            text = "".join((*self._pieces, text))
            self._pieces = []
        self._buffer += text
        while (event := self.READERS[self.state](self)) is not None:
            self.state = TRANSITIONS[self.state][event]

    def _passed_on(self) -> Parsed:
        parsed = "".join(self._texts), self._parts if len(self._parts) < 2 else merged(self._parts)
        self._texts, self._parts = [], []
        return parsed

    # --- the readers of the states

    def _read_start(self) -> Event | None:
        start = self._buffer.lstrip()
        blanks = len(self._buffer) - len(start)
        if any(start.startswith(opening) for opening in self._format.openings):
            return self._opening(blanks)
        if any(opening.startswith(start) for opening in self._format.openings):
            self._awaited = None if start else _is_text
            return None
        return self._read_gap()

    def _read_next(self) -> Event | None:
        rest = self._buffer.lstrip(_BETWEEN)
        if not rest:
            self._awaited = _is_more
            return None
        between = len(self._buffer) - len(rest)
        if rest[0] == "{" or ";" in self._buffer[:between]:
            return self._opening(between)
        return Event.OTHER

    def _read_gap(self) -> Event | None:
        before, end, held = self._marker()
        if before.strip():
            return Event.OTHER
        if end:
            return self._opening(end)
        self._awaited = None if held else _is_text
        return None

    def _read_text(self) -> Event | None:
        before, end, _ = self._marker()
        self._texts.append(before)
        self._buffer = self._buffer[len(before) :]
        return self._opening(end - len(before)) if end else None

    def _read_head(self) -> Event | None:
        """Read up to the arguments of a call, or all of it where they come first, or are no object."""
        found = read_object(self._buffer) if self._listed else self._format.read(self._buffer)
        if isinstance(found, str):
            if found == NONE:
                return self._no_call(1)  # its first letter is text; a later marker may still begin a call
            if len(self._buffer) > HEAD_LIMIT:
                self._wait_for_brackets(self._buffer)
            return None
        if isinstance(found, Head):
            if found.name not in self._names:
                return self._no_call(found.end)
            self._take(found.end)
            self._begin(found.name, "")
            self._listed |= found.listed
            self.cut = not self._muted
            self._bare, self._arguments = found.bare, Brackets()
            return Event.NAMED
        end, calls = found
        if not calls or any(call.name not in self._names for call in calls):
            return self._no_call(end)
        self._take(end)
        for call in calls:
            self._begin(call.name, call.arguments)
        return Event.WHOLE

    def _read_arguments(self) -> Event | None:
        end = self._arguments.close(self._buffer)
        written = self._buffer if end < 0 else self._buffer[:end]
        self._buffer = self._buffer[len(written) :]
        if written:
            self._add(CallPart(self.calls - 1, written))
        if end < 0:
            return None
        self.cut = False
        return Event.ENDED if self._bare else Event.CLOSED

    def _read_tail(self) -> Event | None:
        end = read_rest(self._buffer)
        if end == WAIT:
            self._drop_or_wait("{" + self._buffer)
            return None
        if isinstance(end, int):
            self._take(end)
        return Event.ENDED

    def _read_separator(self) -> Event | None:
        found = read_separator(self._buffer, self._format.closing, listed=self._listed)
        if isinstance(found, str):
            self._drop_or_wait("")
            return None
        end, self._listed = found
        self._take(end)
        if self._listed:
            return Event.OPENING
        # Llama's calls follow each other without a marker of their own.
        return Event.CHAINED if self._format.between == ";" else Event.ENDED

    READERS: ClassVar[Mapping[State, Callable[["ToolParser"], Event | None]]] = {
        State.START: _read_start,
        State.TEXT: _read_text,
        State.NEXT: _read_next,
        State.GAP: _read_gap,
        State.HEAD: _read_head,
        State.ARGUMENTS: _read_arguments,
        State.TAIL: _read_tail,
        State.SEPARATOR: _read_separator,
    }

    # --- what the readers have in common

    def _marker(self) -> tuple[str, int, int]:
        """Find the first marker: return the text before it, and where it ends.

        If there is none, the end is 0, and the third value counts the last letters that may begin a marker: they do
        not belong to the text before it.
        """
        text = self._buffer
        for marker in self._format.markers:
            at = text.find(marker)
            if at >= 0:
                return text[:at], at + len(marker), 0
        held = max((_overlap(text, marker) for marker in self._format.markers), default=0)
        return text[: len(text) - held], 0, held

    def _opening(self, end: int) -> Event:
        """Keep what may begin a call, to show it if it does not."""
        self._open, self._buffer = self._buffer[:end], self._buffer[end:]
        return Event.OPENING

    def _no_call(self, length: int) -> Event:
        """Show what looked like the beginning of a call."""
        self._texts.append(self._open + self._buffer[:length])
        self._take(length)
        self._listed = False
        return Event.NO_CALL

    def _take(self, length: int) -> None:
        """Drop what has been read, and the marker before it."""
        self._buffer, self._open = self._buffer[length:], ""

    def _wait_for_brackets(self, text: str) -> None:
        """Wait until the brackets that `text` leaves open are closed, or for more than blanks after a blank."""
        brackets = Brackets()
        brackets.close(text)
        if brackets.depth:
            self._awaited = lambda more: brackets.close(more) >= 0
        elif text[-1:].isspace():
            self._awaited = _is_text

    def _drop_or_wait(self, unclosed: str) -> None:
        """Wait for the end of a call whose arguments are complete, or drop what came of it if the text is over."""
        if self._final:
            self._buffer = ""
        elif not self._buffer.strip():
            self._awaited = _is_text
        else:
            self._wait_for_brackets(unclosed)

    def _begin(self, name: str, arguments: str) -> None:
        self._muted = self._single and self.calls > 0
        self.calls += 1
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(self._format.id_length))
        identifier = letters if self._format.id_length == 9 else f"call_{letters}"
        self._add(CallPart(self.calls - 1, arguments, name, identifier))

    def _add(self, part: CallPart) -> None:
        if self._muted:
            return
        self._parts.append(part)


def _is_text(text: str) -> bool:
    return bool(text.strip())


def _is_more(text: str) -> bool:
    return bool(text.strip(_BETWEEN))


def _overlap(text: str, marker: str) -> int:
    """Return the length of the longest end of `text` that begins `marker`, which is short, without being all of it."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0


def merged(parts: Iterable[CallPart]) -> list[CallPart]:
    """Return one part for each call instead of several; they come in the order of the calls."""
    found = []
    for index, of in groupby(parts, attrgetter("index")):
        first, *rest = of
        arguments = "".join((first.arguments, *(part.arguments for part in rest)))
        found.append(CallPart(index, arguments, first.name, first.id))
    return found


def joined(parts: Iterable[CallPart]) -> list[ToolCall]:
    """Return the calls of all the parts of one choice."""
    return [ToolCall(call.name, call.arguments, call.id) for call in merged(parts)]
