"""How the processes of a job are started, find each other, add tensors, and notice that one is gone."""
