"""The command line: tritonserver's flags, their values, the help text, and the server in the foreground."""
