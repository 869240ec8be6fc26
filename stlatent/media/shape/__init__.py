"""Meshes and volumes."""
