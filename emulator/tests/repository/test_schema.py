"""The protobuf schema has its own descriptor pool, apart from other schemas in the process."""

import subprocess
import sys

import pytest

READ = (
    "from triton_emulator.repository.config.pbtxt import parse_config; "
    "assert parse_config('max_batch_size: 3').max_batch_size == 3"
)
USE = (
    "from tritonclient.grpc import model_config_pb2; "
    "assert model_config_pb2.ModelConfig(max_batch_size=3).max_batch_size == 3"
)


@pytest.mark.parametrize(
    "program", [f"{READ}; {USE}", f"{USE}; {READ}"], ids=["ours first", "the client's first"]
)
def test_the_users_own_tritonclient_grpc_works_in_the_same_process(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


def test_reading_a_config_imports_neither_grpc_nor_the_client() -> None:
    program = f"{READ}; import sys; assert not [m for m in sys.modules if m.split('.')[0] in ('grpc', 'tritonclient')]"
    subprocess.run([sys.executable, "-c", program], check=True)
