"""Orrery's store beside its peers."""
