"""The tool parser: takes a model's text as it comes, gives text to show and calls to make.

Text that turns out to be no call (unknown function, broken JSON, cut off) is shown as text: nothing is lost.
"""

import secrets
import string
from collections.abc import Collection

from triton_adapter.stopping import longest_overlap
from triton_adapter.tools.formats import WAIT, Format, ToolCall

_ALPHABET = string.ascii_letters + string.digits
Parsed = tuple[str, list[ToolCall]]


class ToolParser:
    """Reads one choice's text. With `single`, calls after the first are refused (`parallel_tool_calls: false`)."""

    __slots__ = ("_buffer", "_calling", "_format", "_names", "_open", "_shown", "_single", "calls")

    def __init__(self, form: Format, names: Collection[str], *, single: bool = False) -> None:
        self._format = form
        self._names = names
        self._single = single
        self._buffer = ""
        self._calling = False
        self._shown = False
        self._open = ""  # the marker that began the calls, shown if they are none
        self.calls = 0

    def feed(self, text: str) -> Parsed:
        """Take text; return the text to show and the calls that are complete."""
        self._buffer += text
        shown = ""
        calls: list[ToolCall] = []
        while True:
            if not self._calling:
                part, begun = self._until_call()
                shown += part
                if not begun:
                    return shown, calls
            part, found, more = self._read_calls(final=False)
            shown += part
            calls += found
            if not more:
                return shown, calls

    def end(self) -> Parsed:
        """Return what was held back, when the text is over."""
        shown = ""
        calls: list[ToolCall] = []
        if self._calling:
            shown, calls, _ = self._read_calls(final=True)
        shown += self._open + self._buffer if not self._only_separators() else ""
        self._buffer = self._open = ""
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
        for marker in self._format.markers:
            at = text.find(marker)
            if at >= 0:
                self._open, self._buffer, self._calling = marker, text[at + len(marker) :], True
                before = text[:at].rstrip() if not text[:at].strip() else text[:at]
                self._shown |= bool(before)
                return before, True
        keep = max((longest_overlap(text, marker) for marker in self._format.markers), default=0)
        shown, self._buffer = text[: len(text) - keep], text[len(text) - keep :]
        if self.calls and not shown.strip():
            shown = ""  # the line breaks between and after calls are no text
        self._shown |= bool(shown)
        return shown, False

    def _read_calls(self, *, final: bool) -> tuple[str, list[ToolCall], bool]:
        """Return text, calls and whether there may be more in the buffer."""
        if self.calls and self._format.between == ";" and self._calling:
            self._buffer = self._buffer.lstrip(" \t\r\n;")
        found = self._format.read(self._buffer, 0)
        if found == WAIT and not final:
            return "", [], False
        if found == WAIT and self._format.closing:  # the model stopped without its closing tag
            found = self._format.read(self._buffer + self._format.closing, 0)
        if isinstance(found, str):
            return self._not_a_call(len(self._buffer))
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
        self._shown = True
        rest = self._buffer.lstrip()
        if self._format.between == ";":
            # Llama's calls follow each other without a marker of their own.
            self._calling = rest.startswith((";", "{"))
            if self._calling:
                self._buffer = rest.removeprefix(";").lstrip()
                return "", kept, bool(self._buffer)
            if rest:
                return "", kept, True
            self._buffer = ""
            self._calling = True
            return "", kept, False
        self._calling = False
        return "", kept, True

    def _not_a_call(self, length: int) -> tuple[str, list[ToolCall], bool]:
        text = self._open + self._buffer[:length]
        self._buffer = self._buffer[length:]
        self._open, self._calling, self._shown = "", False, True
        return text, [], bool(self._buffer)

    def _only_separators(self) -> bool:
        return bool(self.calls) and not self._buffer.strip(" \t\r\n;")
