"""What the bits of a run depend on: config, code, data and environment. The one place that records and compares it."""
