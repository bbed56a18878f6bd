import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def f(self, x: pb_utils.Tensor): pass
    def execute(self, requests): pass
