WORD = "added by path"
