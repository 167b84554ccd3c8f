"""The commands on a finished run, and `vaeflow doctor`."""
