"""Ladders that stand on a frozen autoencoder of `diffusers`."""
