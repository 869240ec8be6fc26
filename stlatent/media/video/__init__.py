"""Videos and pictures."""
