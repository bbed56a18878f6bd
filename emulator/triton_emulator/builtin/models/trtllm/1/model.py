"""A language model of a few words, with the tensors and the manners of the TensorRT-LLM ensemble."""

import re
from hashlib import shake_128
from zlib import crc32

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
MOST = 128


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


TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")


def count(text):
    """The tokens of a text: words, numbers and punctuation marks."""
    return len(TOKEN.findall(text.decode("utf-8", "surrogateescape")))


def logprob(token):
    """A token's invented log probability, between -2 and 0."""
    return -(crc32(token.encode()) % 2000) / 1000


def without(tokens, reason, stop, bad):
    """The answer without its bad words, ended before the first stop word."""
    tokens = [token for token in tokens if token.strip() not in bad]
    text = "".join(tokens)
    found = min((text.find(word) for word in stop if word and word in text), default=None)
    if found is None:
        return tokens, reason
    kept = []
    for token in tokens:
        if found <= 0:
            break
        kept.append(token[:found])
        found -= len(token)
    return kept, "stop"


def read(request, name, row, default):
    """One row of an optional input: a number, or the words of a list."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return default
    values = tensor.as_numpy()[row].reshape(-1)
    if values.dtype == np.object_:
        return [value.decode("utf-8", "surrogateescape") for value in values]
    return values[0].item() if len(values) else default


def texts(name, rows):
    table = np.empty((len(rows), len(rows[0])), dtype=np.object_)
    table[:] = rows
    return pb_utils.Tensor(name, table)


def fail(sender, message, code):
    response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
    sender.send(response, pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            self.generate(request, request.get_response_sender())

    def generate(self, request, sender):
        prompts = [row[0] for row in pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()]
        flags = {
            name: bool(read(request, name, 0, False))
            for name in ("stream", "return_log_probs", "return_num_input_tokens", "return_num_output_tokens")
        }
        echo = not read(request, "exclude_input_in_output", 0, flags["stream"])
        number = max(
            read(request, name, row, 1)
            for name in ("num_return_sequences", "beam_width")
            for row, _ in enumerate(prompts)
        )
        if number > 1 and number * len(prompts) > MOST:
            message = f"{number * len(prompts)} answers to one request are too many, {MOST} are allowed"
            fail(sender, message, pb_utils.TritonError.INVALID_ARG)
            return
        answers = [self.answers(request, row, prompt, max(number, 1)) for row, prompt in enumerate(prompts)]
        steps = max(1, *(len(tokens) for row in answers for tokens in row))
        step = 1 if flags["stream"] else steps
        for start in range(0, steps, step):
            if sender.is_cancelled():
                fail(sender, "Request was cancelled", pb_utils.TritonError.CANCELLED)
                return
            parts = [[tokens[start : start + step] for tokens in row] for row in answers]
            lead = prompts if echo and start == 0 else [b""] * len(prompts)
            response = self.response(lead, parts, answers, start + step, prompts, flags)
            last = start + step >= steps
            sender.send(response, pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)

    def answers(self, request, row, prompt, number):
        """The token lists that answer one prompt."""
        found = []
        for index in range(number):
            tokens, reason = answer(
                prompt,
                read(request, "max_tokens", row, None),
                read(request, "min_tokens", row, 0),
                seed=read(request, "seed", row, 0),
                index=index,
            )
            stop, bad = read(request, "stop_words", row, []), read(request, "bad_words", row, [])
            found.append(without(tokens, reason, stop, bad)[0])
        return found

    def response(self, lead, parts, answers, end, prompts, flags):
        rows = range(len(parts))
        outputs = [
            texts(
                "text_output", [[lead[row] + "".join(part).encode() for part in parts[row]] for row in rows]
            ),
        ]
        if flags["return_log_probs"]:
            width = max(len(part) for row in parts for part in row)
            table = np.zeros((len(parts), len(parts[0]), width), dtype=np.float32)
            for row in rows:
                for beam, part in enumerate(parts[row]):
                    table[row, beam, : len(part)] = [logprob(token) for token in part]
            sums = [[sum(map(logprob, tokens[:end])) for tokens in row] for row in answers]
            outputs.append(pb_utils.Tensor("cum_log_probs", np.array(sums, dtype=np.float32)))
            outputs.append(pb_utils.Tensor("output_log_probs", table))
        outputs.append(pb_utils.Tensor("batch_index", np.array([[row] for row in rows], dtype=np.int32)))
        outputs.append(pb_utils.Tensor("sequence_index", np.zeros((len(parts), 1), dtype=np.int32)))
        if flags["return_num_input_tokens"]:
            counts = np.array([[count(prompt)] for prompt in prompts], dtype=np.int32)
            outputs.append(pb_utils.Tensor("num_input_tokens", counts))
        if flags["return_num_output_tokens"]:
            counts = np.array([[len(row[0])] for row in parts], dtype=np.int32)
            outputs.append(pb_utils.Tensor("num_output_tokens", counts))
        return pb_utils.InferenceResponse(outputs)
