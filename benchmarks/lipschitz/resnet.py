"""The CIFAR ResNets of He et al. (2016, section 4.2), with shortcuts without weights (option A), as encoders to 64 latents."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CifarResNet", "imagenet_scaled", "load_resnet"]


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which takes every other pixel and puts zeros into the new channels."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.added = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet-(6 n_blocks + 2) up to its 64 latents; `linear` is the head it was trained with."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = []
        for in_channels, channels, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            first = Block(in_channels, channels, stride)
            stages.append(nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(n_blocks - 1))))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return F.adaptive_avg_pool2d(y, 1).flatten(1)


def imagenet_scaled(x: Tensor) -> Tensor:
    """Pixels in [0, 1] as these networks were trained on them."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=x.dtype, device=x.device)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=x.dtype, device=x.device)[:, None, None]
    return (x - mean) / std


def load_resnet(path: Path, n_blocks: int) -> CifarResNet:
    """Weights of github.com/akamaster/pytorch_resnet_cifar10: 3 blocks a stage for ResNet-20, 9 for ResNet-56; eval mode."""
    stored = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network = CifarResNet(n_blocks)
    network.load_state_dict({name.removeprefix("module."): value for name, value in stored.items()})
    return network.eval()
