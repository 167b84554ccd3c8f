"""How components are registered: hook specifications, typed records, one fresh registry per run."""
