"""flow: a compiler from pruned and quantized PyTorch transformers to FPGA accelerators."""

__version__ = "0.1.0"
