class TritonPythonModel:
    def initialize(self):
        pass
