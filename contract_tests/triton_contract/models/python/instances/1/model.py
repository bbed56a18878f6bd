"""Shows which instances there are in a metric of its own, a series for each, in an order that nobody knows (hence the nv_)."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.family = pb_utils.MetricFamily(
            name="nv_my_instances", description="Instances of a model", kind=pb_utils.MetricFamily.GAUGE
        )
        labels = {key: args[f"model_instance_{key}"] for key in ("name", "kind", "device_id")}
        self.gauge = self.family.Metric(labels=labels)
        self.gauge.set(1)

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("Y", pb_utils.get_input_tensor_by_name(request, "X").as_numpy())])
            for request in requests
        ]
