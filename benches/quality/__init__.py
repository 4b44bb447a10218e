"""How often a cache serves what it should, and what it should not, on labelled pairs of prompts."""
