"""The store: documents and their vectors, durable in SQLite, found by id, by filter and by vector."""
