"""The states of the tool parser, the events its readers report, and the table of transitions.

The parser is a state machine. Text is added to a buffer. The reader of the current state takes what it can from the
front of the buffer and returns an event, which names what it found; `TRANSITIONS` gives the next state. A reader that
returns no event needs more text. Everything that decides what state comes next is in this file; everything about how
text is read is in `parser` and `formats`.

Four states are outside of a call. They differ in what may begin one:

- START: nothing but blanks so far. A marker begins a call, and so does an opening of the format, such as `{`: models
  whose special tokens the detokenizer skips write their calls without the marker.
- TEXT: some text has been shown. Only a marker begins a call. A letter is held back only while it may belong to one.
- NEXT: a call has ended, and the format separates calls by `;` alone. Another call may follow without a marker.
- GAP: a call has ended, and only a marker begins another.

The line breaks before, between and after calls are no text, so START, NEXT and GAP hold blanks back. Other text
follows: START and GAP become TEXT, which shows the blanks with it. The calls follow: the blanks are dropped.

Four states are inside of a call, in this order:

- HEAD: the marker or the opening has been read. What follows must name the function. If it does not, it is text.
- ARGUMENTS: the function is known. Its arguments are passed on until their brackets are closed.
- TAIL: other members of the call's JSON object may follow the arguments.
- SEPARATOR: the end tag of the call, or the comma of a list of calls, may follow.

One state is inside of what is no call:

- QUOTED: HEAD or TAIL has read text that is not a call. Some of its brackets are still open. The text up to the last of
  them is shown as it comes. A marker in it begins no call: a model may quote one in an argument of an unknown function.
"""

from collections.abc import Mapping
from enum import Enum, auto


class State(Enum):
    """Where in the text the parser is; the docstring of this file explains each."""

    START = auto()
    TEXT = auto()
    NEXT = auto()
    GAP = auto()
    HEAD = auto()
    ARGUMENTS = auto()
    TAIL = auto()
    SEPARATOR = auto()
    QUOTED = auto()

    __hash__ = object.__hash__  # Enum's own is a Python function, and every token looks states up


class Event(Enum):
    """What a reader found."""

    OPENING = auto()  # a marker, or what else may begin a call
    OTHER = auto()  # text that cannot begin a call
    NAMED = auto()  # the name of an offered function; its arguments follow
    WHOLE = auto()  # one or more calls with their arguments
    NO_CALL = auto()  # text that looked like a call and is none
    UNCLOSED = auto()  # the beginning of such text, with brackets that are still open
    CLOSED = auto()  # the end of the arguments, but not of the call
    ENDED = auto()  # the end of a call
    CHAINED = auto()  # the end of a call that another may follow without a marker

    __hash__ = object.__hash__


TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.START: {Event.OPENING: State.HEAD, Event.OTHER: State.TEXT},
    State.TEXT: {Event.OPENING: State.HEAD},
    State.NEXT: {Event.OPENING: State.HEAD, Event.OTHER: State.GAP},
    State.GAP: {Event.OPENING: State.HEAD, Event.OTHER: State.TEXT},
    State.HEAD: {
        Event.NAMED: State.ARGUMENTS,
        Event.WHOLE: State.SEPARATOR,
        Event.NO_CALL: State.TEXT,
        Event.UNCLOSED: State.QUOTED,
    },
    State.ARGUMENTS: {Event.CLOSED: State.TAIL, Event.ENDED: State.SEPARATOR},
    State.TAIL: {Event.ENDED: State.SEPARATOR, Event.UNCLOSED: State.QUOTED},
    State.SEPARATOR: {Event.OPENING: State.HEAD, Event.CHAINED: State.NEXT, Event.ENDED: State.GAP},
    State.QUOTED: {Event.NO_CALL: State.TEXT},
}
