"""The gateway: the Data API over HTTP, translated into RPCs to the embedder and the store."""
