"""How often a cache is right and wrong, measured on labelled pairs, and which threshold that permits."""
