"""Latents shaped for their certificates: networks of known Lipschitz constant, the losses that train them, and the training."""
