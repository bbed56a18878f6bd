class TritonPythonModel:
    @staticmethod
    def auto_complete_config(c):
        return None
