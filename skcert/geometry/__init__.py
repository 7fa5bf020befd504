"""Distance from a point to a decision boundary: pure array functions."""
