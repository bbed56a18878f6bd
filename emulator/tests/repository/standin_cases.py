"""Model folders of backends that cannot run on the recorded machine (`recorded/standin_configs.json`)."""

from emulator.tests.repository.config_case import IO, ConfigCase


def _file(config: str | None, *files: str, folders: tuple[str, ...] = ()) -> ConfigCase:
    return ConfigCase(config, files=dict.fromkeys((f"1/{file}" for file in files), ""), folders=folders)


#: In the recorded server these backends were Python programs that do nothing, under the names of the real backends.
#: Triton fills in the same values for them, except for `runtime`, which only backends written in Python have.
STANDIN_BACKENDS = (
    "onnxruntime",
    "tensorrt",
    "pytorch",
    "vllm",
    "tensorrtllm",
    "openvino",
    "tensorflow",
    "fil",
    "dali",
)
STANDIN_CASES: dict[str, ConfigCase] = {
    "onnx_from_file": _file(IO, "model.onnx"),
    "onnx_from_folder": _file(IO, folders=("1/model.onnx",)),
    "onnx_from_platform": _file('platform: "onnxruntime_onnx"\n' + IO, "x"),
    "onnx_from_backend": _file('backend: "onnxruntime"\nmax_batch_size: 4\n' + IO, "x"),
    "onnx_from_filename": _file('default_model_filename: "model.onnx"\n' + IO, "x"),
    "onnx_other_filename": _file(
        'platform: "onnxruntime_onnx"\ndefault_model_filename: "net.onnx"\n' + IO, "net.onnx"
    ),
    "onnx_one_instance": _file('backend: "onnxruntime"\ninstance_group { count: 1 }\n' + IO, "x"),
    "onnx_group_without_count": _file(
        'backend: "onnxruntime"\ninstance_group { kind: KIND_CPU }\n' + IO, "x"
    ),
    "tensorrt_from_file": _file(IO, "model.plan"),
    "tensorrt_plan_is_a_folder": _file(IO, folders=("1/model.plan",)),
    "tensorrt_shape_tensor": _file(
        'platform: "tensorrt_plan"\nmax_batch_size: 2\n'
        'input { name: "S" data_type: TYPE_INT32 dims: 2 is_shape_tensor: true }\n'
        'input { name: "L" data_type: TYPE_FP16 dims: [ 1, 2, 3 ] is_non_linear_format_io: true }\n' + IO,
        "x",
    ),
    "tensorrt_non_linear_two_dims": _file(
        'platform: "tensorrt_plan"\n'
        'input { name: "L" data_type: TYPE_FP16 dims: [ 1, 2 ] is_non_linear_format_io: true }\n' + IO,
        "x",
    ),
    "tensorrt_profiles": _file(
        'platform: "tensorrt_plan"\ninstance_group { profile: [ "0", "2" ] }\n' + IO, "x"
    ),
    "tensorrt_profile_negative": _file(
        'platform: "tensorrt_plan"\ninstance_group { profile: "-1" }\n' + IO, "x"
    ),
    "tensorrt_profile_no_number": _file(
        'platform: "tensorrt_plan"\ninstance_group { profile: "one" }\n' + IO, "x"
    ),
    "tensorrt_profile_empty": _file('platform: "tensorrt_plan"\ninstance_group { profile: "" }\n' + IO, "x"),
    "tensorrt_graph_spec": _file(
        'platform: "tensorrt_plan"\nmax_batch_size: 8\n'
        "optimization { cuda { graphs: true graph_spec { batch_size: 1 } } }\n" + IO,
        "x",
    ),
    "pytorch_from_file": _file(IO, "model.pt"),
    "pytorch_from_backend": _file('backend: "pytorch"\n' + IO, "x"),
    "pytorch_from_platform": _file('platform: "pytorch_libtorch"\n' + IO, "x"),
    "openvino_from_file": _file(IO, "model.xml"),
    "openvino_from_backend": _file('backend: "openvino"\n' + IO, "x"),
    "tensorflow_savedmodel": _file(IO, folders=("1/model.savedmodel",)),
    "tensorflow_savedmodel_is_a_file": _file(IO, "model.savedmodel"),
    "tensorflow_graphdef": _file(IO, "model.graphdef"),
    "tensorflow_both": _file(IO, "model.graphdef", folders=("1/model.savedmodel",)),
    "tensorflow_from_platform": _file('platform: "tensorflow_graphdef"\n' + IO, "x"),
    "tensorflow_without_platform": _file('backend: "tensorflow"\n' + IO, "x"),
    "vllm_usual": _file(
        'backend: "vllm"\ninstance_group { count: 1 kind: KIND_MODEL }\nmodel_transaction_policy { decoupled: true }\n'
        + IO,
        "model.json",
    ),
    "tensorrtllm_usual": _file(
        'backend: "tensorrtllm"\nmax_batch_size: 64\nmodel_transaction_policy { decoupled: true }\n'
        "dynamic_batching { preferred_batch_size: [ 64 ] max_queue_delay_microseconds: 0 }\n"
        "instance_group { count: 1 kind: KIND_CPU }\n"
        'input { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true }\n'
        'input { name: "request_output_len" data_type: TYPE_INT32 dims: [ 1 ] reshape: { shape: [ ] } }\n'
        'output { name: "output_ids" data_type: TYPE_INT32 dims: [ -1, -1 ] }\n'
        'parameters: { key: "gpt_model_type" value: { string_value: "inflight_fused_batching" } }\n',
        "x",
    ),
    "fil_usual": _file(
        'backend: "fil"\nmax_batch_size: 32768\ninstance_group { kind: KIND_AUTO }\n' + IO, "xgboost.json"
    ),
    "several_files_first_backend_wins": _file(
        IO, "model.onnx", "model.pt", "model.py", "model.xml", "model.plan"
    ),
    "dotted.dali": _file(IO, "model.dali"),
    "two.dots.fil": _file(IO, "x"),
}
