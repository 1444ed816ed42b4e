"""Loading, exporting and importing collections: many documents, and work that goes on where it was stopped."""
