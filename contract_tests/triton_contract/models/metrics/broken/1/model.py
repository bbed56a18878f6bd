"""Cannot be initialised."""


class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("broken")

    def execute(self, requests):
        return None
