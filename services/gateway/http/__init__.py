"""HTTP/1.1 and HTTP/2 around the gateway's application: connections, requests as they come, their limits and times."""
