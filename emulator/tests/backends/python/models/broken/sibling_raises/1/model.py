import json
from . import helper
class TritonPythonModel:
    def execute(self, requests): pass
