"""Turns messages into the one string that a Triton model takes. A template is inline, a file or built in.

Nothing is fetched from the network. Without a template a single user message is sent as it is, as on LiteLLM's page;
several messages are labelled by role. Templates run in a Jinja sandbox that lets them change nothing.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from triton_adapter.errors import BadRequestError, UnsupportedParameterError
from triton_adapter.jsontext import loads
from triton_adapter.openai.requests import Generation
from triton_adapter.profiles.binding import Binding
from triton_adapter.settings import Settings

FOLDER = Path(__file__).parent / "templates"
# Other names of the built-in templates.
ALIASES = {
    "llama-3": "llama3",
    "llama-2": "llama2",
    "qwen2": "qwen",
    "phi-3": "phi3",
    "phi4": "phi3",
    "plain": "",
}
# What a built-in template ends a turn with. The backend's tokenizer adds the first token of a prompt.
TURN_ENDS = {"llama2": "</s>", "mistral": "</s>", "zephyr": "</s>"}
LABELS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
_ROLES = {"developer": "system", "function": "tool"}
_DATA_URL = re.compile(r"^data:[^,]*;base64,", re.IGNORECASE)


def builtin_templates() -> list[str]:
    """Return the names of the built-in templates."""
    return sorted(path.stem for path in FOLDER.glob("*.jinja"))


def render_chat(binding: Binding, request: Generation) -> str:
    """Return the prompt of a chat; images become values of an input of the model.

    UnsupportedParameterError if the model has no input for a part of a message; BadRequestError if
    the template is wrong or refuses the messages.
    """
    messages = request.messages
    settings = binding.settings
    if len(messages) == 1 and not settings.chat_template:
        content = messages[0].get("content")
        if isinstance(content, str) and messages[0]["role"] == "user":
            return content
    images = _images(messages)
    if images:
        _place_images(binding, request, images)
    name = template_name(settings)
    token = {**settings.chat_template_kwargs, **request.chat_template_kwargs}.get("image_token", "")
    flat = [_flattened(message, token, keep_parts=name == "custom") for message in messages]
    if not settings.chat_template or name == "":
        if request.chat_template_kwargs:
            raise UnsupportedParameterError(
                "'chat_template_kwargs' needs a chat_template, and none is configured",
                param="chat_template_kwargs",
            )
        return plain(flat)
    return _render(settings, flat, request)


def template_name(settings: Settings) -> str:
    """Return the name of the built-in template, "" for no template, "custom" for the user's own."""
    given = settings.chat_template or ""
    name = ALIASES.get(given.lower(), given.lower())
    return name if name in ("", *builtin_templates()) else "custom"


def plain(messages: list[dict[str, Any]]) -> str:
    """Return messages as text: a single user message as it is, several labelled by role, then "Assistant:"."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    lines = [f"{LABELS[message['role']]}: {message['content']}" for message in messages]
    return "\n".join([*lines, "Assistant:"])


def _render(settings: Settings, messages: list[dict[str, Any]], request: Generation) -> str:
    from jinja2 import TemplateError

    template, special = load_template(settings.chat_template or "")
    tools = request.tools if request.tool_choice != "none" else []
    values = {
        "add_generation_prompt": True,
        "bos_token": special.get("bos_token", ""),
        "eos_token": special.get("eos_token", ""),
        **settings.chat_template_kwargs,
        **request.chat_template_kwargs,
        "messages": messages,
        "tools": tools or None,
    }
    if settings.bos_token is not None:
        values["bos_token"] = settings.bos_token
    if settings.eos_token is not None:
        values["eos_token"] = settings.eos_token
    try:
        return str(template.render(values))
    except TemplateError as error:
        raise BadRequestError(
            f"the chat template refuses the messages: {error.message}", param="messages"
        ) from error
    except Exception as error:  # a template is a program: it may fail in any way
        raise BadRequestError("the chat template cannot render the messages", param="messages") from error


@lru_cache(maxsize=64)
def load_template(given: str) -> tuple[Any, dict[str, str]]:
    """Return a compiled template and its special tokens, from text, a name, a file or a tokenizer_config.json.

    BadRequestError if it is none of them or does not compile.
    """
    from jinja2 import TemplateError

    source, special = _source(given)
    try:
        return _environment().from_string(source), special
    except TemplateError as error:
        raise BadRequestError(
            f"the chat template does not compile: {error.message}", param="chat_template"
        ) from error


def _source(given: str) -> tuple[str, dict[str, str]]:
    if "{%" in given or "{{" in given:
        return given, {}
    name = ALIASES.get(given.lower(), given.lower())
    if name in builtin_templates():
        return (FOLDER / f"{name}.jinja").read_text("utf-8"), {"eos_token": TURN_ENDS.get(name, "")}
    path = Path(given)
    try:
        if path.is_dir():
            path = path / "tokenizer_config.json"
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        known = ", ".join(builtin_templates())
        raise BadRequestError(
            f"chat_template is neither Jinja text, nor a file that can be read, nor one of {known}",
            param="chat_template",
        ) from error
    return _tokenizer_config(path, text) if path.suffix == ".json" else (text, {})


def _tokenizer_config(path: Path, text: str) -> tuple[str, dict[str, str]]:
    try:
        config = loads(text)
        template = config.get("chat_template")
    except (ValueError, AttributeError) as error:
        raise BadRequestError("the tokenizer_config is not a JSON object", param="chat_template") from error
    if isinstance(template, list):  # several, by name
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default") or next(iter(named.values()), None)
    if template is None and (beside := path.with_name("chat_template.jinja")).is_file():
        template = beside.read_text("utf-8")
    if not isinstance(template, str):
        raise BadRequestError("the tokenizer_config holds no chat_template", param="chat_template")
    special = {}
    for key in ("bos_token", "eos_token"):
        token = config.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            special[key] = token
    return template, special


@lru_cache(maxsize=1)
def _environment() -> Any:
    import json
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant says, for training; it adds nothing to a prompt."""

        tags = {"generation"}  # noqa: RUF012 - jinja's own interface

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json  # Jinja's own filter escapes for HTML
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _flattened(message: dict[str, Any], image_token: str, *, keep_parts: bool) -> dict[str, Any]:
    """Return a message as templates expect it: content as text, tool arguments as objects, current role names."""
    flat = {**message, "role": _ROLES.get(message["role"], message["role"])}
    content = message.get("content")
    if isinstance(content, list) and not (
        keep_parts and any(part["type"] == "image_url" for part in content)
    ):
        texts = [
            image_token if part["type"] == "image_url" else part.get("text") or part.get("refusal") or ""
            for part in content
        ]
        flat["content"] = "".join(texts) if image_token else "\n".join(text for text in texts if text)
    elif isinstance(content, list):
        flat["content"] = [
            {**part, "type": "image"} if part["type"] == "image_url" else part for part in content
        ]
    elif content is None:
        flat["content"] = ""
    if calls := message.get("tool_calls"):
        flat["tool_calls"] = [_tool_call(call) for call in calls]
    return flat


def _tool_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequestError(
            "'tool_calls' must hold functions with a name", param="messages", code="invalid_value"
        )
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments or "{}")
        except ValueError as error:
            raise BadRequestError(
                "the arguments in 'tool_calls' must be JSON", param="messages", code="invalid_value"
            ) from error
    return {**call, "function": {**function, "arguments": arguments}}


def _images(messages: list[dict[str, Any]]) -> list[str]:
    found = []
    for at, message in enumerate(messages):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part["type"] == "image_url":
                found.append(part["image_url"]["url"])
            elif part["type"] not in ("text", "refusal"):
                raise UnsupportedParameterError(
                    f"the model takes no content of type '{part['type']}'",
                    param=f"messages[{at}].content",
                )
    return found


def _place_images(binding: Binding, request: Generation, images: list[str]) -> None:
    names = binding.profile.images
    inputs = {name: way for name, way in names.items() if name in binding.inputs}
    if not inputs:
        raise UnsupportedParameterError(
            f"model '{binding.info.name}' takes no images", param="messages", code="unsupported_content"
        )
    data = all(_DATA_URL.match(image) for image in images)
    for name, way in inputs.items():
        if way == "url":
            request.extra[name] = images
            return
        if data:
            request.extra[name] = [_DATA_URL.sub("", image) for image in images]
            return
    raise BadRequestError(
        "the model takes images as base64 data: URLs only; nothing is fetched here",
        param="messages",
        code="invalid_value",
    )
