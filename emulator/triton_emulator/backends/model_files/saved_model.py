"""TensorFlow's SavedModel: a signature of `saved_model.pb`, else of the graph that is tagged to be served.

The fields are those of TensorFlow's protos:

    SavedModel       2 meta_graphs
    MetaGraphDef     1 meta_info_def, 5 signature_def (a map)
    MetaInfoDef      4 tags
    SignatureDef     1 inputs, 2 outputs (maps)
    TensorInfo       2 dtype, 3 tensor_shape
    TensorShapeProto 2 dim
    Dim              1 size
    an entry of a map   1 key, 2 value
"""

from pathlib import Path

from triton_emulator.backends.model_files.signature import MOST_TENSORS, FileTensor, Signature, Unreadable
from triton_emulator.backends.model_files.wire_format import Message, open_message

FILE_NAME = "saved_model.pb"

#: DataType, as far as the TensorFlow backend knows it
_DATATYPES = {
    1: "TYPE_FP32",
    2: "TYPE_FP64",
    3: "TYPE_INT32",
    4: "TYPE_UINT8",
    5: "TYPE_INT16",
    6: "TYPE_INT8",
    7: "TYPE_STRING",
    9: "TYPE_INT64",
    10: "TYPE_BOOL",
    17: "TYPE_UINT16",
    19: "TYPE_FP16",
    22: "TYPE_UINT32",
    23: "TYPE_UINT64",
}
#: signatures that are not for inference
_OF_TRAINING = frozenset({"__saved_model_init_op", "__saved_model_train_op"})


def read(folder: Path, tag: str = "", signature: str = "") -> Signature:
    """Read the graph with that tag ("serve") and its signature ("serving_default", else any other).

    Raises Unreadable.
    """
    with open_message(folder / FILE_NAME) as model:
        graph = _graph(model, tag or "serve")
        found = _signature(graph, signature)
        return Signature(_tensors(found, 1), _tensors(found, 2))


def _graph(model: Message, tag: str) -> Message:
    for graph in model.messages(2):
        info = graph.message(1)
        if info is not None and tag in [text.decoded() for text in info.messages(4)]:
            return graph
    raise Unreadable(f"it has no graph with the tag '{tag}'")


def _signature(graph: Message, name: str) -> Message:
    wanted = name or "serving_default"
    found: Message | None = None
    for entry in graph.messages(5):
        key = entry.text(1)
        if key == wanted or (not name and found is None and key not in _OF_TRAINING):
            found = entry.message(2) or found
        if key == wanted:
            break
    if found is None:
        raise Unreadable(f"it has no signature '{wanted}'")
    return found


def _tensors(signature: Message, number: int) -> tuple[FileTensor, ...]:
    """In the order of their names: the order in the file, and the backend's, are those of a hash table."""
    found: dict[str, FileTensor] = {}
    for entry in signature.messages(number):
        name, info = entry.text(1), entry.message(2)
        shape = None if info is None else info.message(3)
        dims = () if shape is None else tuple(dim.integer(1, 0) for dim in shape.messages(2))
        datatype = 0 if info is None else info.integer(2, 0)
        found[name] = FileTensor(name, _DATATYPES.get(datatype, "TYPE_INVALID"), dims)
        if len(found) > MOST_TENSORS:
            raise Unreadable(f"it has more than {MOST_TENSORS} inputs or outputs")
    return tuple(found[name] for name in sorted(found))
