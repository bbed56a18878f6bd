"""The schema of a case: the requests to send in order, and in what the answers of two servers may differ.

A case does not say what to expect: a real server's answer is the expectation. These models are the schema of the
YAML files under `cases/http` (`rpc.py` adds the gRPC steps of `cases/grpc`). An unknown field is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

DEFAULT_TIMEOUT = 10.0
"""What a recording's fingerprint holds for a step without a timeout."""
PATIENCE = 60.0
"""Seconds to wait for an answer where a step does not say: so many that only a hang takes longer, on any machine."""
BODY_KINDS = ("json", "text", "base64", "hex", "infer", "join")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _pairs(value: Any) -> Any:
    """Headers are written as a mapping (its order is kept) or as [name, value] pairs (names may repeat)."""
    pairs = list(value.items()) if isinstance(value, dict) else value
    if any(isinstance(text, bool) or text is None for _, text in pairs):
        raise ValueError(
            "YAML takes a bare yes, no, on, off or nothing for a truth value: quote the header's value"
        )
    return [(name, str(text)) for name, text in pairs]


Headers = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)]


class Tensor(_Strict):
    """The bytes of one binary tensor, little endian. Exactly one field is set.

    `string` lists BYTES elements as UTF-8 texts; each gets its 4-byte length.
    """

    hex: str | None = None
    base64: str | None = None
    bool_: list[bool] | None = Field(None, alias="bool")
    int8: list[int] | None = None
    int16: list[int] | None = None
    int32: list[int] | None = None
    int64: list[int] | None = None
    uint8: list[int] | None = None
    uint16: list[int] | None = None
    uint32: list[int] | None = None
    uint64: list[int] | None = None
    fp16: list[float] | None = None
    fp32: list[float] | None = None
    fp64: list[float] | None = None
    string: list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a binary tensor is exactly one of " + ", ".join(sorted(self.kinds())))
        return self

    @classmethod
    def kinds(cls) -> list[str]:
        return [field.alias or name for name, field in cls.model_fields.items()]


class SharedMemory(_Strict):
    """A POSIX shared memory object of `size` bytes: `data`, then zeros. Keys are unique among all case files."""

    key: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    size: int = Field(gt=0)
    data: Tensor | None = None


class Infer(_Strict):
    """An infer body with binary tensors: the JSON header, then the bytes of the tensors.

    `header_length` replaces the computed Inference-Header-Content-Length; with null the header is not sent.
    """

    header: Any
    binary: tuple[Tensor, ...] = ()
    header_length: str | int | None = "auto"


class Part(_Strict):
    """One part of a body that is joined from several."""

    text: str | None = None
    hex: str | None = None
    base64: str | None = None
    json_: Any = Field(None, alias="json")
    repeat: int = 1


class Until(_Strict):
    """Repeat the request until the answer is like this. Only the last answer is compared.

    `contains` is a text, or several that must all be there: one for each thing that a server does after its answer.
    `lacks` is a text that must not be there, such as the name of what a version does not have.
    """

    status: int | None = None
    contains: str | tuple[str, ...] | None = None
    lacks: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that the body must contain."""
        return (self.contains,) if isinstance(self.contains, str) else self.contains or ()

    def met_by(self, status: int, body: bytes) -> bool:
        """Whether this is the answer that the step waits for."""
        return (
            self.status in (None, status)
            and all(text.encode() in body for text in self.texts)
            and (self.lacks is None or self.lacks.encode() not in body)
        )


#: What a step waits for. Where versions answer differently it is several, and one of them must be met.
Awaited = Until | tuple[Until, ...]


def is_met(awaited: Awaited, status: int, body: bytes) -> bool:
    """Whether this is an answer that the step waits for."""
    return any(each.met_by(status, body) for each in (awaited if isinstance(awaited, tuple) else (awaited,)))


class Edit(_Strict):
    """A change of the repository that the server reads: files to write by path, then files and folders to remove."""

    write: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class Step(_Strict):
    """One request and its answer, or (`edit`) a change of the case's own copy of the repository."""

    method: str | None = None
    path: str | None = None
    headers: Headers = ()
    port: Literal["http", "metrics"] = "http"
    http_version: str = "1.1"

    json_: Any = Field(None, alias="json")
    text: str | None = None
    base64: str | None = None
    hex: str | None = None
    infer: Infer | None = None
    join: tuple[Part, ...] | None = None
    compress: Literal["gzip", "deflate"] | None = None
    chunked: bool | tuple[int, ...] = False
    apart: bool = False
    """Send the body after the head, when a health request on another connection has been answered in between."""

    raw: str | None = None
    raw_hex: str | None = None

    host: bool = True
    content_length: bool = True
    new_connection: bool = False
    half_close: bool = False
    close: bool = False
    disconnect_after_chunks: int | None = None
    in_background: str | None = None
    answer_of: str | None = None
    read_shared_memory: str | None = None
    edit: Edit | None = None
    pending: dict[str, int] | None = None
    """Wait until so many requests of these models are queued, as the metrics port counts them."""
    arrived: dict[str, Literal["nothing", "head"] | int] | None = None
    """Wait until the head, or so many chunks, of these answers in the background have come, or see that nothing has."""
    cancel: str | None = None
    """Cancel the gRPC call that was started in the background under this name."""
    until: Awaited | None = None
    timeout: float = Field(DEFAULT_TIMEOUT, gt=0, le=30)

    @property
    def is_raw(self) -> bool:
        return self.raw is not None or self.raw_hex is not None

    @property
    def patience(self) -> float:
        """Seconds to wait for the answer: those of the step where it names them, as it must where none comes."""
        return self.timeout if self.is_limited else PATIENCE

    @property
    def is_limited(self) -> bool:
        """Whether the step says how long it waits, as it does where perhaps no answer comes."""
        return "timeout" in self.model_fields_set

    @property
    def body_kind(self) -> str | None:
        """Which of BODY_KINDS the step has. `json: null` is a body too."""
        chosen = self.model_fields_set
        return next((kind for kind in BODY_KINDS if kind in chosen or f"{kind}_" in chosen), None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        chosen = [kind for kind in BODY_KINDS if {kind, f"{kind}_"} & self.model_fields_set]
        if len(chosen) > 1:
            raise ValueError(f"a request has one body, not {' and '.join(chosen)}")
        forms = [
            self.path,
            self.raw if self.raw is not None else self.raw_hex,
            self.answer_of,
            self.read_shared_memory,
            self.edit,
            self.pending,
            self.arrived,
            self.cancel,
        ]
        if sum(form is not None for form in forms) != 1:
            raise ValueError(
                "a step is exactly one of: path (a request), raw or raw_hex, answer_of, read_shared_memory, edit, "
                "pending, arrived, cancel"
            )
        if not self.path and (chosen or self.headers or self.method):
            raise ValueError("method, headers and body belong to a step with a path")
        return self

    @property
    def verb(self) -> str:
        return self.method or ("POST" if self.body_kind else "GET")


class Case(_Strict):
    """A named sequence of steps on one connection, for one repository and one set of server flags."""

    id: str = Field(pattern=r"^[a-z0-9_]+(/[A-Za-z0-9_.=+-]+)+$")
    repository: str
    flags: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """The models to load. By default a server loads all models of its repository, which takes most of its start."""
    steps: tuple[Step, ...] = Field(min_length=1)
    shared_memory: tuple[SharedMemory, ...] = ()
    normalise: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    operation: str | None = None
    statistics: bool | None = None
    needs_fresh_server: bool = False
    isolated: bool = False
    crashes_reference: bool = False
    sound_answer: str = ""
    """A text without which the reference's answer counts as its death, so that it is asked again.

    What it answers there depends on luck inside it: it reads a message from memory that it has freed, or its batching
    thread runs late.
    """
    note: str = ""
    topic: str = ""
    folder: str = Field(default="", exclude=True)
    """The folder of the model repository, where it is not one of the contract's."""

    @property
    def edits(self) -> bool:
        """Whether it changes the repository. Then it gets servers of its own, over copies of the repository."""
        return any(step.edit for step in self.steps)

    @property
    def answered(self) -> tuple[Step, ...]:
        """The steps with an answer, in order. One in the background has none: a later step reads its answer."""
        return tuple(
            step
            for step in self.steps
            if not (
                step.in_background or step.edit or step.pending or step.arrived or step.cancel or step.close
            )
        )

    @property
    def group(self) -> tuple[str, tuple[str, ...]]:
        """Repository and flags of the server. Cases that have both in common share it."""
        chosen = [f"--load-model={name}" for name in self.models]
        explicit = ["--model-control-mode=explicit"] if chosen else []
        return self.folder or self.repository, (*self.flags, *explicit, *chosen)
