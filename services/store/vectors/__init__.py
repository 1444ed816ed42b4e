"""Vectors of a collection: what near means, and finding the nearest."""
