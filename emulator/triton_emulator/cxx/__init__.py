"""What Triton does as C++ does it: reading numbers, sorting, hash order, options, protobuf's JSON."""
