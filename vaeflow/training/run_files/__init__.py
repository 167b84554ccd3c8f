"""The directory of a run: its files' names, and who may write them."""
