"""Checks OpenAI request bodies and sorts them: what goes to the model, what the adapter does itself. Pure.

The body is walked once. An unknown parameter is kept in `extra`: it may be an input of the model, which only the
model's binding can tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_adapter.errors import BadRequestError, MissingParameterError
from triton_adapter.jsontext import dumps
from triton_adapter.openai.parameters import NEUTRAL, OPENAI_ONLY, SAMPLING, checked, is_int

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


@dataclass(slots=True)
class Generation:
    """What a chat or text completion asks for.

    `sampling` and `extra` go to the model; `logprobs` is the number of alternatives (0: the chosen token only), None
    for no log probabilities; `parameters` are Triton request parameters.
    """

    model: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[Any] = field(default_factory=list)
    sampling: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    body_extra: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    best_of: int | None = None
    stop: list[str] = field(default_factory=list)
    logprobs: int | None = None
    echo: bool = False
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: Any = None
    parallel_tool_calls: bool = True
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)


def read_chat(body: Mapping[str, Any]) -> Generation:
    """Check a chat completion's body. MissingParameterError or BadRequestError name the parameter."""
    request = Generation()
    messages = body.get("messages")
    if messages is None:
        raise MissingParameterError("Missing required parameter: 'messages'.", param="messages")
    request.messages = _messages(messages)
    logprobs = body.get("logprobs")
    top = body.get("top_logprobs")
    if logprobs is not None and not isinstance(logprobs, bool):
        raise BadRequestError("'logprobs' must be a boolean", param="logprobs", code="invalid_value")
    if top is not None and checked("top_logprobs", top) and not logprobs:
        raise BadRequestError(
            "'top_logprobs' needs 'logprobs': true", param="top_logprobs", code="invalid_value"
        )
    if logprobs:
        request.logprobs = top or 0
    _sort(request, body, skip=("messages", "logprobs", "top_logprobs"))
    _tools(request, body)
    return request


def read_completion(body: Mapping[str, Any]) -> Generation:
    """Check a text completion's body; `prompts` holds strings and token lists."""
    request = Generation()
    prompt = body.get("prompt")
    if prompt is None:
        raise MissingParameterError("Missing required parameter: 'prompt'.", param="prompt")
    request.prompts = _prompts(prompt)
    logprobs = body.get("logprobs")
    if logprobs is not None:
        if not is_int(logprobs) or not 0 <= logprobs <= 5:
            raise BadRequestError(
                "'logprobs' must be an integer from 0 to 5", param="logprobs", code="invalid_value"
            )
        request.logprobs = logprobs
    _sort(request, body, skip=("prompt", "logprobs"))
    for name in ("tools", "tool_choice"):  # a text completion has no tools
        if body.get(name):
            request.refused.append(name)
            request.extra[name] = body[name]
    request.tools, request.tool_choice = [], None
    return request


def _sort(request: Generation, body: Mapping[str, Any], skip: tuple[str, ...]) -> None:
    for name, value in body.items():
        if value is None or name in skip:
            continue
        checked(name, value)
        if name in SAMPLING:
            if value not in NEUTRAL.get(name, ()):
                request.sampling[name] = value
        elif name in _OWN:
            setattr(request, name, value)
        elif name in _SPECIAL:
            continue
        elif name in OPENAI_ONLY:
            if value not in NEUTRAL.get(name, ()):
                request.refused.append(name)
                request.extra[name] = value
        elif name == "user":
            request.parameters["user"] = value
        elif name == "metadata":
            request.parameters["metadata"] = dumps(value).decode()
        else:
            request.extra[name] = value
    _limits(request, body)


_OWN = frozenset(
    {
        "model",
        "stream",
        "n",
        "best_of",
        "echo",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "chat_template_kwargs",
    }
)
_SPECIAL = frozenset({"stop", "stream_options", "max_completion_tokens", "response_format", "extra_body"})


def _limits(request: Generation, body: Mapping[str, Any]) -> None:
    limit = body.get("max_completion_tokens")
    if limit is not None:  # the newer name has precedence
        request.sampling["max_tokens"] = limit
    stop = body.get("stop")
    if stop:
        request.stop = [stop] if isinstance(stop, str) else list(stop)
    extra = body.get("extra_body")
    if extra:
        request.body_extra = dict(extra)
    options = body.get("stream_options")
    if options is not None:
        if not request.stream:
            raise BadRequestError(
                "'stream_options' is only allowed when 'stream' is true",
                param="stream_options",
                code="invalid_value",
            )
        for key, value in options.items():
            if key not in ("include_usage", "include_obfuscation") or not isinstance(value, bool):
                raise BadRequestError(
                    f"'stream_options' has no option '{key}' of this kind",
                    param=f"stream_options.{key}",
                    code="invalid_value",
                )
        request.include_usage = bool(options.get("include_usage"))
    response_format = body.get("response_format")
    if response_format is not None:
        request.response_format = _response_format(response_format)


def _response_format(given: dict[str, Any]) -> dict[str, Any] | None:
    kind = given.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind == "json_schema":
        holder = given.get("json_schema")
        schema = holder.get("schema") if isinstance(holder, dict) else None
        if not isinstance(schema, dict):
            raise BadRequestError(
                "'response_format.json_schema.schema' must be an object",
                param="response_format",
                code="invalid_value",
            )
        return {"type": "json_schema", "schema": schema}
    raise BadRequestError(
        "'response_format.type' must be text, json_object or json_schema",
        param="response_format",
        code="invalid_value",
    )


def _messages(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise BadRequestError(
            "'messages' must be a list of at least one message", param="messages", code="invalid_value"
        )
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict):
            raise BadRequestError(f"'{where}' must be an object", param=where, code="invalid_type")
        role = message.get("role")
        if role not in ROLES:
            raise BadRequestError(
                f"'{where}.role' must be one of {', '.join(sorted(ROLES))}",
                param=f"{where}.role",
                code="invalid_value",
            )
        content = message.get("content")
        if isinstance(content, str):
            continue
        if content is None and role == "assistant":
            continue
        if isinstance(content, list) and content and all(map(_is_part, content)):
            continue
        raise BadRequestError(
            f"'{where}.content' must be a string or a list of content parts",
            param=f"{where}.content",
            code="invalid_type",
        )
    return messages


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    match part.get("type"):
        case "text":
            return isinstance(part.get("text"), str)
        case "refusal":
            return isinstance(part.get("refusal"), str)
        case "image_url":
            image = part.get("image_url")
            return isinstance(image, dict) and isinstance(image.get("url"), str)
        case kind:
            return isinstance(kind, str)  # an unknown kind is refused by name later


def _prompts(prompt: Any) -> list[Any]:
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(map(is_int, prompt)):
            return [prompt]
        if all(isinstance(item, str) for item in prompt):
            return prompt
        if all(isinstance(item, list) and item and all(map(is_int, item)) for item in prompt):
            return prompt
    raise BadRequestError(
        "'prompt' must be a string, a list of strings, a list of tokens or a list of token lists",
        param="prompt",
        code="invalid_type",
    )


def _tools(request: Generation, body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None or tools == []:
        if request.tool_choice not in (None, "none", "auto"):
            raise BadRequestError("'tool_choice' needs 'tools'", param="tool_choice", code="invalid_value")
        request.tool_choice = None
        return
    names = set()
    for at, tool in enumerate(tools if isinstance(tools, list) else [None]):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequestError(
                f"'tools[{at}]' must be a function with a name", param=f"tools[{at}]", code="invalid_value"
            )
        names.add(function["name"])
    choice = request.tool_choice
    if choice in (None, "auto", "none", "required"):
        return
    named = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(named, dict) or named.get("name") not in names:
        raise BadRequestError(
            "'tool_choice' must be none, auto, required or one of the tools",
            param="tool_choice",
            code="invalid_value",
        )
