"""Sets the stage before NumPy is imported, then runs."""

import os
import sys

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""NumPy and FAISS get one thread, as every contender does; what runs on two threads says so."""

STEERING = ("OPENBLAS_", "OMP_", "MKL_", "GOTO_", "BSC_ISA", "BSC_THREADS", "NPY_")
"""Variables beginning so choose kernels or threads behind a benchmark's back."""


def main() -> int:
    """Drops steering variables, fixes the number of BLAS threads, and runs the benchmarks."""
    dropped = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(STEERING)}
    os.environ.update(ONE_THREAD)
    if "numpy" in sys.modules:
        raise RuntimeError("NumPy was imported before its environment was set")
    from benches.run import run

    return run(sys.argv[1:], dropped_variables=dropped)


if __name__ == "__main__":
    sys.exit(main())
