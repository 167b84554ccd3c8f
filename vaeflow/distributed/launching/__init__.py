"""Files that start a run on several processes or machines, made from those in `launch/`."""
