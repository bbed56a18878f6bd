"""Turns an answer into OpenAI's form: a whole reply, or chunks while it grows. Pure.

For a stream a transport feeds the bytes of every lane's event stream, in whatever order they come, ends every lane,
and closes the flow; each of these returns the chunks that are due.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from triton_adapter.errors import AdapterError
from triton_adapter.generation import replies
from triton_adapter.generation.answers import Answer, Increment, Lane
from triton_adapter.generation.pieces import Piece, from_event
from triton_adapter.openai.requests import Generation
from triton_adapter.target import Target
from triton_adapter.triton.sse import EventReader

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer: chat or text."""

    chat: bool
    prefix: str
    chunk: Callable[..., Json]


@cache
def chat_form() -> Form:
    """Return the form of chat completions."""
    return Form(True, "chatcmpl-", replies.chat_chunk)


@cache
def text_form() -> Form:
    """Return the form of text completions."""
    return Form(False, "cmpl-", replies.text_chunk)


@dataclass(slots=True)
class Flow:
    """One answer. `openings` holds the steps that open each lane's stream, or `whole` holds each lane's pieces."""

    form: Form
    answer: Answer
    request: Generation
    head: Json
    prompts: list[str]
    target: Target
    request_id: str | None = None
    openings: list[Any] = field(default_factory=list)
    whole: list[list[Piece]] = field(default_factory=list)
    # Streams that are open already; closing the answer unread must close them.
    opened: list[Any] = field(default_factory=list)
    error: AdapterError | None = None
    _readers: dict[int, EventReader] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)

    @property
    def lanes(self) -> list[Lane]:
        """The upstream requests of this answer."""
        return self.answer.lanes

    def feed(self, lane: Lane, data: bytes) -> list[Json]:
        """Take bytes of a lane's event stream.

        If the bytes hold an error, or are not an event stream, `error` is set. The chunks from before the error are
        returned: show them before raising it.
        """
        reader = self._readers.get(lane.first)
        if reader is None:
            reader = self._readers[lane.first] = EventReader()
        chunks: list[Json] = []
        try:
            for event in reader.feed(data):
                self._add(chunks, self.answer.feed(lane, from_event(self.answer.binding, event)))
        except AdapterError as error:
            self.error = error
        return chunks

    def take(self, lane: Lane, pieces: Iterable[Piece]) -> list[Json]:
        """Take a lane's whole answer."""
        chunks: list[Json] = []
        for piece in pieces:
            self._add(chunks, self.answer.feed(lane, piece))
        return chunks

    def end(self, lane: Lane, *, cut: bool = False) -> list[Json]:
        """End a lane; `cut` says that the rest of its stream was not read because it is not wanted."""
        reader = self._readers.get(lane.first)
        if reader is not None and not cut:
            reader.end()
        chunks: list[Json] = []
        self._add(chunks, self.answer.end(lane))
        return chunks

    def satisfied(self, lane: Lane) -> bool:
        """Tell whether every choice of a lane has met its stop sequence, so that the rest is not wanted."""
        return self.answer.satisfied(lane)

    def close(self) -> list[Json]:
        """Return the last chunk: the usage, if it was asked for."""
        if not self.request.include_usage:
            return []
        return [self.form.chunk(self.head, [], self.answer.usage(), include_usage=True)]

    def reply(self) -> Json:
        """Return the whole reply."""
        logprobs, top = self.request.logprobs is not None, self.request.logprobs or 0
        if self.form.chat:
            return replies.chat_reply(self.head, self.answer, logprobs=logprobs, top=top)
        echoes = {}
        if self.request.echo:
            echoes = {index: self._prompt(index) for index in self.answer.choices}
        return replies.text_reply(self.head, self.answer, echoes, logprobs=logprobs, top=top)

    def _prompt(self, index: int) -> str:
        return self.prompts[min(index // self.request.n, len(self.prompts) - 1)]

    def _add(self, chunks: list[Json], increments: Iterable[Increment]) -> None:
        for increment in increments:
            index = increment.index
            if index not in self._begun:
                self._begun.add(index)
                self._open(chunks, index)
            for choice in self._choices(increment):
                self._put(chunks, choice)

    def _choices(self, increment: Increment) -> list[Json]:
        logprobs, top = self.request.logprobs is not None, self.request.logprobs or 0
        if self.form.chat:
            return replies.chat_delta(increment, logprobs=logprobs, top=top)
        return replies.text_delta(increment, logprobs=logprobs, top=top)

    def _open(self, chunks: list[Json], index: int) -> None:
        if self.form.chat:
            self._put(chunks, replies.chat_opening(index))
        elif self.request.echo:
            self._add_text(chunks, index, self._prompt(index))

    def _add_text(self, chunks: list[Json], index: int, text: str) -> None:
        for choice in replies.text_delta(Increment(index, text), logprobs=False, top=0):
            self._put(chunks, choice)

    def _put(self, chunks: list[Json], choice: Json) -> None:
        chunks.append(self.form.chunk(self.head, [choice], None, include_usage=self.request.include_usage))
