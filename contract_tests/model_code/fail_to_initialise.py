"""Cannot be initialised."""


class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("cannot init")
