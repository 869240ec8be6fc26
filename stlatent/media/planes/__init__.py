"""Planes as data."""
