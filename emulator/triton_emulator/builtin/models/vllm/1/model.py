"""A language model of a few words, with the tensors and the manners of the vLLM backend."""

import json
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


NAMES = """
    allowed_token_ids bad_words best_of detokenize early_stopping extra_args frequency_penalty guided_decoding
    ignore_eos include_stop_str_in_output length_penalty logit_bias logprobs lora_name max_tokens min_p min_tokens n
    output_kind presence_penalty prompt_logprobs repetition_penalty seed skip_special_tokens
    spaces_between_special_tokens stop stop_token_ids structured_outputs temperature top_k top_p
    truncate_prompt_tokens use_beam_search
"""
SAMPLING_PARAMS = NAMES.split()


class TooMany(Exception):
    """More answers are asked for than are made."""


def flag(request, name, default=False):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else bool(tensor.as_numpy()[0])


def sampling_parameters(request):
    """The JSON of that input, else the request's parameters; ValueError where they are no sampling parameters."""
    tensor = pb_utils.get_input_tensor_by_name(request, "sampling_parameters")
    if tensor is not None:
        given = json.loads(tensor.as_numpy()[0].decode("utf-8", "surrogateescape"))
    else:
        given = json.loads(request.parameters() or "{}")
        given.pop("id", None)  # generate puts the request's id among its parameters
    if not isinstance(given, dict) or not set(given) <= set(SAMPLING_PARAMS):
        raise ValueError("'NoneType' object has no attribute 'lora_name'")
    return {name: value for name, value in given.items() if value is not None}


def answers(prompt, sampling):
    """(tokens, finish reason) of every answer to a prompt."""
    try:
        stop, bad = sampling.get("stop", []), [str(word) for word in sampling.get("bad_words", [])]
        stop = [stop] if isinstance(stop, str) else [str(word) for word in stop]
        limit, number = int(sampling.get("max_tokens", 16)), int(sampling.get("n", 1))
        least, endless = int(sampling.get("min_tokens", 0)), bool(sampling.get("ignore_eos", False))
        seed = int(sampling.get("seed", 0))
        if limit < 1 or number < 1:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError("'NoneType' object has no attribute 'lora_name'") from None
    if number > MOST:
        raise TooMany(f"{number} answers to one request are too many, {MOST} are allowed")
    drawn = [answer(prompt, limit, least, endless, seed, index) for index in range(number)]
    return [without(tokens, reason, stop, bad) for tokens, reason in drawn]


def texts(name, elements):
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = [element.encode() for element in elements]
    return pb_utils.Tensor(name, array)


def fail(sender, message, code):
    response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
    sender.send(response, pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.generate(request, sender)
            except ValueError as error:
                fail(sender, f"Error generating stream: {error}", pb_utils.TritonError.INTERNAL)
            except TooMany as error:
                fail(sender, str(error), pb_utils.TritonError.INVALID_ARG)

    def generate(self, request, sender):
        prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0]
        stream = flag(request, "stream")
        echo = not flag(request, "exclude_input_in_output", stream)
        if echo and stream:
            raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
        sampling = sampling_parameters(request)
        found = answers(prompt, sampling)
        steps = max(1, *(len(tokens) for tokens, _ in found))
        step = 1 if stream else steps
        for start in range(0, steps, step):
            if sender.is_cancelled():
                fail(sender, "Request was cancelled", pb_utils.TritonError.CANCELLED)
                return
            response = self.response(
                request, prompt if echo else b"", prompt, found, start, start + step, sampling
            )
            last = start + step >= steps
            sender.send(response, pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)

    def response(self, request, lead, prompt, found, start, end, sampling):
        parts = [tokens[start:end] for tokens, _ in found]
        text = np.empty(len(parts), dtype=np.object_)
        text[:] = [lead + "".join(part).encode() for part in parts]
        outputs = [pb_utils.Tensor("text_output", text)]
        if flag(request, "return_finish_reason"):
            reasons = [reason if end >= len(tokens) else "None" for tokens, reason in found]
            outputs.append(texts("finish_reason", reasons))
        if flag(request, "return_cumulative_logprob"):
            sums = np.array([sum(map(logprob, tokens[:end])) for tokens, _ in found], dtype=np.float32)
            outputs.append(pb_utils.Tensor("cumulative_logprob", sums))
        if flag(request, "return_logprobs"):
            wanted = sampling.get("logprobs") is not None
            outputs.append(texts("logprobs", [self.logprobs(part) if wanted else "null" for part in parts]))
        if flag(request, "return_num_input_tokens"):
            outputs.append(pb_utils.Tensor("num_input_tokens", np.asarray(count(prompt), dtype=np.uint32)))
        if flag(request, "return_num_output_tokens"):
            counts = np.array([len(part) for part in parts], dtype=np.uint32)
            outputs.append(pb_utils.Tensor("num_output_tokens", counts))
        return pb_utils.InferenceResponse(outputs)

    def logprobs(self, part):
        return json.dumps(
            [
                {
                    crc32(token.encode()) % 32000: {
                        "logprob": logprob(token),
                        "rank": 1,
                        "decoded_token": token,
                    }
                }
                for token in part
            ]
        )
