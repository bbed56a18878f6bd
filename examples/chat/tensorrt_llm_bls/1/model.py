"""The same chain as the ensemble, orchestrated in Python (BLS)."""

import triton_python_backend_utils as pb_utils


def run(model, outputs, inputs):
    """The outputs of another model by name. Its error becomes this model's error."""
    tensors = [pb_utils.Tensor(name, array) for name, array in inputs.items()]
    response = pb_utils.InferenceRequest(
        model_name=model, requested_output_names=list(outputs), inputs=tensors
    ).exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
            wanted = pb_utils.get_input_tensor_by_name(request, "max_tokens").as_numpy()
            ids, lengths, wanted = run(
                "preprocessing",
                ["INPUT_ID", "REQUEST_INPUT_LEN", "REQUEST_OUTPUT_LEN"],
                {"QUERY": text, "REQUEST_OUTPUT_LEN": wanted},
            )
            tokens, sizes = run(
                "tensorrt_llm",
                ["output_ids", "sequence_length"],
                {"input_ids": ids, "input_lengths": lengths, "request_output_len": wanted},
            )
            (answer,) = run("postprocessing", ["OUTPUT"], {"TOKENS_BATCH": tokens, "SEQUENCE_LENGTH": sizes})
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("text_output", answer)]))
        return responses
