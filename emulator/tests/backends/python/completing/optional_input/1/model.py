class TritonPythonModel:
    @staticmethod
    def auto_complete_config(c):
        c.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [4], "optional": True})
        c.add_output({"name": "Y", "data_type": "TYPE_STRING", "dims": []})
        return c
    def execute(self, requests): pass
