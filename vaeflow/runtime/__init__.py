"""TensorFlow's set-up in this process: its start, threads, memory, sums in a fixed order."""
