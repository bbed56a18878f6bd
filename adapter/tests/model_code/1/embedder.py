"""A simulated embedding model: the vector of a text of n characters (or n tokens) is [n, 1, 0, -1]."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        self.name = self.config["name"]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        array = next(iter(tensors.values()))
        if "input_ids" in tensors:
            lengths = [int(row.sum()) for row in tensors["attention_mask"]]
        else:
            lengths = [len(item.decode()) for item in array.reshape(-1)]
        vectors = np.array([[length, 1, 0, -1] for length in lengths], dtype=np.float32)
        if "SCALE" in tensors:
            vectors *= float(tensors["SCALE"].reshape(-1)[0])
        outputs = []
        for output in self.config["output"]:
            kind = pb_utils.triton_string_to_numpy(output["data_type"])
            if output["name"] == "token_ids":
                outputs.append(pb_utils.Tensor("token_ids", np.array([[7]] * len(lengths), dtype=kind)))
            elif self.name == "embed_tokens_3d":
                spread = np.stack([vectors * 2, vectors * 0], axis=1)
                outputs.append(pb_utils.Tensor(output["name"], spread.astype(kind)))
            elif self.name == "embed_one":
                outputs.append(pb_utils.Tensor(output["name"], vectors[0].astype(kind)))
            else:
                outputs.append(pb_utils.Tensor(output["name"], vectors.astype(kind)))
        return pb_utils.InferenceResponse(outputs)
