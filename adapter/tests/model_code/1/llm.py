"""A simulated language model: it has the tensors of Triton's LLM backends, and its texts are predictable.

The prompt says what happens (its last line, if it has several):
  SAY x y z          answers "x y z", one token for each word and the blank before it
  REPORT             answers with what the model received, as base64 of JSON: one token, safe from stop words
  FAIL               fails before the first token
  BREAK n x y z      fails after n tokens
  SILENT             ends without a response
  SCRIPT json        sends the listed responses: each an object of output name -> list of values
  anything else      answers "You said: " and the prompt
"""

import base64
import json

import numpy as np
import triton_python_backend_utils as pb_utils

# The backend's names: prompt, limit, answer.
NAMES = {
    "QUERY": ("QUERY", "LIMIT", "REPLY"),
    "text_input": ("text_input", "max_tokens", "text_output"),
}


def scalar(value):
    value = value.decode() if isinstance(value, bytes) else value
    return value.item() if hasattr(value, "item") else value


class Request:
    """The inputs of one request by name, and the parameters that follow from them."""

    def __init__(self, request, contract):
        self.request = request
        self.tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        self.values = {
            name: [scalar(item) for item in array.reshape(-1)] for name, array in self.tensors.items()
        }
        prompt, limit, self.text_name = contract
        self.prompt = self.one(prompt, "")
        self.sampling = json.loads(self.one("sampling_parameters", "{}"))
        wanted = (
            self.one(limit) or self.one("sampling_param_max_tokens") or self.sampling.get("max_tokens") or 16
        )
        self.limit = int(wanted)
        self.stream = bool(self.one("stream") or self.one("streaming"))
        self.copies = int(
            self.one("num_return_sequences") or self.one("sampling_param_n") or self.sampling.get("n") or 1
        )

    def one(self, name, default=None):
        return self.values[name][0] if self.values.get(name) else default

    def report(self):
        shapes = {name: list(array.shape) for name, array in self.tensors.items()}
        report = json.dumps(
            {
                "inputs": self.values,
                "shapes": shapes,
                "parameters": json.loads(self.request.parameters() or "{}"),
            },
            sort_keys=True,
        )
        return base64.b64encode(report.encode()).decode()


def tokens(text):
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        inputs = {item["name"] for item in self.config["input"]}
        self.outputs = {item["name"]: item for item in self.config["output"]}
        self.contract = next(names for key, names in NAMES.items() if key in inputs)
        self.decoupled = self.config.get("model_transaction_policy", {}).get("decoupled", False)
        self.batched = self.config["max_batch_size"] > 0
        self.vllm = "sampling_parameters" in inputs
        self.two = self.config["name"] == "two_texts"
        self.excluding = inputs & {"exclude_input_in_output", "sampling_param_exclude_input_from_output"}
        self.echoes = bool(self.excluding) or self.config["name"] == "echoing"

    def execute(self, requests):
        if self.decoupled:
            for request in requests:
                self.stream(request)
            return None
        return [self.whole(request) for request in requests]

    def whole(self, raw):
        try:
            request = Request(raw, self.contract)
            return pb_utils.InferenceResponse(self.tensors(request, self.answer(request), first=True))
        except ValueError as error:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))

    def stream(self, raw):
        sender = raw.get_response_sender()
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        try:
            request = Request(raw, self.contract)
            word, _, rest = request.prompt.rpartition("\n")[2].partition(" ")
            if word == "SCRIPT":
                for entry in json.loads(rest):
                    sender.send(self.scripted(entry))
            elif word != "SILENT":
                self.send(sender, request)
        except ValueError as error:
            sender.send(pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error))), flags=final)
        else:
            sender.send(flags=final)

    def send(self, sender, request):
        if self.vllm:
            self.check_vllm(request)
        text = self.answer(request)
        if "embedding_request" in request.values:
            asked = json.loads(request.one("embedding_request"))["input"]
            text = json.dumps([float(len(asked)), 1.0, 0.0, -1.0])
            sender.send(self.response({"text_output": [text], "num_input_tokens": [len(asked)]}))
            return
        parts = tokens(text)
        broken = request.prompt.rpartition("\n")[2].startswith("BREAK ")
        cut = parts[: request.limit]
        if not request.stream:
            sender.send(pb_utils.InferenceResponse(self.tensors(request, text, first=True)))
            return
        for at, part in enumerate(cut):
            if broken and at == int(request.prompt.split(" ")[1]):
                raise ValueError("the engine broke in the middle")
            reason = None
            if at == len(cut) - 1:
                reason = "length" if len(cut) < len(parts) else "stop"
            sender.send(
                pb_utils.InferenceResponse(
                    self.tensors(request, part, first=at == 0, reason=reason, token=at, whole=False)
                )
            )

    def check_vllm(self, request):
        known = {
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
            "seed",
            "n",
            "presence_penalty",
            "min_p",
        }
        known |= {"frequency_penalty", "logprobs", "logit_bias", "structured_outputs", "repetition_penalty"}
        if set(request.sampling) - known:
            raise ValueError("Error generating stream: 'NoneType' object has no attribute 'lora_name'")
        if request.stream and request.one("exclude_input_in_output", True) is False:
            raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")

    def answer(self, request):
        line = request.prompt.rpartition("\n")[2]
        word, _, rest = line.partition(" ")
        if word == "FAIL":
            raise ValueError("the engine is out of memory")
        if word == "REPORT":
            return request.report()
        if word == "SAY":
            return rest
        if word == "BREAK":
            return rest.partition(" ")[2]
        return f"You said: {request.prompt}"

    def tensors(self, request, text, *, first, reason="", token=0, whole=True):
        """Return the output tensors of one response: all the text (`whole`) or one token of it."""
        parts = tokens(text)
        if reason == "":
            reason = "length" if request.limit < len(parts) else "stop"
        if reason == "length" and whole:
            text = "".join(parts[: request.limit])
        count = min(request.limit, len(parts)) if whole else 1
        excluded = next((request.one(name) for name in self.excluding if request.one(name) is not None), None)
        if excluded is None and self.vllm:
            excluded = request.stream
        if first and self.echoes and not excluded:
            text = request.prompt + text
        copies = 2 if self.two else request.copies
        texts = [text if copy == 0 or not whole else f"{text} ({copy})" for copy in range(copies)]
        values = {request.text_name: texts}
        if request.one("return_finish_reason"):
            values["finish_reason"] = [str(reason)] * copies
        if request.one("return_num_input_tokens"):
            values["num_input_tokens"] = [len(request.prompt.split())]
        if request.one("return_num_output_tokens"):
            values["num_output_tokens"] = [count if self.vllm or whole else token + 1] * copies
        if request.one("return_logprobs"):
            pieces = parts[: request.limit] if whole else [text]
            values["logprobs"] = [self.vllm_logprobs(pieces, request.sampling.get("logprobs", 0))] * copies
        if request.one("return_log_probs"):
            values["output_log_probs"] = [-0.5] * (count * copies)
        return [self.tensor(name, value) for name, value in values.items() if name in self.outputs]

    def vllm_logprobs(self, pieces, alternatives):
        def entries(piece, at):
            found = {str(at): {"logprob": -0.25, "rank": 1, "decoded_token": piece}}
            for rank in range(1, alternatives):
                found[str(1000 + rank)] = {
                    "logprob": -1.0 * rank,
                    "rank": rank + 1,
                    "decoded_token": f"alt{rank}",
                }
            return found

        return json.dumps([entries(piece, at) for at, piece in enumerate(pieces)])

    def scripted(self, entry):
        if "error" in entry:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(entry["error"]))
        return self.response(entry)

    def response(self, values):
        return pb_utils.InferenceResponse([self.tensor(name, value) for name, value in values.items()])

    def tensor(self, name, values):
        kind = pb_utils.triton_string_to_numpy(self.outputs[name]["data_type"])
        if kind == np.object_:
            array = np.array([value.encode() for value in values], dtype=np.object_)
        else:
            array = np.array(values, dtype=kind)
        if self.batched and name == "output_log_probs":
            return pb_utils.Tensor(name, array.reshape(1, 1, -1))
        return pb_utils.Tensor(name, array.reshape(1, -1) if self.batched else array)
