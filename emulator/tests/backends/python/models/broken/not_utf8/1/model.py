# bad bytes
x = "ÿ"
