"""Instructions that kernels and whole calls execute, counted under callgrind: a check that is no timing."""
