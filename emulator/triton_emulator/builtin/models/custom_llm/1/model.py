"""A language model of a few words: one answer of at most max_tokens words to each prompt."""

from hashlib import shake_128

import numpy as np
import triton_python_backend_utils as pb_utils

SENTENCE = [
    place.split()
    for place in (
        "the a each this every one that another",
        "small large new simple clear quick long plain",
        "model server token request prompt tensor batch answer",
        "sends holds reads makes follows keeps finds shows",
        "the a each this every one that another",
        "word text question shape number stream name line",
        ". . . . . and but while",
    )
]
LONGEST = 4096


def answer(prompt, max_tokens=None, min_tokens=0, ignore_eos=False, seed=0, index=0):
    """Words drawn by a hash of the prompt: (tokens, "stop" or "length"). The same call gives the same words."""
    digest = shake_128(b"0/%d/%d/" % (seed, index) + prompt).digest
    limit = LONGEST if max_tokens is None else max(0, min(max_tokens, LONGEST))
    natural = max(12 + int.from_bytes(digest(2), "big") % 37, min_tokens)
    wanted = limit if ignore_eos else min(natural, limit + 1)
    tokens, opening = [], True
    for place, byte in enumerate(digest(2 + wanted)[2:]):
        word = SENTENCE[place % 7][byte & 7]
        tokens.append(word if word == "." else " " + (word.title() if opening else word))
        opening = word == "."
    if tokens:
        tokens[0] = tokens[0].lstrip()
        if wanted <= limit and not ignore_eos and len(tokens) > 1 and "." not in tokens[-2:]:
            tokens[-1] = "."
    return tokens[:limit], "length" if len(tokens) > limit or ignore_eos else "stop"


class TritonPythonModel:
    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0]
        limit = pb_utils.get_input_tensor_by_name(request, "max_tokens")
        tokens, _ = answer(prompt, None if limit is None else int(limit.as_numpy()[0]))
        text = np.array(["".join(tokens).encode()], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("text_output", text)])
