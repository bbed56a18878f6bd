"""Token ids to text: the inverse of preprocessing."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

BYTE_IDS = 256


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        name = config["parameters"]["vocabulary"]["string_value"]
        self.words = (Path(args["model_repository"]) / name).read_text().split()

    def decode(self, ids):
        pieces = []
        spelled = bytearray()
        for token in ids:
            if token < BYTE_IDS:
                spelled.append(token)
                continue
            if spelled:
                pieces.append(spelled.decode("utf-8", "replace"))
                spelled = bytearray()
            pieces.append(self.words[(token - BYTE_IDS) % len(self.words)])
        if spelled:
            pieces.append(spelled.decode("utf-8", "replace"))
        return " ".join(pieces)

    def execute(self, requests):
        responses = []
        for request in requests:
            tokens = pb_utils.get_input_tensor_by_name(request, "TOKENS_BATCH").as_numpy()
            lengths = pb_utils.get_input_tensor_by_name(request, "SEQUENCE_LENGTH").as_numpy()
            texts = np.array(
                [
                    [self.decode(beam[:length].tolist()).encode() for beam, length in zip(row, sizes, strict=True)]
                    for row, sizes in zip(tokens, lengths, strict=True)
                ],
                dtype=np.object_,
            )
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", texts)]))
        return responses
