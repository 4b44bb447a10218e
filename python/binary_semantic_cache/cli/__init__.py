"""The `bsc` command: one module a subcommand, `main` puts them together."""
