"""What makes the trained parts of the package; not part of the wheel."""
