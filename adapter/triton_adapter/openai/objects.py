"""Typed replies: attributes as in the OpenAI client, and items as in LiteLLM's replies.

`reply.choices[0].message.content`, `reply["choices"][0]["message"]["content"]`, `reply.model_dump()`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from triton_adapter.jsontext import dumps


@dataclass(slots=True)
class Record:
    """An object made from a JSON object; absent fields are None and are left out of `model_dump()`."""

    @classmethod
    def build(cls, data: Mapping[str, Any]) -> Self:
        """Return the object of a JSON object."""
        made = cls()
        for name, kind in _plan(cls):
            if name not in data:
                continue
            value = data[name]
            if kind is not None and isinstance(value, dict):
                value = kind.build(value)
            elif kind is not None and isinstance(value, list):
                value = [kind.build(element) for element in value]
            setattr(made, name, value)
        return made

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """Return the JSON object again, as dictionaries and lists."""
        dumped = {}
        optional = OPTIONAL.get(type(self), frozenset())
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and (exclude_none or item.name in optional):
                continue
            if not item.name.startswith("_"):
                dumped[item.name] = _plain(value, exclude_none=exclude_none)
        return dumped

    def model_dump_json(self) -> str:
        """Return the JSON text."""
        return dumps(self.model_dump()).decode()

    to_dict = model_dump

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field's value, or the default where there is none."""
        return self[name] if name in self else default  # noqa: SIM401 - this is `get`

    def keys(self) -> list[str]:
        """Return the names of the fields."""
        return [item.name for item in fields(self) if not item.name.startswith("_")]


_PLANS: dict[type[Record], list[tuple[str, type[Record] | None]]] = {}


def _plan(cls: type[Record]) -> list[tuple[str, type[Record] | None]]:
    """Return a class's fields and what each of them holds."""
    plan = _PLANS.get(cls)
    if plan is None:
        nested = NESTED.get(cls, {})
        names = [item.name for item in fields(cls) if not item.name.startswith("_")]
        plan = _PLANS[cls] = [(name, nested.get(name)) for name in names]
    return plan


def _plain(value: Any, *, exclude_none: bool) -> Any:
    if isinstance(value, Record):
        return value.model_dump(exclude_none=exclude_none)
    if isinstance(value, list) and value and isinstance(value[0], Record):
        return [item.model_dump(exclude_none=exclude_none) for item in value]
    return value


@dataclass(slots=True)
class Function(Record):
    """A tool call's function: `arguments` is JSON text."""

    name: str | None = None
    arguments: str = ""


@dataclass(slots=True)
class ToolCall(Record):
    """A tool call; `index` only in chunks."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function = field(default_factory=Function)


@dataclass(slots=True)
class Message(Record):
    """An assistant's message; also what a chunk adds to it."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


@dataclass(slots=True)
class Delta(Message):
    """What a chunk adds to a message."""


@dataclass(slots=True)
class Usage(Record):
    """Tokens; `estimated` is true if no backend and no tokenizer counted them."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    total_tokens: int = 0
    estimated: bool | None = None


@dataclass(slots=True)
class Choice(Record):
    """A choice of a chat completion."""

    index: int = 0
    message: Message = field(default_factory=Message)
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


@dataclass(slots=True)
class ChunkChoice(Record):
    """A choice of a chat completion chunk."""

    index: int = 0
    delta: Delta = field(default_factory=Delta)
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


@dataclass(slots=True)
class TextChoice(Record):
    """A choice of a text completion, whole or a chunk."""

    index: int = 0
    text: str = ""
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


@dataclass(slots=True)
class BaseCompletion(Record):
    """What all completions have in common; `dropped_params` lists what `drop_params` left out (not dumped)."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[Any] = field(default_factory=list)
    usage: Usage | None = None
    _dropped: list[str] = field(default_factory=list, repr=False)

    @property
    def dropped_params(self) -> list[str]:
        """The parameters that were left out because `drop_params` allowed it."""
        return self._dropped


@dataclass(slots=True)
class ChatCompletion(BaseCompletion):
    """A `chat.completion`: `choices` are `Choice`."""


@dataclass(slots=True)
class ChatCompletionChunk(BaseCompletion):
    """A `chat.completion.chunk`: `choices` are `ChunkChoice`."""


@dataclass(slots=True)
class Completion(BaseCompletion):
    """A `text_completion`, whole or a chunk: `choices` are `TextChoice`."""


@dataclass(slots=True)
class Embedding(Record):
    """One embedding: a list of numbers, or base64 of little-endian FP32."""

    object: str = "embedding"
    index: int = 0
    embedding: Any = None


@dataclass(slots=True)
class EmbeddingReply(Record):
    """A list of embeddings, in the order of the input."""

    object: str = "list"
    data: list[Embedding] = field(default_factory=list)
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    _dropped: list[str] = field(default_factory=list, repr=False)

    @property
    def dropped_params(self) -> list[str]:
        """The parameters that were left out because `drop_params` allowed it."""
        return self._dropped


# Which fields hold objects, and which are left out of a dump if they are None.
NESTED: dict[type[Record], dict[str, type[Record]]] = {
    ToolCall: {"function": Function},
    Message: {"tool_calls": ToolCall},
    Delta: {"tool_calls": ToolCall},
    Choice: {"message": Message},
    ChunkChoice: {"delta": Delta},
    ChatCompletion: {"choices": Choice, "usage": Usage},
    ChatCompletionChunk: {"choices": ChunkChoice, "usage": Usage},
    Completion: {"choices": TextChoice, "usage": Usage},
    EmbeddingReply: {"data": Embedding, "usage": Usage},
}
OPTIONAL: dict[type[Record], frozenset[str]] = {
    Function: frozenset({"name"}),
    ToolCall: frozenset({"index", "id", "type"}),
    Message: frozenset({"tool_calls"}),
    Delta: frozenset({"role", "content", "refusal", "tool_calls"}),
    Usage: frozenset({"completion_tokens", "estimated"}),
    ChatCompletion: frozenset({"usage"}),
    ChatCompletionChunk: frozenset({"usage"}),
    Completion: frozenset({"usage"}),
}
