"""Provenance: record and compare what the bits of a run depend on: config, code, data and environment."""
