WORD = "late relative"
