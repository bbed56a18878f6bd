"""Valid and invalid model folders. A real server's answers about them are in `recorded/configs.json` (`record.py`)."""

from emulator.tests.repository.config_case import (
    ANSWERING_MODEL_PY,
    BATCHING,
    IO,
    MODEL_PY,
    PYTHON,
    ConfigCase,
)
from emulator.tests.repository.ensemble_cases import ENSEMBLE_CASES


def _control(name: str, *controls: str) -> str:
    return f'control_input {{ name: "{name}" {" ".join(f"control {{ {c} }}" for c in controls)} }}\n'


START = _control("START", "kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1]")
ALL_CONTROLS = (
    START
    + _control("END", "kind: CONTROL_SEQUENCE_END fp32_false_true: [0, 1.5]")
    + _control("READY", "kind: CONTROL_SEQUENCE_READY bool_false_true: [false, true]")
    + _control("CORRID", "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64")
)


def _sequence(body: str, more: str = "") -> ConfigCase:
    return ConfigCase(BATCHING + f"sequence_batching {{ {body} }}\n" + more)


def _dynamic(body: str, more: str = "") -> ConfigCase:
    return ConfigCase(BATCHING + f"dynamic_batching {{ {body} }}\n" + more)


def _input(body: str, batch: int = 8) -> ConfigCase:
    return ConfigCase(
        PYTHON
        + f"max_batch_size: {batch}\ninput {{ {body} }}\n"
        + 'output { name: "OUT" data_type: TYPE_FP32 dims: 4 }\n'
    )


def _output(body: str) -> ConfigCase:
    return ConfigCase(
        PYTHON + 'input { name: "IN" data_type: TYPE_FP32 dims: 4 }\n' + f"output {{ {body} }}\n"
    )


_TYPES = [
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "STRING",
    "BF16",
]

CASES: dict[str, ConfigCase] = {
    # --- lawful ---
    "lawful_minimal": ConfigCase(PYTHON + IO),
    "lawful_batching": ConfigCase(BATCHING),
    "lawful_named": ConfigCase('name: "lawful_named"\n' + BATCHING),
    "lawful_every_datatype": ConfigCase(
        PYTHON
        + "".join(f'input {{ name: "I_{t}" data_type: TYPE_{t} dims: [ 1, -1 ] }}\n' for t in _TYPES)
        + IO
    ),
    "lawful_no_output": ConfigCase(PYTHON + 'input { name: "IN" data_type: TYPE_FP32 dims: 4 }'),
    "lawful_no_tensors": ConfigCase(PYTHON),
    "lawful_optional_ragged": _input(
        'name: "IN" data_type: TYPE_INT64 dims: [ -1, 3 ] optional: true allow_ragged_batch: true'
    ),
    "lawful_nhwc": _input('name: "IN" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ 224, 224, 3 ]'),
    "lawful_nchw": _input('name: "IN" data_type: TYPE_UINT8 format: FORMAT_NCHW dims: [ 3, -1, -1 ]'),
    "lawful_reshape": _input(
        'name: "IN" data_type: TYPE_FP32 dims: [ 2, 4, -1, 6 ] reshape { shape: [ 8, -1, 1, 6 ] }'
    ),
    "lawful_reshape_to_scalar": _input('name: "IN" data_type: TYPE_FP32 dims: 1 reshape { shape: [] }'),
    "lawful_labels": ConfigCase(
        PYTHON + 'input { name: "IN" data_type: TYPE_FP32 dims: 4 }\n'
        'output { name: "OUT" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" }\n',
        files={"1/model.py": MODEL_PY, "labels.txt": "cat\ndog\n"},
    ),
    "lawful_duplicate_inputs": ConfigCase(BATCHING + 'input { name: "IN" data_type: TYPE_INT8 dims: 1 }\n'),
    "lawful_unicode_names": ConfigCase(
        PYTHON + 'input { name: "Grüße \\" \\\\ / \\t \\001 \\177 日本" data_type: TYPE_FP32 dims: 4 }\n' + IO
    ),
    "lawful_empty_dimension_lists": ConfigCase(
        PYTHON + IO + "input []\noutput []\nversion_policy: { all { } }\n"
    ),
    "lawful_comments_and_separators": ConfigCase(
        '# a comment\nbackend: "py" "thon" ; max_batch_size: 0x10,\n'
        "input [ { name: 'IN', data_type: TYPE_FP32; dims: [ 1, 2 ] } ]  # after\n"
    ),
    "lawful_enum_by_number": ConfigCase(
        PYTHON + 'input { name: "IN" data_type: 11 dims: 1 }\ninstance_group { kind: 2 }\n'
    ),
    "lawful_big_numbers": ConfigCase(
        PYTHON + 'input { name: "IN" data_type: TYPE_FP32 dims: [ 9223372036854775807 ] }\n'
        "max_batch_size: 2147483647\n"
    ),
    "lawful_parameters": ConfigCase(
        BATCHING
        + "".join(
            f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n'
            for k, v in (
                ("zeta", "1"),
                ("alpha", ""),
                ("FORCE", "yes"),
                ("mid", "a b"),
                ("1", "x"),
                ("beta", "é"),
            )
        )
    ),
    "lawful_metric_tags": ConfigCase(
        BATCHING + 'metric_tags { key: "b" value: "2" }\nmetric_tags { key: "a" value: "1" }\n'
    ),
    "lawful_cc_model_filenames": ConfigCase(
        BATCHING + 'cc_model_filenames { key: "7.5" value: "model_75.py" }\n'
        'cc_model_filenames { key: "6.1" value: "model_61.py" }\n'
    ),
    "lawful_default_filename": ConfigCase(
        'backend: "python"\ndefault_model_filename: "serve.py"\n' + IO, files={"1/serve.py": MODEL_PY}
    ),
    "lawful_python_with_a_platform": ConfigCase('platform: "whatever"\n' + PYTHON + IO),
    "lawful_python_with_onnx_platform": ConfigCase('platform: "onnxruntime_onnx"\n' + PYTHON + IO),
    "lawful_backend_from_filename": ConfigCase('default_model_filename: "model.py"\n' + IO),
    "lawful_backend_from_files": ConfigCase("max_batch_size: 2\n" + IO),
    "lawful_transaction_policy_false": ConfigCase(
        BATCHING + "model_transaction_policy { decoupled: false }\n"
    ),
    "lawful_decoupled": ConfigCase(BATCHING + "model_transaction_policy { decoupled: true }\n"),
    "lawful_two_inputs": ConfigCase(
        PYTHON + "max_batch_size: 8\n"
        'input { name: "X" data_type: TYPE_FP32 dims: 4 }\ninput { name: "Y" data_type: TYPE_FP32 dims: 4 }\n'
        'output { name: "OUT" data_type: TYPE_FP32 dims: 4 }\n'
    ),
    "lawful_response_cache_off": ConfigCase(BATCHING + "response_cache { enable: false }\n"),
    "lawful_response_cache_on_without_a_cache": ConfigCase(BATCHING + "response_cache { enable: true }\n"),
    "lawful_model_operations": ConfigCase(BATCHING + "model_operations { }\n"),
    "lawful_repository_agents_empty": ConfigCase(BATCHING + "model_repository_agents { }\n"),
    "lawful_optimization": ConfigCase(
        BATCHING
        + "optimization { priority: PRIORITY_MAX graph { level: -1 } input_pinned_memory { enable: false } "
        "gather_kernel_buffer_threshold: 7 eager_batching: true }\n"
    ),
    "lawful_optimization_cuda": ConfigCase(
        BATCHING + "optimization { cuda { graphs: true busy_wait_events: true output_copy_stream: true "
        'graph_spec { batch_size: 4 input { key: "IN" value { dim: [ 4 ] } } '
        'graph_lower_bound { batch_size: 2 input { key: "IN" value { dim: 1 } } } } } }\n'
    ),
    "lawful_optimization_accelerators": ConfigCase(
        BATCHING + 'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" '
        'parameters { key: "precision_mode" value: "FP16" } } cpu_execution_accelerator { name: "openvino" } } }\n'
    ),
    "lawful_batch_input": ConfigCase(
        BATCHING
        + 'batch_input { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "T" data_type: TYPE_FP32 '
        'source_input: "IN" }\n'
        'batch_output { target_name: "OUT" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "IN" }\n'
    ),
    "lawful_warmup": ConfigCase(
        BATCHING
        + 'model_warmup { name: "first" batch_size: 2 inputs { key: "IN" value { data_type: TYPE_FP32 '
        "dims: [ 4 ] zero_data: true } } }\n"
        'model_warmup { name: "second" count: 3 inputs { key: "IN" value { data_type: TYPE_FP32 '
        "dims: 4 random_data: true } } }\n",
        files={"1/model.py": ANSWERING_MODEL_PY},
    ),
    # --- instance groups ---
    "group_count_only": ConfigCase(BATCHING + "instance_group { count: 2 }\n"),
    "group_empty": ConfigCase(BATCHING + "instance_group { }\n"),
    "group_several": ConfigCase(
        BATCHING
        + 'instance_group { kind: KIND_CPU }\ninstance_group { name: "mine" count: 2 kind: KIND_MODEL }\n'
        "instance_group { kind: KIND_AUTO }\n"
    ),
    "group_rate_limiter": ConfigCase(
        BATCHING + 'instance_group { kind: KIND_CPU rate_limiter { resources { name: "R1" count: 4 } '
        'resources { name: "R2" global: true count: 2 } priority: 2 } }\n'
    ),
    "group_host_policy_passive": ConfigCase(
        BATCHING
        + 'instance_group { kind: KIND_CPU }\ninstance_group { kind: KIND_CPU passive: true host_policy: "p0" }\n'
    ),
    "group_secondary_devices": ConfigCase(
        BATCHING + "instance_group { kind: KIND_CPU secondary_devices { kind: KIND_NVDLA device_id: 1 } }\n"
    ),
    "group_gpu": ConfigCase(BATCHING + "instance_group { kind: KIND_GPU }\n"),
    "group_gpu_named": ConfigCase(BATCHING + 'instance_group { name: "g" kind: KIND_GPU gpus: [ 0, 1 ] }\n'),
    "group_cpu_with_gpus": ConfigCase(BATCHING + "instance_group { kind: KIND_CPU gpus: 0 }\n"),
    "group_model_with_gpus": ConfigCase(BATCHING + "instance_group { kind: KIND_MODEL gpus: 0 }\n"),
    "group_auto_with_gpus": ConfigCase(BATCHING + "instance_group { gpus: 0 }\n"),
    "group_profile": ConfigCase(BATCHING + 'instance_group { kind: KIND_CPU profile: "1" }\n'),
    "group_negative_count": ConfigCase(BATCHING + "instance_group { count: -3 kind: KIND_CPU }\n"),
    # --- version policies ---
    "policy_latest_two": ConfigCase(
        BATCHING + "version_policy { latest { num_versions: 2 } }\n",
        files={f"{v}/model.py": MODEL_PY for v in (1, 2, 10)},
    ),
    "policy_latest_zero": ConfigCase(BATCHING + "version_policy { latest { } }\n"),
    "policy_all": ConfigCase(
        BATCHING + "version_policy { all { } }\n", files={f"{v}/model.py": MODEL_PY for v in (1, 3)}
    ),
    "policy_specific": ConfigCase(
        BATCHING + "version_policy { specific { versions: [ 3, 1, 7 ] } }\n",
        files={f"{v}/model.py": MODEL_PY for v in (1, 2, 3)},
    ),
    "policy_specific_absent": ConfigCase(BATCHING + "version_policy { specific { versions: 7 } }\n"),
    "policy_specific_empty": ConfigCase(BATCHING + "version_policy { specific { } }\n"),
    "policy_empty": ConfigCase(BATCHING + "version_policy { }\n"),
    "versions_none": ConfigCase(BATCHING, files={}),
    "versions_stray_folders": ConfigCase(
        BATCHING,
        files={
            "1/model.py": MODEL_PY,
            "2/model.py": MODEL_PY,
            "2x/model.py": MODEL_PY,
            "007/model.py": MODEL_PY,
            "x3/model.py": MODEL_PY,
            "4": "a file",
            "configs/a.pbtxt": "",
            "warmup/x": "",
        },
    ),
    "versions_zero": ConfigCase(BATCHING, files={"0/model.py": MODEL_PY}),
    "versions_only_stray": ConfigCase(BATCHING, files={"one/model.py": MODEL_PY}),
    # --- dynamic batching ---
    "dynamic_default": _dynamic(""),
    "dynamic_not_batching": ConfigCase(PYTHON + IO + "dynamic_batching { }\n"),
    "dynamic_delay": _dynamic(
        "preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 18446744073709551615"
    ),
    "dynamic_preserve_ordering": _dynamic("preserve_ordering: true"),
    "dynamic_queue_policy": _dynamic(
        "default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 allow_timeout_override: true "
        "max_queue_size: 3 }"
    ),
    "dynamic_priorities": _dynamic(
        "priority_levels: 3 default_priority_level: 2 "
        "priority_queue_policy { key: 3 value { max_queue_size: 1 } } "
        "priority_queue_policy { key: 1 value { timeout_action: REJECT default_timeout_microseconds: 9 } }"
    ),
    "dynamic_preferred_zero": _dynamic("preferred_batch_size: 0"),
    "dynamic_preferred_too_big": _dynamic("preferred_batch_size: [ 4, 9 ]"),
    "dynamic_default_priority_missing": _dynamic("priority_levels: 2"),
    "dynamic_default_priority_too_big": _dynamic("priority_levels: 2 default_priority_level: 3"),
    "dynamic_policy_level_too_big": _dynamic(
        "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { } }"
    ),
    "dynamic_policy_level_zero": _dynamic(
        "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 0 value { } }"
    ),
    "dynamic_ordering_and_priorities": _dynamic(
        "preserve_ordering: true priority_levels: 2 default_priority_level: 1"
    ),
    "dynamic_ordering_and_delay": _dynamic(
        "preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 }"
    ),
    "dynamic_ordering_and_level_delay": _dynamic(
        "preserve_ordering: true priority_levels: 1 default_priority_level: 1 "
        "priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 1 } }"
    ),
    # --- sequence batching ---
    "sequence_default": _sequence(""),
    "sequence_direct": _sequence(
        "direct { max_queue_delay_microseconds: 7 minimum_slot_utilization: 0.1 } "
        "max_sequence_idle_microseconds: 5000000 " + ALL_CONTROLS
    ),
    "sequence_direct_whole_number": _sequence("direct { minimum_slot_utilization: 1 }"),
    "sequence_direct_third": _sequence("direct { minimum_slot_utilization: 0.333333333333 }"),
    "sequence_direct_tiny": _sequence("direct { minimum_slot_utilization: 1e-7 }"),
    "sequence_oldest": _sequence("oldest { max_candidate_sequences: 4 } " + START),
    "sequence_oldest_preferred": _sequence(
        "oldest { max_candidate_sequences: 4 preferred_batch_size: [ 2, 3 ] max_queue_delay_microseconds: 1 "
        "preserve_ordering: true }"
    ),
    "sequence_control_floats": _sequence(
        _control("S", "kind: CONTROL_SEQUENCE_START fp32_false_true: [ -1e20, 3.14159274 ]")
    ),
    "sequence_control_float_range": _sequence(
        _control("S", "kind: CONTROL_SEQUENCE_START fp32_false_true: [ 123456789, 1e-5 ]")
    ),
    "sequence_control_float_infinity": _sequence(
        _control("S", "kind: CONTROL_SEQUENCE_START fp32_false_true: [ inf, -inf ]")
    ),
    "sequence_control_float_nan": _sequence(
        _control("S", "kind: CONTROL_SEQUENCE_START fp32_false_true: [ nan, -0.0 ]")
    ),
    "sequence_string_correlation": _sequence(
        _control("C", "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING")
    ),
    "sequence_state": _sequence(
        'state { input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_INT32 dims: [ 1, -1 ] '
        'initial_state { data_type: TYPE_INT32 dims: [ 1, 1 ] zero_data: true name: "zeros" } }'
    ),
    "sequence_state_file": ConfigCase(
        BATCHING
        + 'sequence_batching { state { input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_INT32 dims: 1 '
        'initial_state { data_type: TYPE_INT32 dims: 1 data_file: "zeros" name: "from file" } '
        "use_same_buffer_for_input_output: true use_growable_memory: true } }\n",
        files={"1/model.py": MODEL_PY, "initial_state/zeros": "\0\0\0\0"},
    ),
    "sequence_iterative": _sequence("iterative_sequence: true"),
    "sequence_generative": _sequence("generative_sequence: true"),
    "sequence_with_cache": _sequence("", "response_cache { enable: true }\n"),
    "sequence_control_without_name": _sequence("control_input { control { kind: CONTROL_SEQUENCE_START } }"),
    "sequence_control_twice": _sequence(
        START + _control("START", "kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ]")
    ),
    "sequence_kind_twice": _sequence(
        START + _control("START2", "kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ]")
    ),
    "sequence_control_without_values": _sequence(_control("S", "kind: CONTROL_SEQUENCE_START")),
    "sequence_control_two_kinds_of_values": _sequence(
        _control("S", "kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ]")
    ),
    "sequence_control_three_values": _sequence(
        _control("S", "kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1, 2 ]")
    ),
    "sequence_control_one_float": _sequence(_control("S", "kind: CONTROL_SEQUENCE_END fp32_false_true: 1")),
    "sequence_control_one_bool": _sequence(_control("S", "kind: CONTROL_SEQUENCE_END bool_false_true: true")),
    "sequence_correlation_with_values": _sequence(
        _control("C", "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ]")
    ),
    "sequence_correlation_fp32": _sequence(
        _control("C", "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32")
    ),
    "sequence_correlation_without_type": _sequence(_control("C", "kind: CONTROL_SEQUENCE_CORRID")),
    "sequence_correlation_twice": _sequence(
        _control("C", "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64")
        + _control("D", "kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64")
    ),
    "sequence_oldest_preferred_zero": _sequence("oldest { preferred_batch_size: 0 }"),
    "sequence_oldest_preferred_too_big": _sequence("oldest { preferred_batch_size: 9 }"),
    "sequence_slot_utilization_too_big": _sequence("direct { minimum_slot_utilization: 1.1 }"),
    "sequence_slot_utilization_negative": _sequence("direct { minimum_slot_utilization: -0.5 }"),
    # --- unlawful tensors ---
    "input_without_name": _input("data_type: TYPE_FP32 dims: 4"),
    "input_without_type": _input('name: "IN" dims: 4'),
    "input_without_dims": _input('name: "IN" data_type: TYPE_FP32'),
    "input_zero_dim": _input('name: "IN" data_type: TYPE_FP32 dims: [ 4, 0 ]'),
    "input_negative_dim": _input('name: "IN" data_type: TYPE_FP32 dims: -2'),
    "input_nhwc_two_dims": _input('name: "IN" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 4, 4 ]'),
    "input_shape_tensor": _input('name: "IN" data_type: TYPE_FP32 dims: 4 is_shape_tensor: true'),
    "input_non_linear": _input(
        'name: "IN" data_type: TYPE_FP32 dims: [ 1, 2, 3 ] is_non_linear_format_io: true'
    ),
    "input_empty_reshape_not_batching": _input(
        'name: "IN" data_type: TYPE_FP32 dims: 1 reshape { }', batch=0
    ),
    "input_reshape_zero": _input('name: "IN" data_type: TYPE_FP32 dims: 4 reshape { shape: 0 }'),
    "input_reshape_size": _input('name: "IN" data_type: TYPE_FP32 dims: [ 2, 3 ] reshape { shape: [ 5 ] }'),
    "input_reshape_empty_size": _input('name: "IN" data_type: TYPE_FP32 dims: [ 2 ] reshape { }'),
    "input_reshape_variable_count": _input(
        'name: "IN" data_type: TYPE_FP32 dims: [ -1, -1 ] reshape { shape: [ -1 ] }'
    ),
    "input_reshape_variable_size": _input(
        'name: "IN" data_type: TYPE_FP32 dims: [ 2, -1, 3 ] reshape { shape: [ 3, -1, 2 ] }'
    ),
    "output_without_name": _output("data_type: TYPE_FP32 dims: 4"),
    "output_zero_dim": _output('name: "OUT" data_type: TYPE_FP32 dims: 0'),
    "output_shape_tensor": _output('name: "OUT" data_type: TYPE_FP32 dims: 4 is_shape_tensor: true'),
    "output_reshape_size": _output('name: "OUT" data_type: TYPE_FP32 dims: 4 reshape { shape: 5 }'),
    "output_labels_missing": _output('name: "OUT" data_type: TYPE_FP32 dims: 4 label_filename: "nope.txt"'),
    "output_labels_outside": _output('name: "OUT" data_type: TYPE_FP32 dims: 4 label_filename: "../x.txt"'),
    "batch_input_no_source": ConfigCase(BATCHING + 'batch_input { target_name: "T" data_type: TYPE_FP32 }\n'),
    "batch_input_type": ConfigCase(BATCHING + 'batch_input { data_type: TYPE_INT64 source_input: "IN" }\n'),
    "batch_input_unknown_source": ConfigCase(
        BATCHING + 'batch_input { data_type: TYPE_FP32 source_input: "X" }\n'
    ),
    "batch_output_no_source": ConfigCase(BATCHING + 'batch_output { target_name: "OUT" }\n'),
    "batch_output_unknown_source": ConfigCase(
        BATCHING + 'batch_output { target_name: "OUT" source_input: "X" }\n'
    ),
    "batch_output_unknown_target": ConfigCase(
        BATCHING + 'batch_output { target_name: "X" source_input: "IN" }\n'
    ),
    "batch_output_target_twice": ConfigCase(
        BATCHING + 'batch_output { target_name: [ "OUT", "OUT" ] source_input: "IN" }\n'
    ),
    "duplicate_output": ConfigCase(BATCHING + 'output { name: "OUT" data_type: TYPE_INT8 dims: 1 }\n'),
    # --- unlawful as a whole ---
    "whole_negative_batch": ConfigCase(PYTHON + "max_batch_size: -1\n" + IO),
    "whole_other_name": ConfigCase('name: "somebody"\n' + BATCHING),
    "whole_unknown_backend": ConfigCase('backend: "nonexistent"\n' + IO),
    "whole_unknown_platform": ConfigCase('platform: "nonexistent"\n' + IO),
    "whole_platform_python": ConfigCase('platform: "python"\n' + IO),
    "whole_wrong_pair": ConfigCase('platform: "tensorrt_plan"\nbackend: "onnxruntime"\n' + IO),
    "whole_wrong_pair_pytorch": ConfigCase('platform: "x"\nbackend: "pytorch"\n' + IO),
    "whole_no_backend": ConfigCase(IO, files={"1/model.bin": ""}),
    "whole_no_config_no_backend": ConfigCase(None, files={"1/model.bin": ""}),
    "whole.custombackend": ConfigCase(None, files={"1/model.custombackend": ""}),
    "whole_no_config": ConfigCase(None),
    "whole_empty_config": ConfigCase(""),
    "whole_empty_folder": ConfigCase(None, files={}),
    "whole_decoupled_and_cache": ConfigCase(
        BATCHING + "model_transaction_policy { decoupled: true }\nresponse_cache { enable: true }\n"
    ),
    "whole_tensorrt": ConfigCase(IO, files={"1/model.plan": ""}),
    "whole_tensorrt_platform": ConfigCase('platform: "tensorrt_plan"\n' + IO, files={"1/x": ""}),
    "whole_onnx": ConfigCase(None, files={"1/model.onnx": ""}),
    "whole_pytorch": ConfigCase(None, files={"1/model.pt": ""}),
    "whole_openvino": ConfigCase(None, files={"1/model.xml": ""}),
    "whole_savedmodel": ConfigCase(None, files={}, folders=("1/model.savedmodel",)),
    "whole_graphdef": ConfigCase(None, files={"1/model.graphdef": ""}),
    "whole_vllm": ConfigCase('backend: "vllm"\n' + IO, files={"1/model.json": "{}"}),
    "whole_tensorrtllm": ConfigCase('backend: "tensorrtllm"\n' + IO, files={"1/x": "{}"}),
    # --- unreadable ---
    "text_unknown_field": ConfigCase(BATCHING + "no_such_field: 1\n"),
    "text_newer_field": ConfigCase(BATCHING + "model_metrics { }\n"),
    "text_wrong_type": ConfigCase(PYTHON + 'max_batch_size: "8"\n'),
    "text_bad_enum": ConfigCase(PYTHON + 'input { name: "IN" data_type: TYPE_NOPE dims: 1 }\n'),
    "text_unclosed": ConfigCase(PYTHON + "input {\n"),
    "text_twice": ConfigCase(PYTHON + PYTHON + IO),
    "text_two_schedulers": ConfigCase(BATCHING + "dynamic_batching { }\nsequence_batching { }\n"),
    "text_garbage": ConfigCase("}{ \x01 ???"),
    "text_too_big_number": ConfigCase(PYTHON + "max_batch_size: 2147483648\n"),
    "text_unclosed_string": ConfigCase('backend: "python\n'),
    "text_float_for_integer": ConfigCase(PYTHON + "max_batch_size: 1.5\n"),
    **ENSEMBLE_CASES,
}
