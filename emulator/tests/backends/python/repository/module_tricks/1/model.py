from __future__ import annotations

import dataclasses
import enum
import pickle
import sys
import typing
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).parent / "more"))
import added_by_path


def say(*values):
    return pb_utils.InferenceResponse([pb_utils.Tensor("SAID", np.array([repr(v).encode() for v in values], dtype=object))])


@dataclasses.dataclass
class Point:
    x: int
    y: typing.ClassVar[int] = 2


class Colour(enum.Enum):
    RED = 1


class TritonPythonModel:
    def initialize(self, args):
        self.pickled = pickle.loads(pickle.dumps(Point(3)))

    def execute(self, requests):
        return [
            say(
                Point(1),
                self.pickled,
                typing.get_type_hints(Point)["x"],
                Colour.RED,
                added_by_path.WORD,
                __file__.split("/")[-3:],
                sys.modules[__name__].Point is Point,
                sys.modules[type(self).__module__] is not None,
                pb_utils.__name__,
                hasattr(pb_utils, "Tensor"),
            )
        ]
