class TritonPythonModel:
    def initialize(self, args):
        assert False
