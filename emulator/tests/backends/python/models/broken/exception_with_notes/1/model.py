class Mine(Exception):
    def __str__(self): return "mine!"
class TritonPythonModel:
    def initialize(self, args):
        e = Mine()
        e.add_note("a note")
        e.add_note("b")
        raise e from ValueError("x")
