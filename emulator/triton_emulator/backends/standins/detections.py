"""Makes the outputs of a stand-in for a detector agree with each other.

A detector has boxes, and by their names scores, classes and a count. Where its shapes are fixed, as many entries are
used as the count says, and the others are zero, as TensorRT's non-maximum suppression leaves them. The scores descend.
A class is within the model's label file. Where the number of entries is variable, it is the same in all outputs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import shake_128
from typing import Any

import numpy as np

from triton_emulator.protocol.datatypes import Array
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec

#: What an output holds, by its name: the first that matches. One without a role is none of a detector's.
_ROLES = (
    ("", re.compile(r"prob|softmax|logit|mask|keypoint|landmark|anchor|^raw_", re.IGNORECASE)),
    (
        "count",
        re.compile(r"^(num|n|nr)_?(of_?)?(det|box|obj|valid)|valid_det|_count$|^count$", re.IGNORECASE),
    ),
    ("box", re.compile(r"box", re.IGNORECASE)),
    ("score", re.compile(r"score|conf", re.IGNORECASE)),
    ("class", re.compile(r"class|label|categor", re.IGNORECASE)),
)
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
#: How many classes there are without a label file.
_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Part:
    """What an output holds of each detection. `axis` is that of the entries, counted from the end; 0 for the count."""

    role: str
    axis: int


@dataclass(frozen=True, slots=True)
class Detections:
    """What the outputs of a detector have in common: their parts, how many entries there are, the classes' labels.

    `entries` is a dimension as `dims` in `emulator.yaml` gives it. `padded` says whether an answer may use fewer of
    them. `count` is how many it uses by the settings, None to draw it.
    """

    parts: Mapping[str, Part]
    entries: int | str
    padded: bool
    count: int | None
    labels: Sequence[bytes]
    seed: int

    def used(self, key: bytes, entries: int) -> int:
        """How many of the entries an answer uses. `key` is the content of the request."""
        if self.count is not None:
            return max(0, min(self.count, entries))
        if not self.padded or entries == 0:
            return entries
        drawn = shake_128(f"{self.seed}/detections/".encode() + key).digest(4)
        return 1 + int.from_bytes(drawn, "little") % entries

    def limits(self, spec: TensorSpec) -> tuple[float, float] | None:
        """Between which numbers an output's values are drawn; None where its role does not say."""
        if self.parts[spec.name].role != "class":
            return None
        classes = len(self.labels) or _CLASSES
        # a float is below its limit, and is then rounded down
        return 0, classes if spec.datatype in _FLOATS else classes - 1

    def shaped(self, name: str, values: Array, key: bytes, entries: int) -> Array:
        """An output's values as they agree with the others. `entries` is how many entries the outputs have."""
        part = self.parts[name]
        used = self.used(key, entries)
        if part.role == "count":
            return np.full_like(values, used)
        if part.role == "class":
            values = self._classes(values)
        elif part.role == "box":
            low, high = values[..., :2], values[..., 2:]
            values = np.concatenate([np.minimum(low, high), np.maximum(low, high)], axis=-1)
        else:
            values = np.flip(np.sort(values, axis=-part.axis), axis=-part.axis).copy()
        if part.axis:
            unused = np.moveaxis(values, -part.axis, 0)[used:]
            unused[...] = b"" if values.dtype == object else 0
        return values

    def _classes(self, values: Array) -> Array:
        if values.dtype != object:
            return np.floor(values).astype(values.dtype)
        if not self.labels:
            return values
        words = list(self.labels)
        chosen = [
            words[int.from_bytes(shake_128(word).digest(4), "little") % len(words)] for word in values.flat
        ]
        made = np.empty(values.size, dtype=object)
        made[:] = chosen
        return made.reshape(values.shape)


def find(
    config: ModelConfig,
    labels: Mapping[str, Sequence[bytes]],
    seed: int,
    values: Mapping[str, Sequence[Any]],
    dims: Mapping[str, Sequence[int | str]],
) -> Detections | None:
    """What the outputs of a model have in common; None where it is no detector.

    `labels` are those of the config's label files; `values` and `dims` are the settings of the same names.
    """
    roles = {spec.name: (spec, _role(spec)) for spec in config.outputs}
    boxes = next((spec for spec, role in roles.values() if role == "box"), None)
    scores = next((spec for spec, role in roles.values() if role == "score"), None)
    counts = next((spec for spec, role in roles.values() if role == "count"), None)
    leader = boxes if boxes is not None else scores if counts is not None else None
    if leader is None:
        return None
    leader_axis = 2 if leader is boxes else 1
    rank = len(leader.dims) - leader_axis + 1  # of an output with one value for each entry
    axes = {spec.name: len(spec.dims) - rank + 1 for spec, role in roles.values() if role and role != "count"}
    axes = {name: axis for name, axis in axes.items() if axis in (1, 2) and _is_in_order(*roles[name], axis)}
    sizes = {name: roles[name][0].dims[-axis] for name, axis in axes.items()}
    size = next((size for size in (leader.dims[-leader_axis], *sizes.values()) if size != -1), -1)
    axes = {name: axis for name, axis in axes.items() if sizes[name] in (-1, size)}
    parts = {name: Part(roles[name][1], axis) for name, axis in axes.items()}
    if counts is not None:
        parts[counts.name] = Part("count", 0)
    given = [dims[name][-axis] for name, axis in axes.items() if name in dims]
    count = values.get(counts.name) if counts is not None else None
    return Detections(
        parts,
        entries=size if size != -1 else given[0] if given else 1,
        padded=size != -1,
        count=int(count[0]) if count is not None and isinstance(count[0], int | float) else None,
        labels=next((found for found in labels.values() if any(found)), ()),
        seed=seed,
    )


def _is_in_order(spec: TensorSpec, role: str, axis: int) -> bool:
    """Whether an output has one value for each entry, or is a box: scores for each class order no entries."""
    return role == "box" or axis == 1 or spec.dims[-1] == 1


def _role(spec: TensorSpec) -> str:
    """What an output holds by its name, if its datatype and shape allow it; else ""."""
    role = next((role for role, pattern in _ROLES if pattern.search(spec.name)), "")
    number = spec.datatype not in ("BYTES", "BOOL", "BF16")
    fits = {
        "": True,
        "count": number and all(dim == 1 for dim in spec.dims),
        "box": number and len(spec.dims) > 1 and spec.dims[-1] == 4,
        "score": spec.datatype in _FLOATS,
        "class": number or spec.datatype == "BYTES",
    }
    return role if fits[role] else ""
