"""Shapes as three planes: a ladder over planes, and the field that they stand for."""
