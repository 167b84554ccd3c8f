"""Small files: read with bounds, and written so that they appear complete or not at all."""
