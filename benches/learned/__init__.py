"""Whether the learned policy keeps its budget: in a made-up world, and on a stream of real questions."""
