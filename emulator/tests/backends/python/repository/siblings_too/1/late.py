WORD = "late of siblings_too"
