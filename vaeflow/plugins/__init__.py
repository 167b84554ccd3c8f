"""How components come in: hook specifications, typed records, one fresh registry a run."""
