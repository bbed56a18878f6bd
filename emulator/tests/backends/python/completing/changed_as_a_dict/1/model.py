class TritonPythonModel:
    @staticmethod
    def auto_complete_config(c):
        c.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [4]})
        c.add_output({"name": "Y", "data_type": "TYPE_INT32", "dims": [-1]})
        c.as_dict()["parameters"]={"a": {"string_value": "b"}}
        c.as_dict()["max_batch_size"]=3
        c.as_dict()["foo"]=3
        return c
    def execute(self, requests): pass
