"""Counts its requests in a metric of its own."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        family = pb_utils.MetricFamily(name="my_requests", description="What this model saw", kind=pb_utils.MetricFamily.COUNTER)
        self.family = family
        self.metric = family.Metric(labels={"model": "counting", "b": "2"})

    def execute(self, requests):
        self.metric.increment(len(requests))
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("Y", pb_utils.get_input_tensor_by_name(request, "X").as_numpy())]
            )
            for request in requests
        ]
