"""OpenVINO's intermediate representation: the Parameter and Result layers of `model.xml`.

    <net><layers>
      <layer id="0" name="x" type="Parameter">
        <output><port id="0" precision="FP32" names="x">
          <dim>-1</dim>...
          <rt_info><attribute name="layout" layout="[N,C,H,W]"/></rt_info>
        </port></output>
      </layer>
      <layer id="9" type="Result">...</layer>
    </layers><edges>
      <edge from-layer="8" from-port="2" to-layer="9" to-port="0"/>
    </edges></net>

A Result has the name, datatype, shape and layout of the port that an edge connects to it. Edges stand after all layers,
so the file is read twice. It is parsed as a stream; one with a document type is refused, as no IR has one and entities
could make a small file a large one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from triton_emulator.backends.model_files.signature import (
    MOST_TENSORS,
    FileTensor,
    Signature,
    Unreadable,
    open_model,
)
from triton_emulator.cxx.numbers import INT64_MAX

#: bytes; the XML of a large language model has about 20 MB
_LARGEST = 64 << 20
_CHUNK = 1 << 16

_DATATYPES = {
    "BOOL": "TYPE_BOOL",
    "FP16": "TYPE_FP16",
    "FP32": "TYPE_FP32",
    **{f"I{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
}

Attributes = dict[str, str]
#: the source of a Result that no edge leads to
_NOWHERE = ("", "")


@dataclass
class _Port:
    """An output port of a layer."""

    layer: Attributes
    precision: str
    names: str
    batches: bool = False
    dims: list[str] = field(default_factory=list)


def read(path: Path) -> Signature:
    """Raises Unreadable."""
    graph = _Graph()
    _parse(path, graph.start)
    if not graph.is_net:
        raise Unreadable("it is not an OpenVINO model")
    wanted = {(layer, "") for layer in graph.parameters} | set(graph.sources.values())
    ports = _Ports(wanted)
    _parse(path, ports.start, ports.end, ports.text)
    inputs = [ports.found.get((layer, "")) for layer in graph.parameters]
    outputs = [ports.found.get(graph.sources.get(layer, _NOWHERE)) for layer in graph.results]
    batches = [port is not None and port.batches for port in (*inputs, *outputs)]
    return Signature(
        tuple(map(_tensor, inputs)), tuple(map(_tensor, outputs)), bool(batches) and all(batches)
    )


class _Graph:
    """The first reading: which layers are inputs and outputs, and where the outputs come from."""

    def __init__(self) -> None:
        self.is_net = False
        self.parameters: list[str] = []
        self.results: list[str] = []
        #: the (layer, port) that leads to a Result, by the Result
        self.sources: dict[str, tuple[str, str]] = {}
        self._ends: set[str] = set()

    def start(self, tag: str, attributes: Attributes) -> None:
        if tag == "net":
            self.is_net = True
        elif tag == "layer":
            layer, kind = attributes.get("id", ""), attributes.get("type")
            if kind in ("Parameter", "Result"):
                (self.parameters if kind == "Parameter" else self.results).append(layer)
                self._ends.add(layer)
                if len(self._ends) > MOST_TENSORS:
                    raise Unreadable(f"it has more than {MOST_TENSORS} inputs and outputs")
        elif tag == "edge" and (to := attributes.get("to-layer", "")) in self._ends:
            self.sources[to] = attributes.get("from-layer", ""), attributes.get("from-port", "")


class _Ports:
    """The second reading: the output ports that are wanted. A port "" is a layer's first."""

    def __init__(self, wanted: set[tuple[str, str]]) -> None:
        self.found: dict[tuple[str, str], _Port] = {}
        self._wanted = wanted
        self._layer: Attributes = {}
        self._in_output = False
        self._port: _Port | None = None
        self._text: list[str] | None = None

    def start(self, tag: str, attributes: Attributes) -> None:
        if tag == "layer":
            self._layer = attributes
        elif tag == "output":
            self._in_output = True
        elif tag == "port" and self._in_output:
            layer = self._layer.get("id", "")
            for place in ((layer, ""), (layer, attributes.get("id", ""))):
                if place in self._wanted and place not in self.found:
                    names, precision = attributes.get("names", ""), attributes.get("precision", "")
                    self._port = self.found[place] = _Port(self._layer, precision, names)
        elif tag == "dim" and self._port is not None:
            self._text = []
        elif tag == "attribute" and self._port is not None and attributes.get("name") == "layout":
            self._port.batches = _has_batch(attributes.get("layout", ""))

    def text(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        if tag == "dim" and self._port is not None and self._text is not None:
            self._port.dims.append("".join(self._text))
            self._text = None
            if len(self._port.dims) > MOST_TENSORS:
                raise Unreadable(f"it has a port of more than {MOST_TENSORS} dimensions")
        elif tag == "port":
            self._port = None
        elif tag == "output":
            self._in_output = False


def _has_batch(layout: str) -> bool:
    """Whether a layout, "[N,C,H,W]" or "NCHW", has the dimension N."""
    inner = layout.strip("[]")
    return "N" in (inner.split(",") if "," in inner or layout != inner else inner)


def _tensor(port: _Port | None) -> FileTensor:
    if port is None:
        raise Unreadable("it has an output that comes from no layer")
    try:
        dims = tuple(int(dim) for dim in port.dims)
    except ValueError:
        raise Unreadable(f"it has a dimension that is no number: {port.dims}"[:200]) from None
    if any(dim > INT64_MAX for dim in dims):
        raise Unreadable(f"it has a dimension beyond 64 bits: {port.dims}"[:200])
    if any(dim < 0 for dim in dims):
        dims = (-1,) * len(dims)  # the backend takes every dimension of a dynamic shape for a variable one
    # of several names OpenVINO's `get_any_name` takes the least
    name = min(port.names.split(",")) or port.layer.get("name", "")
    return FileTensor(name, _DATATYPES.get(port.precision, "TYPE_INVALID"), dims)


def _parse(
    path: Path,
    start: Callable[[str, Attributes], None],
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> None:
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    file, size = open_model(path)
    with file:
        if size > _LARGEST:
            raise Unreadable(f"it is larger than {_LARGEST >> 20} MiB")
        try:
            while chunk := file.read(_CHUNK):
                parser.Parse(chunk)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise Unreadable(f"it is not XML: {error}") from None
        except OSError as error:
            raise Unreadable(f"it cannot be read: {error.strerror}") from None


def _refuse_document_type(*_: object) -> None:
    raise Unreadable("it has a document type")
