"""What Triton leaves to the C++ library and its like, done the same way here, because clients can see the difference.

- `numbers`: std::stoi, std::stod, atoi and integer conversions. Version numbers, flags, the header length of a binary
  request and trace settings are read with them, so "12abc" is 12, and too large a number wraps or is "out of range".
- `base64`: libb64, which skips what is no base64. Reads the files of a load request and CUDA handles.
- `introsort`: std::sort, which orders equal values in its own way. Decides the order of equal classes.
- `unordered_map`: the order in which std::unordered_map is walked. Decides which of several faulty inputs an error
  names, and the order of an ensemble's outputs.
- `getopt_long`: glibc's option parser, with its abbreviations and its words. Reads the command line.
- `protobuf_json`: the JSON parser of protobuf's C++ library, which takes more than JSON. Reads the config in a load
  request.
- `text_format`: protobuf's text format with the words of its C++ library, which takes other texts than Python's. Reads
  `config.pbtxt`.
"""
