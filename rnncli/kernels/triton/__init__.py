"""The triton backend: CUDA kernels that keep a cell's recurrent weights on chip, or run one launch a step."""
