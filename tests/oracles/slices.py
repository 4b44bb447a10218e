"""Sliced codes, by the definition: 16 bits of 32 rows stand together."""

import numpy as np


def sliced(codes, n_groups):
    """`(heads, tails)` of the first `n_groups` groups of 32 rows of `(n, 4)` codes."""
    heads, tails = np.zeros((n_groups, 9, 32), np.uint16), np.zeros((n_groups, 7, 32), np.uint16)
    for row in range(32 * n_groups):
        code = sum(int(word) << (64 * w) for w, word in enumerate(codes[row]))
        for s in range(16):
            bits = code >> (16 * s) & 0xFFFF
            if s < 9:
                heads[row // 32, s, row % 32] = bits
            else:
                tails[row // 32, s - 9, row % 32] = bits
    return heads, tails
