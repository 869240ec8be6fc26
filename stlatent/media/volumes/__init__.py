"""Volumes over time: scans and simulations that move."""
