"""Latents of a foundation that were computed before: found, read, encoded."""
