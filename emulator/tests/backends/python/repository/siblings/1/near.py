WORD = "near"


def back():
    from .model import WORD

    return WORD
