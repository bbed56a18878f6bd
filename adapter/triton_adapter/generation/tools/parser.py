"""The tool parser: reads a model's text as it comes and tells the text to show from the calls to make.

The rules
---------

A call begins when its name is known and is one of the offered ones. From then on its arguments are passed on as the
model writes them. Text that turns out before that to be no call (an unknown function, broken JSON, an early end) is
shown as text. So no text is lost, and nothing that was passed on is taken back. How the text is cut into pieces
changes nothing: every cut gives the same text and the same calls.

What begins as a call does, with a bracket, may turn out to be none. Then all of it is text, up to its last bracket. A
marker inside of it begins no call. The same holds in two more places: after the arguments of a call, if a comma follows
and then no JSON; and in a list of calls, if a comma follows and then no call. If no comma follows the arguments, the
call has ended there. Its bracket is missing.

Theory of operation
-------------------

`states` explains the states and has the table of transitions. Here each state has a reader. `ToolParser` runs the
reader of its state until one needs more text: the reader reports what it found, the table gives the next state.

Text that is waited for
-----------------------

Reading the buffer anew with every token would take time that grows with the square of the text. So a reader that
needs a certain thing (a closing bracket, anything but blanks) leaves a test for it in `_awaited`. Text that does not
pass the test is put aside in `_pieces`, and is neither joined nor read until some text does.

For the same reason `_at` says how far the buffer has been read, and what has been read is cut off only once, at the end
of `_read`. A reader that looks far ahead either takes all that it has looked at, or waits for more text.
"""

import re
import secrets
import string
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from triton_adapter.generation.tools.formats import (
    BROKEN,
    HEAD_LIMIT,
    WAIT,
    Brackets,
    Format,
    Head,
    read_object,
    read_rest,
    read_separator,
    skip,
)
from triton_adapter.generation.tools.parts import CallPart, merged
from triton_adapter.generation.tools.states import TRANSITIONS, Event, State

_ALPHABET = string.ascii_letters + string.digits
_BETWEEN = "; \t\r\n"  # what may stand between two calls
_JOINING = ", \t\r\n"  # what may stand between two members
_SEPARATORS = re.compile(f"[{_BETWEEN}]*")


Parsed = tuple[str, list[CallPart]]


class ToolParser:
    """Reads the text of one choice. With `single`, calls after the first are read and dropped.

    `single` is OpenAI's `parallel_tool_calls: false`. `calls` counts the calls begun so far. `cut` is true while the
    arguments of the last call have not ended.
    """

    __slots__ = (
        "_at",
        "_awaited",
        "_bare",
        "_brackets",
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
        # Text that has not been taken: what the readers have seen, from `_at` on; what came after it, and what they
        # wait for.
        self._buffer = ""
        self._at = 0
        self._pieces: list[str] = []
        self._awaited: Callable[[str], bool] | None = None
        self._final = False  # the text has ended
        # The call that is being read.
        self._open = ""  # the marker that began it and blanks, to be shown if it turns out to be none
        self._listed = False  # it is an item of a JSON list
        self._bare = False  # nothing of it follows its arguments
        self._muted = False  # it is one too many: read, but not passed on
        self._brackets = Brackets()  # those of its arguments, or of what is no call
        # What the next return of `feed` or `end` passes on.
        self._texts: list[str] = []
        self._parts: list[CallPart] = []

    def __repr__(self) -> str:
        held = len(self._open) + len(self._buffer) + sum(map(len, self._pieces))
        calls = f"{self.calls} call{'' if self.calls == 1 else 's'}"
        return f"<ToolParser {self._format.name} [{self.state.name}, {calls}, {held} characters held back]>"

    def feed(self, text: str) -> Parsed:
        """Take text; return the text to show and what is new of the calls."""
        self._read(text)
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
        if self._at:
            self._buffer, self._at = self._buffer[self._at :], 0

    def _passed_on(self) -> Parsed:
        parsed = "".join(self._texts), self._parts if len(self._parts) < 2 else merged(self._parts)
        self._texts, self._parts = [], []
        return parsed

    # --- the readers of the states

    def _read_start(self) -> Event | None:
        start = skip(self._buffer, self._at)
        if any(self._buffer.startswith(opening, start) for opening in self._format.openings):
            return self._opening(start)
        rest = self._buffer[start:]
        if any(opening.startswith(rest) for opening in self._format.openings):
            self._awaited = None if rest else _is_text
            return None
        return self._read_gap()

    def _read_next(self) -> Event | None:
        between = _SEPARATORS.match(self._buffer, self._at)
        assert between is not None  # noqa: S101 - it matches nothing, too
        end = between.end()
        if end == len(self._buffer):
            self._awaited = _is_more
            return None
        return self._opening(end) if self._buffer[end] == "{" or ";" in between[0] else Event.OTHER

    def _read_gap(self) -> Event | None:
        end, after = self._marker()
        if self._buffer[self._at : end].strip():
            return Event.OTHER
        if after:
            return self._opening(after)
        self._awaited = _is_text if end == len(self._buffer) else None
        return None

    def _read_text(self) -> Event | None:
        end, after = self._marker()
        self._show(end)
        return self._opening(after) if after else None

    def _read_head(self) -> Event | None:
        """Read up to the arguments of a call, or all of it where they come first, or are no object."""
        start = skip(self._buffer, self._at)
        self._open += self._buffer[self._at : start]
        self._at = start
        if start == len(self._buffer):
            self._awaited = _is_text
            return None
        read = read_object if self._listed else self._format.read
        found = read(self._buffer, start)
        if found == WAIT:
            if len(self._buffer) - start > HEAD_LIMIT:
                self._wait_for_brackets()
            return None
        if isinstance(found, str):  # there is no call
            return self._no_call(start, self._listed)
        if isinstance(found, Head):
            if found.name not in self._names:
                opened = (1 if found.bare else 2) + (found.listed or self._listed)
                return self._no_call(found.end + 1, opened)
            self._take(found.end)
            self._begin(found.name, "")
            self._listed |= found.listed
            self.cut = not self._muted
            self._bare, self._brackets = found.bare, Brackets()
            return Event.NAMED
        end, calls = found
        if not calls or any(call.name not in self._names for call in calls):
            return self._no_call(end, self._listed)
        self._take(end)
        for call in calls:
            self._begin(call.name, call.arguments)
        return Event.WHOLE

    def _read_arguments(self) -> Event | None:
        written, closed = self._bracketed()
        if written:
            self._add(CallPart(self.calls - 1, written))
        if not closed:
            return None
        self.cut = False
        return Event.ENDED if self._bare else Event.CLOSED

    def _read_tail(self) -> Event | None:
        end = read_rest(self._buffer, self._at)
        if end == WAIT:
            self._drop_or_wait(1)
            return None
        if end is BROKEN:
            return self._no_call(self._at, 1 + self._listed)
        if isinstance(end, int):
            self._take(end)
        return Event.ENDED

    def _read_quoted(self) -> Event | None:
        text, closed = self._bracketed()
        self._texts.append(text)
        return Event.NO_CALL if closed else None

    def _read_separator(self) -> Event | None:
        found = read_separator(self._buffer, self._at, self._format.closing, listed=self._listed)
        if isinstance(found, str):
            self._drop_or_wait(0)
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
        State.QUOTED: _read_quoted,
        State.SEPARATOR: _read_separator,
    }

    # --- what the readers have in common

    def _marker(self) -> tuple[int, int]:
        """Find the first marker: return where the text before it ends, and where the marker ends.

        If there is none, the second is 0. The last letters, if they may begin a marker, are not of the text before it.
        """
        text = self._buffer
        for marker in self._format.markers:
            found = text.find(marker, self._at)
            if found >= 0:
                return found, found + len(marker)
        held = max((_overlap(text, self._at, marker) for marker in self._format.markers), default=0)
        return len(text) - held, 0

    def _opening(self, end: int) -> Event:
        """Keep what may begin a call, to show it if it does not."""
        self._open, self._at = self._buffer[self._at : end], end
        return Event.OPENING

    def _show(self, end: int) -> None:
        """Take text up to an index, and show it."""
        self._texts.append(self._open + self._buffer[self._at : end])
        self._take(end)

    def _take(self, end: int) -> None:
        """Drop what has been read, and the marker before it."""
        self._at, self._open = end, ""

    def _no_call(self, end: int, depth: int) -> Event:
        """Show what looked like the beginning of a call, up to an index where `depth` of its brackets are open."""
        self._show(end)
        self._listed, self._brackets = False, Brackets(depth)
        return Event.UNCLOSED if depth else Event.NO_CALL

    def _bracketed(self) -> tuple[str, bool]:
        """Take text up to where all brackets are closed; return it, and whether they are."""
        begin, end = self._at, self._brackets.close(self._buffer, self._at)
        self._at = len(self._buffer) if end < 0 else end
        return self._buffer[begin : self._at], end >= 0

    def _wait_for_brackets(self, depth: int = 0) -> None:
        """Wait until the brackets that the text leaves open are closed, or for more than blanks after a blank.

        `depth` counts the brackets that were open before the text.
        """
        brackets, at = Brackets(depth), self._at
        while at >= 0:
            at = brackets.close(self._buffer, at)
        if brackets.depth:
            self._awaited = lambda more: brackets.close(more) >= 0
        elif self._buffer[-1:].isspace():
            self._awaited = _is_text

    def _drop_or_wait(self, depth: int) -> None:
        """Wait for the end of a call whose arguments are complete, or drop what came of it if the text is over."""
        if self._final:
            self._at = len(self._buffer)
        elif not self._buffer[self._at :].strip(_JOINING):
            self._awaited = _is_text
        elif depth:
            self._wait_for_brackets(depth)

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


def _overlap(text: str, at: int, marker: str) -> int:
    """Return the length of the longest end of `text` from `at` on that begins `marker`, without being all of it."""
    for length in range(min(len(text) - at, len(marker) - 1), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0
