"""Encoders of Lipschitz constant 1 by construction, and the table of certificates on CIFAR-10 they stand in."""
