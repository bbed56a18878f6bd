"""Decides whether and how a model may call tools: its template shows them, a parser reads the calls."""

from collections.abc import Callable
from typing import Any

from triton_adapter.errors import UnsupportedParameterError
from triton_adapter.generation.chat_template import template_name
from triton_adapter.generation.tools import FORMATS, ToolParser
from triton_adapter.openai.requests import Generation
from triton_adapter.profiles.binding import Binding

TOOLS_NEED = (
    "needs a chat template that shows tools: set chat_template to llama3, mistral, hermes or qwen, or to one of your "
    "own and tool_parser to the format in which the model calls them"
)
# Built-in template -> the format in which its models call tools.
BY_TEMPLATE = {"llama3": "llama3", "mistral": "mistral", "hermes": "hermes", "qwen": "hermes"}


def prepare_tools(
    binding: Binding, request: Generation, dropped: list[str] | None
) -> Callable[[], ToolParser] | None:
    """Return a function that makes a parser for a choice, or None if no tool may be called.

    UnsupportedParameterError names `tools` if the model has neither template nor parser for them, `tool_choice` if a
    call is required and the model has no guided decoding. With `dropped` their names are added there instead.
    """
    if request.tool_choice == "none":
        return None
    settings = binding.settings
    name = settings.tool_parser or BY_TEMPLATE.get(template_name(settings))
    if name is None or name not in FORMATS or not settings.chat_template:
        _refused(request, dropped, "tools", TOOLS_NEED)
        return None
    names = [tool["function"]["name"] for tool in request.tools]
    if request.tool_choice not in (None, "auto"):
        chosen = request.tool_choice["function"]["name"] if isinstance(request.tool_choice, dict) else None
        if not binding.guided:
            _refused(request, dropped, "tool_choice", "needs a model with guided decoding")
            return None
        request.response_format = {"type": "json_schema", "schema": _call_schema(request.tools, chosen)}
        # Guided decoding forces one bare JSON object, whatever the format of the model's family.
        return lambda: ToolParser(FORMATS["llama3"], names, single=True)
    single = not request.parallel_tool_calls
    return lambda: ToolParser(FORMATS[name], names, single=single)


def _refused(request: Generation, dropped: list[str] | None, param: str, need: str) -> None:
    if dropped is None:
        raise UnsupportedParameterError(f"'{param}' {need}", param=param)
    dropped.append(param)
    if param == "tools":
        request.tools = []
    request.tool_choice = None


def _call_schema(tools: list[dict[str, Any]], chosen: str | None) -> dict[str, Any]:
    schemas = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": tool["function"].get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
        }
        for tool in tools
        if chosen in (None, tool["function"]["name"])
    ]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
