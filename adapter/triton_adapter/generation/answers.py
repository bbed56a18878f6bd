"""The answer to one request while it grows. Pure: pieces go in, increments of the choices come out.

One request to the adapter may become several requests to Triton, one for each prompt, and for each choice if the model
cannot give several. Each of them is a `Lane`, and a response of a lane is read as a `Piece`. An `Answer` gives the
piece's texts to the choices of that lane. A `ChoiceState` passes a text through these stages, in this order:

    the prompt's echo is removed  ->  the text is cut at a stop sequence  ->  tool calls are taken out

Each stage may hold text back until it is sure of it: text that might be the beginning of the echo, of a stop sequence
or of a tool call is shown later, or at the end. Log probabilities wait until the text of their tokens is shown.
Whole replies go through the same code as streams, so the two cannot differ.

The time for a whole answer is linear in its length. The time for a piece does not depend on the text that has been
passed on. Text that is held back is read a fixed number of times, when the piece comes that decides about it. A stream
keeps nothing of what it has passed on but numbers, unless a tokenizer has to count its tokens at the end.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from triton_adapter.errors import BadGatewayError
from triton_adapter.generation.growing import GrowingText
from triton_adapter.generation.pieces import Piece
from triton_adapter.generation.stopping import StopCutter
from triton_adapter.generation.tools import CallPart, ToolCall, ToolParser, joined
from triton_adapter.openai.requests import Generation
from triton_adapter.profiles.binding import Binding
from triton_adapter.tokens import count, estimate_size, split


@dataclass(slots=True)
class Increment:
    """What is new for one choice. `finish_reason` is set on its last one.

    `logprobs` holds tokens (text, logprob, alternatives by text); the first begins at `offset` in the choice's text.
    """

    index: int
    text: str = ""
    calls: list[CallPart] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    offset: int = 0
    finish_reason: str | None = None


@dataclass(slots=True)
class Counts:
    """The numbers of tokens that a model tells with its responses, whichever way it counts."""

    number: int = 0
    total: int = 0
    last: int = 0
    growing: bool = True

    def add(self, count: int) -> None:
        """Take the number of one response."""
        self.growing = self.growing and (self.number == 0 or count > self.last)
        self.number += 1
        self.total += count
        self.last = count


class ChoiceState:
    """One choice while it grows: the text and tool calls so far, and what the stages hold back."""

    __slots__ = (
        "_echo",
        "_echoed",
        "_offset",
        "_parts",
        "_tokenizer",
        "_waiting",
        "arguments",
        "counts",
        "cutter",
        "done",
        "finish",
        "index",
        "logprobs",
        "parser",
        "reason",
        "text",
        "tokens",
    )

    def __init__(
        self,
        index: int,
        request: Generation,
        parser: ToolParser | None,
        echo: str | None,
        tokenizer: str | None,
    ) -> None:
        self.index = index
        # A stream passes everything on. Its text is needed again only to count its tokens with a tokenizer.
        counted = bool(tokenizer) or not request.stream
        self.text = GrowingText(kept=counted)
        self.arguments = GrowingText(kept=counted)  # of all tool calls, one after the other
        self._parts: list[CallPart] | None = None if request.stream else []
        self.counts = Counts()
        # The tokens whose text is shown, those whose text is not shown yet, and where the next one begins.
        self.logprobs: list[Any] | None = None if request.stream else []
        self._waiting: deque[Any] = deque()
        self._offset = 0
        self._tokenizer = tokenizer
        self.finish: str | None = None
        # Set when the choice ends: OpenAI's finish reason; the number of tokens, and whether it is an estimate.
        self.reason = "stop"
        self.tokens: tuple[int, bool] = (0, True)
        self.done = False
        self.cutter = StopCutter(request.stop) if request.stop else None
        self.parser = parser
        # The prompt that the text may begin with, and how many of its characters have come.
        self._echo = echo
        self._echoed = 0

    @property
    def called(self) -> bool:
        """Whether a tool call has begun."""
        return self.parser is not None and self.parser.calls > 0

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls so far. A stream has passed them on, and keeps none."""
        return joined(self._parts or [])

    def feed(self, text: str, tokens: list[Any] | None = None) -> Increment:
        """Take text from the model, and its tokens if the model tells them; return what may be shown now."""
        if self._echo is not None:
            text = self._without_echo(text, self._echo)
        if tokens:
            self._waiting += tokens if tokens[0][0] else _named(text, tokens, self._tokenizer)
        if self.cutter is not None:
            text = self.cutter.feed(text)
            if self.cutter.hit:
                self.finish, self.done = "stop", True
        return self._with_tokens(self._parsed(text))

    def end(self) -> Increment:
        """Return the text that was held back; the model gives no more."""
        held, self._echo = (self._echo or "")[: self._echoed], None
        if self.cutter is not None:
            held = self.cutter.feed(held) + self.cutter.end()
        increment = self._parsed(held)
        if self.parser is not None:
            text, calls = self.parser.end()
            self._keep(text, calls)
            increment = Increment(self.index, increment.text + text, [*increment.calls, *calls])
        self.done = True
        return self._with_tokens(increment, every=self.cutter is None or not self.cutter.hit)

    def _with_tokens(self, increment: Increment, *, every: bool = False) -> Increment:
        """Add the tokens whose text has been shown. Text that a stop sequence cuts off shows no tokens."""
        increment.offset = self._offset
        waiting = self._waiting
        while waiting and (every or not waiting[0][0] or self._offset < self.text.length):
            token = waiting.popleft()
            self._offset += len(token[0])
            increment.logprobs.append(token)
        if self.logprobs is not None:
            self.logprobs += increment.logprobs
        return increment

    def _parsed(self, text: str) -> Increment:
        calls: list[CallPart] = []
        if self.parser is not None:
            text, calls = self.parser.feed(text)
        self._keep(text, calls)
        return Increment(self.index, text, calls)

    def _keep(self, text: str, calls: list[CallPart]) -> None:
        self.text.add(text)
        for part in calls:
            self.arguments.add(part.arguments)
        if self._parts is not None:
            self._parts += calls

    def _without_echo(self, text: str, echo: str) -> str:
        """Return the text after the prompt that it repeats, empty while that has not come whole."""
        came, self._echoed = self._echoed, self._echoed + len(text)
        if self._echoed < len(echo) and echo.startswith(text, came):
            return ""
        self._echo, self._echoed = None, 0
        rest = len(echo) - came
        return text[rest:] if text.startswith(echo[came:]) else echo[:came] + text


@dataclass(slots=True)
class Lane:
    """One upstream request: the choices it answers begin at `first`; `prompt` is what it was sent.

    `again` says that an earlier lane was sent the same prompt: the tokens of a prompt are counted once.
    """

    first: int
    expected: int
    prompt: str
    again: bool = False
    prompt_tokens: int | None = None
    choices: dict[int, ChoiceState] = field(default_factory=dict)


class Answer:
    """All choices of a request, and the lanes that they come from."""

    __slots__ = ("_make_parser", "_max_tokens", "_request", "binding", "choices", "lanes")

    def __init__(
        self,
        binding: Binding,
        request: Generation,
        lanes: list[Lane],
        max_tokens: int | None,
        make_parser: Any = None,
    ) -> None:
        self.binding = binding
        self._request = request
        self._max_tokens = max_tokens
        self._make_parser = make_parser
        self.lanes = lanes
        self.choices: dict[int, ChoiceState] = {}

    def feed(self, lane: Lane, piece: Piece) -> Iterator[Increment]:
        """Take one response of a lane; yield what is new for its choices."""
        if piece.prompt_tokens is not None:
            lane.prompt_tokens = piece.prompt_tokens
        for at, text in enumerate(piece.texts):
            place = at if piece.index is None else piece.index
            if place >= lane.expected and len(self.lanes) > 1:
                continue  # the model gives several texts, but is asked once for each choice
            index = lane.first + place
            choice = self.choices.get(index)
            if choice is None:
                choice = self._open(index, lane)
            if piece.counts is not None:
                choice.counts.add(piece.counts[min(at, len(piece.counts) - 1)])
            if choice.done:
                continue
            if piece.finish:
                choice.finish = piece.finish[min(at, len(piece.finish) - 1)] or choice.finish
            told = piece.logprobs
            yield choice.feed(text, told[at] if told is not None and at < len(told) else None)

    def end(self, lane: Lane) -> Iterator[Increment]:
        """End the choices of a lane. BadGatewayError if there are too few of them, or one is not finished."""
        mine = [lane.choices[index] for index in sorted(lane.choices)]
        if not mine:
            raise BadGatewayError("the model ended without an answer")
        if len(mine) < lane.expected:
            raise BadGatewayError(f"the model gave {len(mine)} of the {lane.expected} choices asked for")
        told = "finish_reason" in self.binding.roles and "return_finish_reason" in self.binding.constants
        for choice in mine:
            if told and choice.finish is None:
                raise BadGatewayError("the model's answer ends before the model says that it is finished")
            increment = choice.end()
            choice.tokens = self._completion_tokens(choice)
            choice.reason = increment.finish_reason = self._finish_reason(choice)
            yield increment

    def satisfied(self, lane: Lane) -> bool:
        """Tell whether every choice of a lane has met its stop sequence, so that the rest is not wanted."""
        found = [self.choices.get(index) for index in range(lane.first, lane.first + lane.expected)]
        return all(choice is not None and choice.done for choice in found)

    def _finish_reason(self, choice: ChoiceState) -> str:
        """Return why a choice ended: the backend's word, else `length` if a true count reaches the limit.

        A tool call that was cut off has the reason for that, as at OpenAI, because its arguments are not valid JSON.
        """
        if choice.called and not (choice.parser and choice.parser.cut):
            return "tool_calls"
        if choice.finish is not None:
            return choice.finish
        tokens, estimated = choice.tokens
        if self._max_tokens is not None and not estimated and tokens >= self._max_tokens:
            return "length"
        return "stop"

    def usage(self) -> dict[str, Any]:
        """Return the usage object of what has come so far; it has `estimated: true` if a count is an estimate."""
        prompt = completion = 0
        guessed = False
        for lane in self.lanes:
            if lane.again:
                continue
            tokens, estimated = lane.prompt_tokens, False
            if tokens is None:
                tokens, estimated = count(lane.prompt, self.binding.settings.tokenizer)
            prompt += tokens
            guessed |= estimated
        for choice in self.choices.values():
            # A choice that has not ended yet has not been counted.
            tokens, estimated = choice.tokens if choice.tokens[0] else self._completion_tokens(choice)
            completion += tokens
            guessed |= estimated
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if guessed:
            usage["estimated"] = True
        return usage

    def _completion_tokens(self, choice: ChoiceState) -> tuple[int, bool]:
        counts = choice.counts
        if counts.number:
            deltas = counts.number > 1 and (self.binding.profile.counts_are_deltas or not counts.growing)
            return (counts.total if deltas else counts.last), False
        tokenizer = self.binding.settings.tokenizer
        if tokenizer:
            return count(f"{choice.text}{choice.arguments}", tokenizer)
        estimated = estimate_size(choice.text.size + choice.arguments.size)
        return (estimated if self._max_tokens is None else min(estimated, self._max_tokens)), True

    def _open(self, index: int, lane: Lane) -> ChoiceState:
        echo = lane.prompt if self.binding.strip_prompt else None
        parser = self._make_parser() if self._make_parser else None
        tokenizer = self.binding.settings.tokenizer
        choice = ChoiceState(index, self._request, parser, echo, tokenizer)
        self.choices[index] = lane.choices[index] = choice
        return choice


def _named(text: str, tokens: list[Any], tokenizer: str | None) -> list[Any]:
    """Add the texts to tokens that came as numbers only, if a tokenizer makes it certain which they are."""
    texts = [text] if len(tokens) == 1 else split(text, tokenizer)
    if len(tokens) == len(texts) + 1:
        texts.append("")  # the token that ends the text
    if len(tokens) != len(texts):
        return tokens
    return [(name, *token[1:]) for name, token in zip(texts, tokens, strict=True)]
