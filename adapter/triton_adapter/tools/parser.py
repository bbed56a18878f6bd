"""The tool parser: takes a model's text as it comes, gives text to show and calls to make.

Text that turns out to be no call (unknown function, broken JSON, cut off) is shown as text: nothing is lost.
"""

import secrets
import string
from collections.abc import Collection

from triton_adapter.stopping import longest_overlap
from triton_adapter.tools.formats import WAIT, Brackets, Format, ToolCall

_ALPHABET = string.ascii_letters + string.digits
Parsed = tuple[str, list[ToolCall]]


class ToolParser:
    """Reads one choice's text. With `single`, calls after the first are refused (`parallel_tool_calls: false`)."""

    __slots__ = (
        "_again",
        "_blank",
        "_brackets",
        "_buffer",
        "_calling",
        "_format",
        "_names",
        "_open",
        "_shown",
        "_single",
        "calls",
    )

    def __init__(self, form: Format, names: Collection[str], *, single: bool = False) -> None:
        self._format = form
        self._names = names
        self._single = single
        self._buffer = ""
        self._calling = False
        self._shown = False  # there was text or a call, so that none can open the text any more
        self._blank = True  # nothing but blanks since the start, or since the last call: they are held back
        self._again = False  # a call has just ended, and another may follow without a marker
        self._open = ""  # the marker that began the calls, shown if they are none
        self._brackets: Brackets | None = None  # of a call that is not over before they are closed
        self.calls = 0

    def feed(self, text: str) -> Parsed:
        """Take text; return the text to show and the calls that are complete."""
        self._buffer += text
        # A long call that comes token by token is not read anew with each of them.
        if self._brackets is not None and not self._brackets.feed(text):
            return "", []
        self._brackets = None
        return self._advance(final=False)

    def end(self) -> Parsed:
        """Return what was held back, when the text is over."""
        shown, calls = self._advance(final=True)
        rest = self._open + self._buffer
        if self.calls and not rest.strip(" \t\r\n;"):
            rest = ""  # what stands between and after calls is no text
        self._buffer = self._open = ""
        return shown + rest, calls

    def _advance(self, *, final: bool) -> Parsed:
        shown = ""
        calls: list[ToolCall] = []
        more = True
        while more:
            if self._calling:
                part, found, more = self._read_calls(final=final)
                calls += found
            else:
                part, more = self._until_call()
            shown += part
        return shown, calls

    def _until_call(self) -> tuple[str, bool]:
        text = self._buffer
        if not self._shown:
            start = text.lstrip()
            if any(start.startswith(opening) for opening in self._format.openings):
                self._open, self._buffer, self._calling = text[: len(text) - len(start)], start, True
                return "", True
            if any(opening.startswith(start) for opening in self._format.openings):
                return "", False
        if self._again:
            start = text.lstrip()
            if not start:
                return "", False
            self._again = False
            if start[0] in ";{":
                rest = start.lstrip("; \t\r\n")
                self._open, self._buffer, self._calling = text[: len(text) - len(rest)], rest, True
                return "", True
        for marker in self._format.markers:
            at = text.find(marker)
            if at >= 0:
                before, self._buffer, self._calling = text[:at], text[at + len(marker) :], True
                if self._blank and not before.strip():
                    # The line breaks before, between and after calls are no text, unless what follows is no call.
                    self._open = before + marker
                    return "", True
                self._open = marker
                self._shown |= bool(before)
                return before, True
        keep = max((longest_overlap(text, marker) for marker in self._format.markers), default=0)
        shown = text[: len(text) - keep]
        if self._blank and not shown.strip():
            return "", False
        self._buffer = text[len(text) - keep :]
        self._blank, self._shown = False, True
        return shown, False

    def _read_calls(self, *, final: bool) -> tuple[str, list[ToolCall], bool]:
        """Return text, calls and whether there may be more in the buffer."""
        found = self._format.read(self._buffer, 0)
        if found == WAIT and not final:
            brackets = Brackets()
            brackets.feed(self._buffer)
            self._brackets = brackets if brackets.depth else None
            return "", [], False
        if found == WAIT and self._format.closing:  # the model stopped without its closing tag
            found = self._format.read(self._buffer + self._format.closing, 0)
        if isinstance(found, str):
            # Cut off, or no call from its first letter on: a later marker may still begin one.
            return ("", [], False) if found == WAIT else self._not_a_call(1)
        end, calls = found
        if any(call.name not in self._names for call in calls):
            return self._not_a_call(end)
        self._buffer = self._buffer[end:]
        self._open = ""
        for call in calls:
            call.id = "".join(secrets.choice(_ALPHABET) for _ in range(self._format.id_length))
            call.id = call.id if self._format.id_length == 9 else f"call_{call.id}"
        kept = calls[: max(0, 1 - self.calls)] if self._single else calls
        self.calls += len(calls)
        self._calling, self._shown, self._blank = False, True, True
        self._again = (
            self._format.between == ";"
        )  # Llama's calls follow each other without a marker of their own
        return "", kept, True

    def _not_a_call(self, length: int) -> tuple[str, list[ToolCall], bool]:
        text = self._open + self._buffer[:length]
        self._buffer = self._buffer[length:]
        self._open, self._calling, self._shown, self._blank = "", False, True, False
        return text, [], bool(self._buffer)
