"""Faults in the Verilog of the engine, and what notices them. Shares its parts with `mutation`, whose faults are in C++."""
