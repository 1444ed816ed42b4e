"""What one request costs the gateway's process, by part, without sockets and without other services."""
