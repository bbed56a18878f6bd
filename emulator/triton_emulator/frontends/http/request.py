"""A request as a handler sees it: the route has matched, the method is allowed, the body is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from triton_emulator.wire.reply import Reply

if TYPE_CHECKING:
    from triton_emulator.session.world import World


@dataclass(slots=True)
class Request:
    """`groups` are the route's captures as text (None where the optional part is absent), undecoded as on the wire."""

    world: "World"
    method: str
    path: str
    groups: tuple[str | None, ...]
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def model(self) -> tuple[str, str]:
        """The model's name and version of a model route, "" for what the path leaves out."""
        return self.groups[0] or "", self.groups[1] or ""


#: Answers a request or raises TritonError, which becomes an application/json answer with the code's status.
Handler = Callable[[Request], Reply]
