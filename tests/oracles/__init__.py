"""The first generation's components in plain NumPy: the definitions that the Rust core is tested against."""
