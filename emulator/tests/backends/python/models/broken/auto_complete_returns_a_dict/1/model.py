class TritonPythonModel:
    @staticmethod
    def auto_complete_config(c):
        return {"a": 1}
