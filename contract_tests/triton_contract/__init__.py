"""The contract: cases, recorded answers and reports that hold any Triton to the real one."""
