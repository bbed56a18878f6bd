"""Tool calls in a model's text: one parser, and a table of the formats in which families of models write them."""

from triton_adapter.generation.tools.formats import FORMATS, Format, ToolCall
from triton_adapter.generation.tools.parser import ToolParser
from triton_adapter.generation.tools.parts import CallPart, joined

__all__ = ["FORMATS", "CallPart", "Format", "ToolCall", "ToolParser", "joined"]
