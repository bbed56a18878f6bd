"""Text to token ids: one id per word of the vocabulary, one per byte of any other word."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

BYTE_IDS = 256


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        name = config["parameters"]["vocabulary"]["string_value"]
        words = (Path(args["model_repository"]) / name).read_text().split()
        self.ids = {word: BYTE_IDS + number for number, word in enumerate(words)}

    def encode(self, text):
        ids = []
        for word in text.split():
            known = self.ids.get(word.lower())
            ids += [known] if known is not None else list(word.encode())
        return ids or [ord(" ")]

    def execute(self, requests):
        responses = []
        for request in requests:
            queries = pb_utils.get_input_tensor_by_name(request, "QUERY").as_numpy()
            rows = [self.encode(query.decode()) for query in queries.reshape(-1)]
            longest = max(len(row) for row in rows)
            ids = np.zeros((len(rows), longest), dtype=np.int32)
            for number, row in enumerate(rows):
                ids[number, : len(row)] = row
            lengths = np.array([[len(row)] for row in rows], dtype=np.int32)
            wanted = pb_utils.get_input_tensor_by_name(request, "REQUEST_OUTPUT_LEN").as_numpy()
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor("INPUT_ID", ids),
                        pb_utils.Tensor("REQUEST_INPUT_LEN", lengths),
                        pb_utils.Tensor("REQUEST_OUTPUT_LEN", wanted),
                    ]
                )
            )
        return responses
