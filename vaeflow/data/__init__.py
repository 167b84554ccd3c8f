"""Data on the way to a step: which examples, with which noise, as tensors. `data.sets` has the files."""
