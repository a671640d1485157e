"""Compression of float graphs: calibration, quantization and structured pruning."""
