"""Tool calls in a model's text: one parser, and a table of the formats that families of models write."""

from triton_adapter.tools.formats import FORMATS, Format, ToolCall
from triton_adapter.tools.parser import ToolParser

__all__ = ["FORMATS", "Format", "ToolCall", "ToolParser"]
