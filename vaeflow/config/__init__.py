"""A run's config: its schema, where its values come from, and the components that it selects."""
