def deep():
    raise RuntimeError("cannot init")
class TritonPythonModel:
    def initialize(self, args):
        try:
            deep()
        finally:
            x = 1
    def execute(self, requests): pass
