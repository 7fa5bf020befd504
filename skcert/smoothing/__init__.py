"""Randomized smoothing: what votes under noise say about a radius, and how votes are counted."""
