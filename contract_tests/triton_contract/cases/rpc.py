"""The schema of gRPC steps, and of cases that have them. Such a case may have HTTP steps too."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from .case import Case, Headers, Step
from .messages import MessageError, build
from .protobuf import SERVICE, message_classes

_SHARED_WITH_HTTP = {"timeout", "until", "in_background"}


class Rpc(Step):
    """One call and its answer.

    `rpc` is a method of Triton's service, or a full path such as `/grpc.health.v1.Health/Check`. A unary call sends
    `message`, or the bytes `hex`. A stream sends `requests`: each is a message, or {hex: ..}, or
    {after: N, message: ..} for one that is sent after N responses.
    """

    rpc: str = Field(min_length=1)
    message: Any = None
    requests: tuple[Any, ...] | None = None
    metadata: Headers = ()
    deadline: float | None = Field(None, gt=0, le=30)
    """The deadline of the call, in seconds."""
    cancel_after: int | None = Field(None, ge=0)
    """The client cancels the call when it has received so many responses."""
    keep_open: bool = False
    """Do not close the client's side of a stream."""
    compression: Literal["gzip", "deflate"] | None = None

    @property
    def full_method(self) -> str:
        return self.rpc if self.rpc.startswith("/") else f"/{SERVICE}/{self.rpc}"

    @property
    def is_limited(self) -> bool:
        return super().is_limited or self.deadline is not None

    @property
    def is_stream(self) -> bool:
        return self.requests is not None

    def payloads(self) -> list[tuple[int, bytes]]:
        """The messages to send: after how many responses, and the bytes."""
        if self.requests is None:
            return [(0, self._bytes(self.message or {}) if self.hex is None else bytes.fromhex(self.hex))]
        return [self._request(item) for item in self.requests]

    def _request(self, item: Any) -> tuple[int, bytes]:
        if isinstance(item, dict) and set(item) == {"hex"}:
            return 0, bytes.fromhex(item["hex"])
        if isinstance(item, dict) and set(item) == {"after", "message"}:
            return item["after"], self._bytes(item["message"])
        return 0, self._bytes(item)

    def _bytes(self, fields: Any) -> bytes:
        classes = message_classes(self.full_method)
        if classes is None:
            raise MessageError(f"{self.rpc} is not a method whose messages are known: give hex")
        data: bytes = build(classes[0](), fields).SerializeToString(deterministic=True)
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        own = set(Rpc.model_fields) - set(Step.model_fields) | _SHARED_WITH_HTTP | {"hex"}
        if strange := self.model_fields_set - own:
            raise ValueError(f"{', '.join(sorted(strange))}: not a field of a call")
        if sum(each is not None for each in (self.message, self.hex, self.requests)) > 1:
            raise ValueError("a call sends one of message, hex and requests")
        self.payloads()
        return self


def _kind(step: Any) -> str:
    return "rpc" if isinstance(step, Rpc) or (isinstance(step, dict) and "rpc" in step) else "http"


AnyStep = Annotated[Annotated[Rpc, Tag("rpc")] | Annotated[Step, Tag("http")], Discriminator(_kind)]


class GrpcCase(Case):
    """A case with gRPC calls. Its operation is the method that is called last, unless it names one."""

    steps: tuple[AnyStep, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("operation"):
            methods = [
                step["rpc"] for step in values.get("steps", ()) if isinstance(step, dict) and "rpc" in step
            ]
            if methods:
                return {**values, "operation": f"grpc/{str(methods[-1]).rpartition('/')[2]}"}
        return values
