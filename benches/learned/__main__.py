"""Fixes the number of threads before NumPy is imported, then runs."""

import os
import sys

from benches.__main__ import ONE_THREAD


def main() -> int:
    """Runs the measurement; returns the exit status."""
    os.environ.update(ONE_THREAD)
    from benches.learned.run import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
