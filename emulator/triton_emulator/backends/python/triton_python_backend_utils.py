"""The Python half of `triton_python_backend_utils`: what a model.py can use while it is imported.

The other half (Tensor, InferenceRequest, ...) belongs to one model instance. As in the real backend, it is added to the
instance's own copy of this module after its model.py has been imported.
"""

import json
import struct
from typing import Any

import numpy as np

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2
TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
TRITONSERVER_REQUEST_RELEASE_ALL = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE = 2

#: 2.51: TYPE_BF16 is not in the table
TRITON_STRING_TO_NUMPY: dict[str, Any] = {
    "TYPE_BOOL": bool,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}

#: numpy type by TRITONSERVER_DataType, which counts from 1 (BOOL) to 13 (BYTES)
_NUMPY_BY_NUMBER = dict(enumerate([np.bool_, *list(TRITON_STRING_TO_NUMPY.values())[1:]], start=1))


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """The numpy type of a config's data type ("TYPE_FP32"). Raises KeyError for others."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def triton_to_numpy_type(data_type: int) -> Any:
    """The numpy type of a TRITONSERVER_DataType number, None for a number without one."""
    return _NUMPY_BY_NUMBER.get(data_type)


def numpy_to_triton_type(data_type: Any) -> int | None:
    """The TRITONSERVER_DataType number of a numpy type or dtype, None for one without a number."""
    for number, candidate in _NUMPY_BY_NUMBER.items():
        if data_type == candidate:
            return number
    return 13 if data_type == np.bytes_ else None


def serialize_byte_tensor(input_tensor: Any) -> Any:
    """The wire form of an array of strings: for each element in C order its length (uint32, little-endian), then it.

    Elements that are not `bytes` are converted with `str` and encoded as UTF-8. An array without elements gives `()`,
    and one of another dtype than object or bytes gives None.
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype == np.object_:
        elements = input_tensor.ravel(order="C").tolist()
        for at, element in enumerate(elements):
            if type(element) is not bytes:
                elements[at] = str(element).encode()
    elif input_tensor.dtype.type == np.bytes_:
        elements = input_tensor.ravel(order="C").tolist()
    else:
        return None
    return b"".join([part for element in elements for part in (struct.pack("<I", len(element)), element)])


def deserialize_bytes_tensor(encoded_tensor: Any) -> Any:
    """The elements of a wire form as a one-dimensional object array of `bytes`."""
    elements = []
    at = 0
    while at < len(encoded_tensor):
        (length,) = struct.unpack_from("<I", encoded_tensor, at)
        (element,) = struct.unpack_from(f"<{length}s", encoded_tensor, at + 4)
        elements.append(element)
        at += 4 + length
    return np.array(elements, dtype=np.object_)


def get_input_tensor_by_name(inference_request: Any, name: str) -> Any:
    """The request's input of that name; None if it has none."""
    for tensor in inference_request.inputs():
        if tensor.name() == name:
            return tensor
    return None


def get_output_tensor_by_name(inference_response: Any, name: str) -> Any:
    """The response's output of that name; None if it has none."""
    for tensor in inference_response.output_tensors():
        if tensor.name() == name:
            return tensor
    return None


def get_input_config_by_name(model_config: dict[str, Any], name: str) -> Any:
    """The entry of that name in the config's inputs; None if there is none."""
    return _by_name(model_config.get("input", ()), name)


def get_output_config_by_name(model_config: dict[str, Any], name: str) -> Any:
    """The entry of that name in the config's outputs; None if there is none."""
    return _by_name(model_config.get("output", ()), name)


def _by_name(entries: Any, name: str) -> Any:
    return next((entry for entry in entries if entry["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: dict[str, Any]) -> Any:
    """Whether the config (a dict) asks for the decoupled transaction policy."""
    if "model_transaction_policy" in model_config:
        return model_config["model_transaction_policy"]["decoupled"]
    return False


class ModelConfig:
    """The configuration that `auto_complete_config` completes.

    What a method sets must agree with the configuration file; if it does not, the method raises ValueError.
    """

    def __init__(self, model_config: str) -> None:
        self._model_config: dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> dict[str, Any]:
        """The configuration itself, not a copy."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set `max_batch_size`. Raises ValueError if the configuration has a larger one."""
        configured = self._model_config["max_batch_size"]
        if configured > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {configured}, but in auto-complete-config function for "
                f"model '{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Choose the dynamic batcher. Raises ValueError if the configuration chooses another scheduler."""
        for scheduler in ("sequence_batching", "ensemble_scheduling"):
            if scheduler in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{scheduler}', but auto-complete-config function "
                    f"for model '{self._name}' tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def add_input(self, input: dict[str, Any]) -> None:
        """Add or complete an input: "name", "data_type", "dims" and maybe "optional"."""
        self._add("input", input, ("name", "data_type", "dims", "optional"))

    def add_output(self, output: dict[str, Any]) -> None:
        """Add or complete an output: "name", "data_type" and "dims"."""
        self._add("output", output, ("name", "data_type", "dims"))

    def set_model_transaction_policy(self, transaction_policy_dict: dict[str, Any]) -> None:
        """Set "decoupled". Raises ValueError for another property, or if the configuration says otherwise."""
        if any(key != "decoupled" for key in transaction_policy_dict):
            raise ValueError(
                f"model transaction property in auto-complete-config function for model '{self._name}' contains "
                "property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        if "decoupled" in transaction_policy_dict:
            decoupled = transaction_policy_dict["decoupled"]
            if policy.get("decoupled", decoupled) != decoupled:
                raise ValueError(
                    f"trying to change decoupled property in auto-complete-config for model '{self._name}', which is "
                    f"already set to '{policy['decoupled']}'."
                )
            policy["decoupled"] = decoupled

    @property
    def _name(self) -> Any:
        return self._model_config["name"]

    def _add(self, kind: str, tensor: dict[str, Any], allowed: tuple[str, ...]) -> None:
        self._check_properties(kind, tensor, allowed)
        name = tensor["name"]
        for current in self._model_config[kind]:
            if current["name"] == name:
                self._check_agreement(kind, current, tensor)
                current["data_type"] = tensor["data_type"]
                current["dims"] = tensor["dims"]
                if "optional" in tensor:
                    current["optional"] = tensor["optional"]
                return
        self._model_config[kind].append(tensor)

    def _check_properties(self, kind: str, tensor: dict[str, Any], allowed: tuple[str, ...]) -> None:
        where = f"in auto-complete-config function for model '{self._name}'"
        if any(key not in allowed for key in tensor):
            listed = ", ".join(f"'{key}'" for key in allowed[:-1]) + f" and '{allowed[-1]}'"
            raise ValueError(f"{kind} '{tensor['name']}' {where} contains property other than {listed}.")
        if "name" not in tensor:
            raise ValueError(f"{kind} {where} is missing 'name' property.")
        for required in ("data_type", "dims"):
            if required not in tensor:
                raise ValueError(f"{kind} '{tensor['name']}' {where} is missing '{required}' property.")

    def _check_agreement(self, kind: str, current: dict[str, Any], tensor: dict[str, Any]) -> None:
        name = tensor["name"]
        if current["data_type"] not in ("TYPE_INVALID", tensor["data_type"]):
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype {current['data_type']} for "
                f"{kind} '{name}', model provides {tensor['data_type']}"
            )
        if current["dims"] and current["dims"] != tensor["dims"]:
            self._disagree(name, "dims", tensor["dims"], current["dims"])
        if "optional" in current and "optional" in tensor and current["optional"] != tensor["optional"]:
            self._disagree(name, "optional", tensor["optional"], current["optional"])

    def _disagree(self, name: str, what: str, model: Any, config: Any) -> None:
        raise ValueError(
            f"model '{self._name}', tensor '{name}': the model expects {what} {model} but the model configuration "
            f"specifies {what} {config}"
        )
