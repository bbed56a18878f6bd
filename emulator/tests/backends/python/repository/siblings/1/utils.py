WORD = "utils of siblings"
