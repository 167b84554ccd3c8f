"""Build and install Horovod for the installed TensorFlow. This package does not import TensorFlow."""
