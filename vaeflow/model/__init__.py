"""The mathematics: the ELBO, distributions, and the model."""
