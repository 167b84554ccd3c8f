"""What plugin authors use: the contract of each kind of component, new packages, pytest fixtures."""
