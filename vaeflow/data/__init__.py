"""The data pipeline of a step: order of examples, noise, and batches as tensors. `data.sets` reads the files."""
