"""Text that grows piece by piece. Adding a piece takes the same time however long the text is. Pure."""

from io import StringIO


class GrowingText:
    """A text of `length` characters and `size` bytes of UTF-8.

    Only with `kept` can the text itself be read, by `str()`: a stream that nobody ends must not fill the memory.
    """

    __slots__ = ("_text", "length", "size")

    def __init__(self, *, kept: bool) -> None:
        self.length = self.size = 0
        # `text += piece` copies the text each time, unless `text` is a local variable.
        self._text = StringIO() if kept else None

    def add(self, piece: str) -> None:
        """Add a piece."""
        self.length += len(piece)
        self.size += len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
        if self._text is not None:
            self._text.write(piece)

    def __str__(self) -> str:
        return "" if self._text is None else self._text.getvalue()
