class TritonPythonModel:
    def auto_complete_config(self, c):
        return c
