import triton_python_backend_utils as pb_utils
x = 1
