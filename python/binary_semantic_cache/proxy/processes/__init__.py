"""The proxy as processes: sockets, workers, signals, start and end."""
