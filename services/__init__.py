"""Orrery's services: the gateway, the embedder, the store, and what they share."""
