"""Builds and installs Horovod for the TensorFlow that is here. Nothing in this package imports TensorFlow."""
