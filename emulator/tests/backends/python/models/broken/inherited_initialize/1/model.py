class B:
    def initialize(self, args):
        raise ValueError(args["model_instance_name"])
class TritonPythonModel(B): pass
