"""A 1-Lipschitz encoder of scikit-learn's digits, trained in seconds: a model for which l2 bounds on images are not vacuous."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SHAPE = (1, 8, 8)


def digits():
    """Flat rows with pixels in [0, 1] and their labels: X_train, X_test, y_train, y_test."""
    X, y = load_digits(return_X_y=True)
    return train_test_split((X / 16).astype(np.float32), y, test_size=0.3, stratify=y, random_state=0)


def train_on_digits(seed: int = 0, n_epochs: int = 8):
    """The baked encoder, (n, 1, 8, 8) to 32 latents, trained on the training part of `digits`; one thread, on the CPU."""
    import torch
    from torch import nn

    from benchmarks.lipschitz.encoders import baked, one_lipschitz_encoder
    from benchmarks.lipschitz.train import distances, learning_rate, margin_loss

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            X, _, y, _ = digits()
            images, labels = torch.from_numpy(X).reshape(-1, *SHAPE), torch.from_numpy(y)
            encoder = one_lipschitz_encoder(SHAPE, ((16,), (32,)), 32).train()
            head = nn.Linear(32, 10)
            optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1.0)
            for epoch in range(n_epochs):
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(epoch / n_epochs, 1e-2)
                for rows in torch.randperm(len(labels)).split(64):
                    distance = distances(encoder(images[rows]), head, labels[rows])
                    loss = margin_loss(distance, margin=0.75, temperature=0.2)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
        return baked(encoder)
    finally:
        torch.set_num_threads(threads)
