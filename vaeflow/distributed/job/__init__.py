"""The place of this process in its job, and the rendezvous of processes before TensorFlow is imported."""
