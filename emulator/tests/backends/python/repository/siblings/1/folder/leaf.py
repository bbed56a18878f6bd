from utils import WORD as OTHER

WORD = "leaf with " + OTHER
