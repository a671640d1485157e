"""Figures of the Verilog: what they say, whether it is so, where it stands, and how it is written."""
