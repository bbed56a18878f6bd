"""What a stub answers, as values: outputs, texts and tokens, checked against a model's config where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_emulator.backends.standins import llm_tensors
from triton_emulator.harness.beside_text import beside_text
from triton_emulator.harness.near_miss import datatype_of, form, shape_advice
from triton_emulator.protocol.datatypes import DATATYPES, Array
from triton_emulator.protocol.messages import InferRequest, Parameter
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec
from triton_emulator.yaml_nodes import hint

#: the output and the input of a language model that no repository has
TEXT_OUTPUT, TEXT_INPUT = "text_output", "text_input"
#: inputs and parameters by which a request asks for a stream
STREAM = ("stream", "streaming")
#: what JSON and YAML write a tensor as
_FORM = frozenset(("datatype", "shape", "data"))
#: of an array in every version of numpy
_MOST_DIMS = 32


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: the responses that a model sends, or the tokens of a text (then `responses` is empty).

    `config` is that of the model that it was made for, None where there was none. `output` is the output with the
    text, whose `dims` are those of the config, without the batch dimension.
    """

    config: ModelConfig | None = None
    responses: tuple[tuple[Tensor, ...], ...] = ()
    tokens: tuple[str, ...] = ()
    output: str = ""
    dims: tuple[int, ...] = (1,)
    batching: bool = False
    parameters: tuple[tuple[str, Parameter], ...] = ()

    def tensors(self) -> Sequence[Tensor]:
        """A tensor of each name that it has."""
        found = {tensor.name: tensor for response in self.responses for tensor in response}
        if self.tokens:
            found[self.output] = self._text("", 1)
        return list(found.values())

    def answered(self, request: InferRequest, *, batch: int, streams: bool) -> list[list[Tensor]]:
        """The responses to a request of `batch` rows; of a text one for each token where it `streams`.

        Beside a text there is what the request asks for by its inputs `return_<output>`.
        """
        if not self.tokens:
            return [
                [tensor.renamed(tensor.name, tensor.shape) for tensor in response]
                for response in self.responses
            ]
        texts = self.tokens if streams else ("".join(self.tokens),)
        responses = [[self._text(text, batch)] for text in texts]
        if self.config is None:
            return responses
        further = beside_text(self.config, self.output, self.tokens, request, streams=streams)
        return [[*text, *others] for text, others in zip(responses, further, strict=True)]

    def _text(self, text: str, batch: int) -> Tensor:
        """The text in every element: one, unless the dims are fixed or the request has several rows."""
        shape = (*((batch,) if self.batching else ()), *(max(dim, 1) for dim in self.dims))
        array = np.empty(shape, dtype=np.object_)
        array.fill(text.encode("utf-8", "surrogateescape"))
        return Tensor(self.output, "BYTES", shape, array=array)


def reply_of(
    config: ModelConfig | None,
    outputs: Any = None,
    *,
    text: Any = None,
    tokens: Any = None,
    output: Any = None,
    parameters: Any = None,
) -> Reply:
    """The reply that these mean for a model; `config` is None where there is no such model.

    Raises TypeError and ValueError, with the tensor's name and what would be right.
    """
    if [outputs, text, tokens].count(None) != 2:
        raise TypeError("a stub answers outputs, or text, or tokens: one of these")
    if output is not None and outputs is not None:
        raise TypeError("output names the output of text or tokens; outputs have their names already")
    pairs = _parameters(parameters)
    if outputs is None:
        return _text_reply(config, _tokens(text, tokens), output, pairs)
    several = [outputs] if isinstance(outputs, Mapping) else outputs
    if isinstance(several, str | bytes) or not isinstance(several, Sequence) or not several:
        advice = f"; a text is respond(text={outputs!r})" if isinstance(outputs, str) else ""
        raise TypeError(
            f"outputs are a mapping from names to arrays, or a list of mappings, not {outputs!r}{advice}"
        )
    if len(several) > 1 and config is not None and not config.decoupled:
        raise ValueError(
            f"model '{config.name}' gives one response, as it is not decoupled; not {len(several)}"
        )
    return Reply(config, tuple(_response(config, response) for response in several), parameters=pairs)


def _parameters(given: Any) -> tuple[tuple[str, Parameter], ...]:
    if given is None:
        return ()
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str | int | float | bool) for name, value in given.items()
    ):
        raise TypeError(
            f"parameters are a mapping from names to texts, numbers, true or false, not {given!r}"
        )
    return tuple(given.items())


def _tokens(text: Any, tokens: Any) -> tuple[str, ...]:
    if tokens is None:
        if not isinstance(text, str):
            raise TypeError(f"text is a str, not {text!r}")
        return tuple(_words(text))
    if isinstance(tokens, str) or not isinstance(tokens, Sequence) or not tokens:
        raise TypeError(f"tokens are a list of texts, at least one, not {tokens!r}")
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"a token is a str, not {token!r}")
    return tuple(tokens)


def _words(text: str) -> list[str]:
    """The tokens of a text: its words, each with the white space before it. They make the text together."""
    words: list[str] = []
    start = 0
    for at in range(1, len(text)):
        if text[at].isspace() and not text[at - 1].isspace():
            words.append(text[start:at])
            start = at
    return [*words, text[start:]]


def _text_reply(
    config: ModelConfig | None,
    tokens: tuple[str, ...],
    output: Any,
    parameters: tuple[tuple[str, Parameter], ...],
) -> Reply:
    if output is not None and not isinstance(output, str):
        raise TypeError(f"output is the name of an output, not {output!r}")
    if config is None:
        return Reply(tokens=tokens, output=output or TEXT_OUTPUT, dims=(-1,), parameters=parameters)
    spec = _text_output(config, output)
    return Reply(config, (), tokens, spec.name, spec.dims, config.max_batch_size > 0, parameters)


def _text_output(config: ModelConfig, named: str | None) -> TensorSpec:
    """The output that has the text: the one that is named, or the one that a language model has."""
    if named is not None:
        spec = _spec(config, "output", named)
        if spec.datatype != "BYTES":
            raise ValueError(
                f"{named} of model '{config.name}' is {form(spec.datatype, spec.shape)}, no text"
            )
        return spec
    contract = llm_tensors.find(config)
    texts = [spec for spec in config.outputs if spec.datatype == "BYTES"]
    for spec in texts:
        if (contract is not None and spec.name == contract.text) or len(texts) == 1:
            return spec
    known = ", ".join(f"{spec.name} {form(spec.datatype, spec.shape)}" for spec in config.outputs)
    raise ValueError(
        f"model '{config.name}' has not one output with a text; name it by output=. It has {known}"
    )


def _response(config: ModelConfig | None, outputs: Any) -> tuple[Tensor, ...]:
    if not isinstance(outputs, Mapping) or not outputs:
        raise TypeError(f"outputs are a mapping from names to arrays, at least one, not {outputs!r}")
    return tuple(output_tensor(config, name, value) for name, value in outputs.items())


def output_tensor(config: ModelConfig | None, name: str, value: Any) -> Tensor:
    """An output as a tensor. Raises TypeError and ValueError where the model has no such output."""
    if not isinstance(name, str):
        raise TypeError(f"the name of an output is a str, not {name!r}")
    spec = None if config is None else _spec(config, "output", name)
    tensor = tensor_of(name, value, spec)
    if spec is not None:
        check_form(name, tensor.datatype, tensor.shape, spec)
    return tensor


def formed_inputs(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The expected inputs that have a datatype and a shape: arrays, of which copies are made, and mappings."""
    return {
        name: tensor_of(name, value)
        for name, value in inputs.items()
        if isinstance(value, Mapping | np.ndarray)
    }


def expected_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs to compare with: arrays, and lists as they are. Raises TypeError and ValueError."""
    return {**inputs, **{name: tensor.array for name, tensor in formed_inputs(inputs).items()}}


def check_inputs(config: ModelConfig, inputs: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for an expected input that no request to the model can have."""
    for name, value in inputs.items():
        spec = _spec(config, "input", name)
        if isinstance(value, np.ndarray):
            check_form(name, datatype_of(value), value.shape, spec)


def _spec(config: ModelConfig, side: str, name: str) -> TensorSpec:
    specs = config.inputs if side == "input" else config.outputs
    for spec in specs:
        if spec.name == name:
            return spec
    known = [spec.name for spec in specs]
    advice = hint(name, known) or f"; it has {', '.join(known)}"
    raise ValueError(f"model '{config.name}' has no {side} {name!r}{advice}")


def check_form(name: str, datatype: str, shape: Sequence[int], spec: TensorSpec) -> None:
    """Raise ValueError where a datatype or a shape is not that of a model's tensor."""
    given, wanted = tuple(shape), spec.shape
    raw = (datatype, spec.datatype) == ("UINT16", "BF16")  # numpy has no BF16
    if (datatype == spec.datatype or raw) and _fits(given, wanted):
        return
    advice = shape_advice(wanted, given)
    if datatype != spec.datatype:
        usual = {("FP64", "FP32"), ("INT64", "INT32")}
        advice = f": {datatype} is numpy's default" if (datatype, spec.datatype) in usual else ""
    elif spec.shape != spec.dims and _fits(given, spec.dims):
        advice = ": the batch dimension is missing"
    raise ValueError(
        f"{name}: the model has {form(spec.datatype, wanted)}, not {form(datatype, given)}{advice}"
    )


def _fits(given: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(given) == len(wanted) and all(
        want in (-1, dim) for dim, want in zip(given, wanted, strict=True)
    )


# --- values as tensors ---


def tensor_of(name: str, value: Any, spec: TensorSpec | None = None) -> Tensor:
    """A value as a tensor: an array as it is; a list, a number or a text in the datatype of `spec`.

    Without a `spec` a text is BYTES, true and false are BOOL, a whole number is INT64 and another one FP32. A mapping
    with `datatype`, `shape` and `data` is what it says. Raises TypeError and ValueError.
    """
    if isinstance(value, Mapping):
        return _formed(name, value)
    if isinstance(value, np.ndarray):
        return _copied(name, value, spec)
    elements, shape = _flattened(name, value)
    datatype = _suggested(name, elements) if spec is None else spec.datatype
    return Tensor(name, datatype, shape, array=_converted(name, elements, datatype).reshape(shape))


def _formed(name: str, value: Mapping[str, Any]) -> Tensor:
    if not _FORM.issuperset(value) or not {"datatype", "data"} <= set(value):
        raise ValueError(f"{name}: a tensor is {{datatype: FP32, shape: [1, 3], data: [..]}}, not {value!r}")
    datatype = value["datatype"]
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"{name}: datatype is one of {', '.join(DATATYPES)}, not {datatype!r}")
    elements, shape = _flattened(name, value["data"])
    array = _converted(name, elements, datatype)
    given = value.get("shape", list(shape))
    if not isinstance(given, list | tuple) or not all(type(dim) is int and dim >= 0 for dim in given):
        raise ValueError(f"{name}: shape is a list of numbers, 0 or more, not {given!r}")
    if len(given) > _MOST_DIMS:
        raise ValueError(f"{name}: a tensor has at most {_MOST_DIMS} dimensions")
    count = 1
    for dim in given:
        count *= dim
    if count != len(elements):
        raise ValueError(f"{name}: {form(datatype, given)} has {count} elements, not {len(elements)}")
    return Tensor(name, datatype, given, array=array.reshape(given))


def _copied(name: str, value: Array, spec: TensorSpec | None) -> Tensor:
    """An array as a tensor of its own: the test may change the array."""
    datatype = datatype_of(value)
    if datatype == "BYTES":
        elements, _ = _flattened(name, value.ravel().tolist())
        array = _converted(name, elements, datatype).reshape(value.shape)
        return Tensor(name, datatype, value.shape, array=array)
    if datatype not in DATATYPES:
        raise ValueError(f"{name}: Triton has no datatype for {value.dtype}")
    if spec is not None and (datatype, spec.datatype) == ("UINT16", "BF16"):
        datatype = "BF16"
    return Tensor(name, datatype, value.shape, array=np.array(value, dtype=DATATYPES[datatype].numpy))


def _flattened(name: str, value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The elements of nested lists, and their shape."""
    shape: list[int] = []
    level = [value]
    while level and all(isinstance(each, list | tuple) for each in level):
        lengths = {len(each) for each in level}
        if len(lengths) != 1:
            raise ValueError(f"{name}: lists of different lengths are no tensor")
        shape.append(lengths.pop())
        if len(shape) > _MOST_DIMS:
            raise ValueError(f"{name}: a tensor has at most {_MOST_DIMS} dimensions")
        level = [element for each in level for element in each]
    for element in level:
        if not isinstance(element, bool | int | float | str | bytes | np.generic):
            raise TypeError(f"{name}: an element is a number, a text or bytes, not {element!r}")
    return level, tuple(shape)


def _suggested(name: str, elements: Sequence[Any]) -> str:
    """The datatype of elements that have none."""
    for kinds, datatype in (
        ((str, bytes), "BYTES"),
        ((bool, np.bool_), "BOOL"),
        ((int, np.integer), "INT64"),
        ((int, np.integer, float, np.floating), "FP32"),
    ):
        if elements and all(isinstance(element, kinds) for element in elements):
            return datatype
    raise ValueError(
        f"{name}: no datatype fits these elements; give an array, or {{datatype: .., shape: .., data: ..}}"
    )


def _converted(name: str, elements: Sequence[Any], datatype: str) -> Array:
    """The elements in one dimension, of a datatype. Raises ValueError for one that the datatype does not have."""
    array: Array
    if datatype == "BYTES":
        array = np.empty(len(elements), dtype=np.object_)
        for at, element in enumerate(elements):
            if not isinstance(element, str | bytes):
                raise ValueError(f"{name}: an element of BYTES is a text, not {element!r}")
            array[at] = element if isinstance(element, bytes) else element.encode("utf-8", "surrogateescape")
        return array
    wanted = DATATYPES[datatype].numpy
    kinds: tuple[type, ...] = (bool, np.bool_)
    if datatype != "BOOL":
        kinds = (int, np.integer) if wanted.kind in "iu" and datatype != "BF16" else (int, float, np.number)
    for element in elements:
        if not isinstance(element, kinds) or (isinstance(element, bool) and datatype != "BOOL"):
            raise ValueError(f"{name}: {element!r} is no {datatype}")
    try:
        if datatype == "BF16":  # the upper half of an FP32
            return (np.array(elements, dtype=np.float32).view(np.uint32) >> 16).astype(wanted)
        with np.errstate(over="ignore"):  # a float that is too large is infinite
            return np.array(elements, dtype=wanted)
    except OverflowError:
        raise ValueError(f"{name}: a number is too large for {datatype}") from None


def wants_stream(request: InferRequest, config: ModelConfig, *, operation_streams: bool) -> bool:
    """Whether a text is to be answered in several responses.

    A request that says so by an input or a parameter decides. Else a model with such an input does not stream, and
    any other does where the operation has a stream.
    """
    for name in STREAM:
        for tensor in request.inputs:
            if tensor.name == name and tensor.datatype == "BOOL":
                asked = bool(tensor.array.any())
                return asked and (operation_streams or config.decoupled)
        for key, value in request.parameters:
            if key == name and isinstance(value, bool):
                return value and (operation_streams or config.decoupled)
    return operation_streams and not any(spec.name in STREAM for spec in config.inputs)
