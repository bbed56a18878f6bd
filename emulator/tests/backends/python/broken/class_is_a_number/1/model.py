TritonPythonModel = 3
