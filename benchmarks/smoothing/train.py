"""Trains ResNet-20 on noisy CIFAR-10 images, from the weights of a clean one: ``python -m benchmarks.smoothing.train``.

Gaussian noise of standard deviation --sigma (pixels in [0, 1]) is added to every training image, as in Cohen et al. (2019),
who trained a ResNet-110 for 90 epochs. The weights are kept as float16, the head with them.

DIR (--data) holds cifar10_train_0.npz to cifar10_train_4.npz (see benchmarks/lipschitz/train.py) and resnet20-12fca82f.th. The
last 2000 training images are left out and judge the network under one draw of noise (the clean network had seen them); the
test images are not looked at.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lipschitz.resnet import CifarResNet, imagenet_scaled, load_resnet
from benchmarks.lipschitz.train import N_HELD_OUT, augmented, learning_rate, training_images

HERE = Path(__file__).parent


def weights_file(sigma: float) -> Path:
    return HERE / f"resnet20_noise_{sigma:g}.pt"


def load_noisy(sigma: float) -> CifarResNet:
    """The network trained with this noise, in float32 and eval mode."""
    network = CifarResNet(3)
    stored = torch.load(weights_file(sigma), map_location="cpu", weights_only=True)
    network.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in stored.items()})
    return network.eval()


def scores(network: CifarResNet, images: Tensor) -> Tensor:
    return network.linear(network(imagenet_scaled(images)))


@torch.inference_mode()
def judged(network: CifarResNet, images: Tensor, labels: Tensor, sigma: float) -> tuple[float, float]:
    """Accuracy on held-out images as they are, and under one draw of noise."""
    network.eval()
    generator = torch.Generator().manual_seed(1)
    right = np.zeros(2)
    for x, y in zip(images.split(500), labels.split(500), strict=True):
        x = x.float() / 255
        noise = sigma * torch.randn(x.shape, generator=generator)
        right += [float((scores(network, each).argmax(1) == y).sum()) for each in (x, x + noise)]
    network.train()
    return float(right[0] / len(labels)), float(right[1] / len(labels))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Trains ResNet-20 on noisy CIFAR-10 images.")
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10_train_*.npz and resnet20-12fca82f.th")
    parser.add_argument("--sigma", type=float, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args(arguments)
    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    images, labels = training_images(options.data)
    held_out = images[-N_HELD_OUT:], labels[-N_HELD_OUT:]
    images, labels = images[:-N_HELD_OUT], labels[:-N_HELD_OUT]
    network = load_resnet(options.data / "resnet20-12fca82f.th", 3).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=5e-4)
    out = weights_file(options.sigma)
    words = shlex.join(sys.argv[1:] if arguments is None else arguments).replace(str(options.data), "DIR")
    lines = [
        f"command    python -m benchmarks.smoothing.train {words}",
        f"date       {time.strftime('%Y-%m-%d')}",
        f"versions   Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}",
        f"device     {torch.cuda.get_device_name() if device == 'cuda' else f'CPU, {torch.get_num_threads()} thread(s)'}",
        f"images     {len(images)} for training, the last {N_HELD_OUT} of the training set held out; seed {options.seed}",
        " images      rate     loss   held out: accuracy   under noise   seconds",
    ]
    print("\n".join(lines), flush=True)

    def note(seen: int, loss: float) -> None:
        clean, noisy = judged_on_cpu(network, held_out, options)
        rate = optimiser.param_groups[0]["lr"]
        lines.append(f"{seen:7d}   {rate:.5f} {loss:8.4f}   {clean:18.4f}   {noisy:11.4f}   {time.perf_counter() - start:7.0f}")
        print(lines[-1], flush=True)
        out.with_suffix(".log").write_text("\n".join(lines) + "\n")

    start, seen, losses, progress = time.perf_counter(), 0, [], 0.0
    while progress < 1:
        for rows in torch.randperm(len(images), generator=generator).split(options.batch):
            progress = (time.perf_counter() - start) / (60 * options.minutes)
            if progress >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(progress, options.rate)
            x = augmented(images[rows], 4, generator)
            x = (x + options.sigma * torch.randn(x.shape, generator=generator)).to(device)
            loss = F.cross_entropy(scores(network, x), labels[rows].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            seen += len(rows)
        note(seen, float(np.mean(losses[-100:])))
    stored = {name: value.half() if value.is_floating_point() else value for name, value in network.cpu().state_dict().items()}
    torch.save(stored, out)
    note(seen, float(np.mean(losses[-100:])))


def judged_on_cpu(network: CifarResNet, held_out, options) -> tuple[float, float]:
    """The same network judged where the images are."""
    device = next(network.parameters()).device
    try:
        return judged(network.cpu(), *held_out, options.sigma)
    finally:
        network.to(device)


if __name__ == "__main__":
    main()
