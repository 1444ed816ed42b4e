"""The embedder: texts in, vectors out, through any provider of the catalogue, with keys stored by name."""
