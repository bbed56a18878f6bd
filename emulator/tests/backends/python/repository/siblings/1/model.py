import folder.leaf
import numpy as np
import triton_python_backend_utils as pb_utils
import utils
from folder import leaf as again

from . import near
from .near import WORD


def say(*values):
    return pb_utils.InferenceResponse([pb_utils.Tensor("SAID", np.array([repr(v).encode() for v in values], dtype=object))])


class TritonPythonModel:
    def initialize(self, args):
        import beside_the_version

        self.beside = beside_the_version.WORD

    def execute(self, requests):
        import importlib

        import late
        import utils as second

        from . import late_relative

        third = importlib.import_module("utils")
        return [
            say(
                utils.WORD,
                near.WORD,
                WORD,
                folder.leaf.WORD,
                again is folder.leaf,
                self.beside,
                late.WORD,
                late_relative.WORD,
                second is utils,
                third is utils,
                utils.__name__,
                near.__name__,
                near.__package__,
                folder.__name__,
                __name__,
                __package__,
                type(self).__module__,
                near.back(),
            )
        ]
