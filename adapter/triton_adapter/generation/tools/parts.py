"""The parts in which tool calls are passed on while the model writes them, and the calls that they make."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from triton_adapter.generation.tools.formats import ToolCall


@dataclass(slots=True)
class CallPart:
    """What is new of the call at `index`: its beginning, which has a name and an id, or more of its arguments."""

    index: int
    arguments: str
    name: str = ""
    id: str = ""


def merged(parts: Iterable[CallPart]) -> list[CallPart]:
    """Return one part for each call instead of several; they come in the order of the calls."""
    found = []
    for index, of in groupby(parts, attrgetter("index")):
        first, *rest = of
        arguments = "".join((first.arguments, *(part.arguments for part in rest)))
        found.append(CallPart(index, arguments, first.name, first.id))
    return found


def joined(parts: Iterable[CallPart]) -> list[ToolCall]:
    """Return the calls of all the parts of one choice."""
    return [ToolCall(call.name, call.arguments, call.id) for call in merged(parts)]
