"""Mutation proof of the C++: small faults in hls/ and templates/, each of which the simulation must notice."""
