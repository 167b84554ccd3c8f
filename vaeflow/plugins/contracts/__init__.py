"""The contracts of all kinds. Import them from `vaeflow.contracts`."""
