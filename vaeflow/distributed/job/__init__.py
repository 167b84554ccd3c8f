"""Which process of which job this is, and how the processes meet before TensorFlow is imported."""
