"""Valid and invalid ensembles. Their members are among `config_cases`."""

from emulator.tests.repository.config_case import IO, PYTHON, ConfigCase


def _ensemble(body: str, more: str = "") -> ConfigCase:
    return ConfigCase('platform: "ensemble"\n' + IO + more + body, files={}, folders=("1",))


def _step(
    model: str = "lawful_minimal",
    inputs: str = 'key: "IN" value: "IN"',
    outputs: str = 'key: "OUT" value: "OUT"',
) -> str:
    return f'step {{ model_name: "{model}" model_version: -1 input_map {{ {inputs} }} output_map {{ {outputs} }} }}\n'


def _steps(*steps: str) -> str:
    return "ensemble_scheduling { " + "".join(steps) + "}\n"


ENSEMBLE_CASES: dict[str, ConfigCase] = {
    "ensemble_lawful": _ensemble(_steps(_step())),
    "ensemble_two_steps": _ensemble(
        _steps(
            _step(outputs='key: "OUT" value: "middle"'),
            _step("lawful_minimal", inputs='key: "IN" value: "middle"'),
        )
    ),
    "ensemble_version": _ensemble(
        "ensemble_scheduling { step { model_name: 'lawful_minimal' model_version: 1 "
        "input_map { key: 'IN' value: 'IN' } output_map { key: 'OUT' value: 'OUT' } } }"
    ),
    "ensemble_parameters": _ensemble(
        _steps(_step()), 'parameters { key: "a" value { string_value: "b" } }\nmax_batch_size: 0\n'
    ),
    "ensemble_of_decoupled": _ensemble(_steps(_step("lawful_decoupled")), "max_batch_size: 4\n"),
    "ensemble_backend": _ensemble(_steps(_step()), 'backend: "python"\n'),
    "ensemble_without_scheduling": _ensemble(""),
    "ensemble_scheduling_elsewhere": ConfigCase(PYTHON + IO + _steps(_step())),
    "ensemble_instance_group": _ensemble(_steps(_step()), "instance_group { count: 1 }\n"),
    "ensemble_optimization": _ensemble(_steps(_step()), "optimization { }\n"),
    "ensemble_warmup": _ensemble(_steps(_step()), 'model_warmup { name: "w" }\n'),
    "ensemble_no_steps": _ensemble("ensemble_scheduling { }\n"),
    "ensemble_step_without_model": _ensemble(_steps('step { input_map { key: "IN" value: "IN" } }')),
    "ensemble_step_without_inputs": _ensemble(
        _steps('step { model_name: "m" output_map { key: "O" value: "OUT" } }')
    ),
    "ensemble_step_without_outputs": _ensemble(
        _steps('step { model_name: "m" input_map { key: "I" value: "IN" } }')
    ),
    "ensemble_output_twice": _ensemble(_steps(_step(), _step())),
    "ensemble_input_unused": _ensemble(_steps(_step(inputs='key: "IN" value: "x"'))),
    "ensemble_output_unused": _ensemble(_steps(_step(outputs='key: "OUT" value: "x"'))),
    "ensemble_not_written": _ensemble(
        _steps(
            _step("lawful_minimal", inputs='key: "IN" value: "nowhere"'),
            _step("lawful_minimal", outputs='key: "OUT" value: "spare"'),
        )
    ),
    "ensemble_tensor_unused": _ensemble(
        _steps(_step(), _step("lawful_minimal", outputs='key: "OUT" value: "spare"'))
    ),
    "ensemble_missing_member": _ensemble(_steps(_step("no_such_model"))),
    "ensemble_of_itself": _ensemble(_steps(_step("ensemble_of_itself"))),
    "ensemble_batch_too_big": _ensemble(_steps(_step("lawful_batching")), "max_batch_size: 16\n"),
    "ensemble_wrong_input": _ensemble(_steps(_step(inputs='key: "NOPE" value: "IN"'))),
    "ensemble_wrong_output": _ensemble(_steps(_step(outputs='key: "NOPE" value: "OUT"'))),
    "ensemble_input_not_mapped": _ensemble(_steps(_step("lawful_every_datatype"))),
    "ensemble_wrong_type": ConfigCase(
        'platform: "ensemble"\ninput { name: "IN" data_type: TYPE_INT32 dims: 4 }\n'
        'output { name: "OUT" data_type: TYPE_FP32 dims: 4 }\n' + _steps(_step()),
        files={},
        folders=("1",),
    ),
    "ensemble_wrong_shape": ConfigCase(
        'platform: "ensemble"\ninput { name: "IN" data_type: TYPE_FP32 dims: [ 4, 5 ] }\n'
        'output { name: "OUT" data_type: TYPE_FP32 dims: 4 }\n' + _steps(_step()),
        files={},
        folders=("1",),
    ),
    "ensemble_without_version": ConfigCase('platform: "ensemble"\n' + IO + _steps(_step()), files={}),
    "ensemble_missing_version": _ensemble(
        "ensemble_scheduling { step { model_name: 'lawful_minimal' model_version: 5 "
        "input_map { key: 'IN' value: 'IN' } output_map { key: 'OUT' value: 'OUT' } } }"
    ),
    "ensemble_of_broken": _ensemble(_steps(_step("input_zero_dim"))),
    "ensemble_of_unreadable": _ensemble(_steps(_step("text_garbage"))),
    "ensemble_reads_two_flows": _ensemble(
        _steps(
            _step("lawful_decoupled", outputs='key: "OUT" value: "a"'),
            _step("lawful_decoupled", outputs='key: "OUT" value: "b"'),
            _step("lawful_two_inputs", inputs='key: "X" value: "a" } input_map { key: "Y" value: "b"'),
        ),
        "max_batch_size: 4\n",
    ),
    "ensemble_reads_two_flows_midway": _ensemble(
        _steps(
            _step("lawful_decoupled", outputs='key: "OUT" value: "a"'),
            _step("lawful_decoupled", outputs='key: "OUT" value: "b"'),
            _step(
                "lawful_two_inputs",
                inputs='key: "X" value: "a" } input_map { key: "Y" value: "b"',
                outputs='key: "OUT" value: "c"',
            ),
            _step("lawful_batching", inputs='key: "IN" value: "c"'),
        ),
        "max_batch_size: 4\n",
    ),
    "ensemble_reads_a_flow_and_its_input": _ensemble(
        _steps(
            _step("lawful_decoupled", outputs='key: "OUT" value: "a"'),
            _step("lawful_two_inputs", inputs='key: "X" value: "a" } input_map { key: "Y" value: "IN"'),
        ),
        "max_batch_size: 4\n",
    ),
    "ensemble_writes_two_flows": _ensemble(
        _steps(_step("lawful_decoupled"), _step("lawful_decoupled", outputs='key: "OUT" value: "OTHER"')),
        'max_batch_size: 4\noutput { name: "OTHER" data_type: TYPE_FP32 dims: 4 }\n',
    ),
    "ensemble_writes_a_flow_and_none": _ensemble(
        _steps(_step("lawful_decoupled"), _step("lawful_batching", outputs='key: "OUT" value: "OTHER"')),
        'max_batch_size: 4\noutput { name: "OTHER" data_type: TYPE_FP32 dims: 4 }\n',
    ),
    "ensemble_one_step_writes_two_outputs": _ensemble(
        _steps(_step("lawful_decoupled", outputs='key: "OUT" value: "OUT"')),
        "max_batch_size: 4\n",
    ),
}
