"""Write checkpoints atomically, and restore a run from one."""
