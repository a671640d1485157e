"""Simulation: the golden model, the compiled C++, and the demand that every output bit is equal."""
