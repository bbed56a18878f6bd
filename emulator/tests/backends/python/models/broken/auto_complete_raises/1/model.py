class TritonPythonModel:
    @staticmethod
    def auto_complete_config(c):
        raise ValueError("ac boom")
