"""Enforces stop sequences: the text ends before the first one, wherever the chunks are cut.

Backends differ: TensorRT-LLM leaves the stop words in its text, some models have no input for them. OpenAI's rule is
that the text ends before the sequence, so the adapter cuts every answer, whether or not the model got the sequences.

Where several sequences overlap, the one that is complete first ends the text: the others depend on text after it.

A client chooses the sequences and their length, and can choose a prompt that makes the model almost write them. So the
time is linear in the text, however long a sequence is: each is matched with the algorithm of Knuth, Morris and Pratt.
"""

from collections import deque
from collections.abc import Sequence


class StopCutter:
    """Passes text on until a stop sequence appears; `hit` says that one did."""

    __slots__ = ("_length", "_matchers", "_pieces", "_taken", "hit")

    def __init__(self, stops: Sequence[str]) -> None:
        self._matchers = [_Matcher(stop) for stop in stops]
        # The text that is held back: pieces as they came, the characters of the first that are passed on already, and
        # the number of characters that are not.
        self._pieces: deque[str] = deque()
        self._taken = 0
        self._length = 0
        self.hit = False

    def feed(self, text: str) -> str:
        """Return what may be shown: the text that cannot be part of a stop sequence any more."""
        if self.hit or not text:
            return ""
        ended = None
        for matcher in self._matchers:
            end = matcher.feed(text)
            if end >= 0 and (ended is None or (end, end - len(matcher.stop)) < ended):
                ended = end, end - len(matcher.stop)
        if ended is not None:
            shown = self._take(text, self._length + ended[1])
            self.hit, self._pieces, self._length = True, deque(), 0
            return shown
        keep = max((matcher.matched for matcher in self._matchers), default=0)
        return self._take(text, self._length + len(text) - keep)

    def end(self) -> str:
        """Return the text that was held back as the possible beginning of a stop sequence."""
        return self._take("", self._length)

    def _take(self, text: str, length: int) -> str:
        """Add text to what is held back, and take characters from the front of it."""
        if not self._pieces and length == len(text):
            return text
        self._pieces.append(text)
        self._length += len(text) - length
        taken = []
        while length:
            first = self._pieces[0]
            # A slice of a piece, not the piece without it: the rest of a long piece is not copied with each character.
            part = first[self._taken : self._taken + length]
            taken.append(part)
            length -= len(part)
            self._taken += len(part)
            if self._taken == len(first):
                self._pieces.popleft()
                self._taken = 0
        return "".join(taken)


class _Matcher:
    """Finds one stop sequence in text that comes in pieces; `matched` characters of it end the text so far."""

    __slots__ = ("_borders", "matched", "stop")

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        # For each length of a beginning of `stop`: the longest shorter beginning that it ends with. The list grows with
        # what has been matched, so that a long sequence costs nothing until the text is like it.
        self._borders = [0, 0]

    def feed(self, text: str) -> int:
        """Return the index after the sequence's last character in this piece, or -1."""
        stop, borders, matched = self.stop, self._borders, self.matched
        at = 0
        while at < len(text):
            if not matched:
                at = text.find(stop[0], at)
                if at < 0:
                    break
                matched = 1
            else:
                character = text[at]
                while matched and stop[matched] != character:
                    matched = borders[matched]
                if stop[matched] == character:
                    matched += 1
            at += 1
            if matched == len(stop):
                self.matched = 0
                return at
            if matched == len(borders):
                borders.append(self._border(matched))
        self.matched = matched
        return -1

    def _border(self, length: int) -> int:
        """Return the border of the beginning of this length; those of shorter beginnings are known."""
        last = self.stop[length - 1]
        border = self._borders[length - 1]
        while border and self.stop[border] != last:
            border = self._borders[border]
        return border + (self.stop[border] == last)
