"""Stop sequences, enforced here: the text ends before the first one, wherever the chunks are cut.

Backends differ: TensorRT-LLM leaves the stop words in its text, some models take none. OpenAI's rule is that the
text ends before the sequence, so the adapter applies it to every answer, whether or not the model was told.
"""

from collections.abc import Sequence


class StopCutter:
    """Feeds text through until a stop sequence is seen. `hit` says that it was."""

    __slots__ = ("_held", "_stops", "hit")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Return what may be shown: everything that can no longer be part of a stop sequence."""
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
        """Return what was held back for a stop sequence that never came."""
        held, self._held = self._held, ""
        return held


def longest_overlap(text: str, marker: str) -> int:
    """Return the length of the longest end of `text` that begins `marker` without being all of it."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
