"""Faults in the Verilog of the engine, and what notices them; `mutation` does the same for the C++."""
