"""Benchmarks: `python -m benches` from the repository's root; see `README.md` beside this file."""
