import json
import no_such_module_here
class TritonPythonModel:
    def execute(self, requests): pass
