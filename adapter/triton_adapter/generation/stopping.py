"""Enforces stop sequences: the text ends before the first one, wherever the chunks are cut.

Backends differ: TensorRT-LLM leaves the stop words in its text, some models have no input for them. OpenAI's rule is
that the text ends before the sequence, so the adapter cuts every answer, whether or not the model got the sequences.
"""

from collections.abc import Sequence


class StopCutter:
    """Passes text on until a stop sequence appears; `hit` says that one did."""

    __slots__ = ("_held", "_stops", "hit")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Return what may be shown: the text that cannot be part of a stop sequence any more."""
        if self.hit:
            return ""
        text = self._held + text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)]
        keep = max((longest_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> str:
        """Return the text that was held back as the possible beginning of a stop sequence."""
        held, self._held = self._held, ""
        return held


def longest_overlap(text: str, marker: str) -> int:
    """Return the length of the longest end of `text` that begins `marker` without being all of it."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
