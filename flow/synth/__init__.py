"""From the engine's Verilog to gates, with open tools only."""
