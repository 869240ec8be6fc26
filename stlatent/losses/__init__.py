"""What is minimised. Knows tensors and domains, never the ladder."""
