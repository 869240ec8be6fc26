"""Latents as bits: entropy coding under the priors of the ladder that made them."""
