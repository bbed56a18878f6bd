WORD = "utils of siblings_too"
