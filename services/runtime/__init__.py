"""What every service needs to run: errors, configuration, logs, and serving RPCs."""
