"""Who is told of requests: metrics, traces, the access log, and what the admin's page shows."""
