"""Embeddings that mean nothing but never change: a text always gives the same vector of unit length."""

from hashlib import shake_128

import numpy as np
import triton_python_backend_utils as pb_utils

DIM = 384


def embed(text):
    drawn = np.frombuffer(shake_128(b"0/" + text).digest(4 * DIM), dtype="<i4") / 2147483648.0
    return (drawn / np.sqrt((drawn * drawn).sum())).astype(np.float32)


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        texts = pb_utils.get_input_tensor_by_name(request, "input_text").as_numpy()
        vectors = np.zeros((len(texts), DIM), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = embed(text)
        return pb_utils.InferenceResponse([pb_utils.Tensor("embeddings", vectors)])
