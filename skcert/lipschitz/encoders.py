"""What is known of a :class:`~skcert.PretrainedEmbedder` as a map: bounds and gradients, in the units of X."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from skcert._progress import bar
from skcert.embedding.caching import fingerprint
from skcert.embedding.latents import as_numpy
from skcert.embedding.precision import computing_in
from skcert.embedding.running import first_batch_size
from skcert.embedding.torch_modules import evaluating, torch_module
from skcert.geometry.rounding import row_norms
from skcert.lipschitz.local import ROWS, LocalBound
from skcert.lipschitz.network import Network, trace
from skcert.lipschitz.product import Constants, constants
from skcert.perturbations import Uncertifiable

#: differences of latents that are looked at for the rounding of an encoder, at least
LOOKS = 8


def constants_of(embedder: Any, network: Network | None = None) -> Constants:
    """The constants of all calls of a fitted embedder's encoder, that hold everywhere."""
    return _constants(embedder, network or network_of(embedder, 2))


def _constants(embedder: Any, network: Network) -> Constants:
    with bar(len(network.nodes), "bounding layers", "call", embedder.progress) as done:
        return constants(network, done.update)


def local_bound_of(embedder: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of points (n, n_inputs) and radii of their latents that returns radii of the points (theory 2.2)."""
    network = network_of(embedder, ROWS)
    bound = LocalBound(network, _constants(embedder, network))

    def inward(points: np.ndarray, radius: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(_rows(embedder, points))
        with bar(len(rows), "local bounds", "row", embedder.progress) as done:
            return bound.inward(rows, radius, done.update)

    return inward


def rounding_of(embedder: Any, network: Network | None = None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of points (n, n_inputs) and their latents: how far these, and those of the ball, are from real arithmetic.

    Four times their distance from the latents in float64, which errs 2^-29 times as much. Once is for the point itself; the
    rest is for other points of a ball, where the error is another one of the same kind: an estimate, not a bound. One latent
    can be right by chance, so at least ``LOOKS`` numbers are compared, at neighbours where the point itself has fewer.

    With a network, what the encoder does to these points, in the batches in which they are embedded, must be what it records.
    """
    n_looks = math.ceil(LOOKS / embedder.n_features_out_)

    def rounding(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        if network is not None:
            _check_runs(embedder, network, _rows(embedder, points))
        most = np.zeros(len(points))
        reach = 1e-4 * (row_norms(points)[:, None] + 1)
        for look in range(n_looks):
            if look:
                way = np.random.default_rng(look).standard_normal(points.shape[1])
                points = points + reach * way / np.linalg.norm(way)
            rows = _rows(embedder, points)
            seen = as_numpy(embedder._embed(rows)) if look else latents
            most = np.maximum(most, row_norms(seen - _in_double(embedder, rows)))
        return 4 * most

    return rounding


def _check_runs(embedder: Any, network: Network, rows: np.ndarray) -> None:
    module = _module(embedder)
    with evaluating(module, embedder.device) as device, computing_in(embedder.precision, device):
        size = first_batch_size(embedder.batch_size, rows, device, lambda start, stop: rows[start:stop])
        for start in range(0, len(rows), max(size, 1)):
            batch = torch.tensor(rows[start : start + size], dtype=_dtype(module), device=device)
            otherwise = network.otherwise_on(batch)
            if otherwise is not None:
                raise network.refuse_otherwise(otherwise)


def _in_double(embedder: Any, rows: np.ndarray) -> np.ndarray:
    try:
        return as_numpy(embedder._embed(rows, precision="double"))
    except (RuntimeError, TypeError, ValueError) as error:
        raise Uncertifiable(
            f"This encoder does not run in float64 ({str(error).splitlines()[0]}), so the error of its latents is not known. "
            "If that does not matter to you, pass a function that calls it, with lipschitz= a number."
        ) from error


def unchanged(embedder: Any) -> Callable[[], bool]:
    """A function that says whether the encoder still is what it is now: its weights, its constants, and what it does."""
    now = _identity(embedder)
    return lambda: _identity(embedder) == now


def _identity(embedder: Any) -> tuple:
    network = network_of(embedder, 2)
    found = _constants(embedder, network)
    latents = network.latents.meta["value"].cpu().numpy().tobytes()
    return embedder.lipschitz, fingerprint(embedder.encoder), [layer.so_far for layer in found.layers], latents


def gradients_of(embedder: Any) -> Callable[[np.ndarray], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]:
    """A function of points (n, n_inputs): their latents, and what takes weights of latents to gradients of the points."""
    module = _module(embedder)

    def pull_back(points: np.ndarray):
        rows = np.ascontiguousarray(_rows(embedder, points))
        with evaluating(module, embedder.device) as device, torch.inference_mode(False), torch.enable_grad():
            leaf = torch.tensor(rows, dtype=_dtype(module), device=device, requires_grad=True)
            latents = _forward(embedder, module, leaf.clone())

            def pull(weights: np.ndarray) -> np.ndarray:
                weighted = torch.as_tensor(weights, dtype=latents.dtype, device=device)
                with torch.inference_mode(False), torch.enable_grad():
                    (gradient,) = torch.autograd.grad(latents, leaf, weighted, retain_graph=True)
                return _points(embedder, gradient.cpu().double().numpy())

            return latents.detach().cpu().double().numpy(), pull

    return pull_back


def _forward(embedder: Any, module, batch: torch.Tensor) -> torch.Tensor:
    if embedder.preprocess is not None:
        batch = embedder.preprocess(batch)
    if embedder.output is None:
        return embedder.encoder(batch).flatten(1)
    seen: list[torch.Tensor] = []
    handle = module.get_submodule(embedder.output).register_forward_hook(lambda part, args, value: seen.append(value.clone()))
    try:
        embedder.encoder(batch)
    finally:
        handle.remove()
    return seen[-1].flatten(1)


def network_of(embedder: Any, n_rows: int) -> Network:
    """The encoder of a fitted embedder as a graph of calls, traced with so many rows."""
    module = _module(embedder)
    shape = _rows(embedder, np.zeros((1, int(np.prod(embedder._row_shape))))).shape[1:]
    generator = torch.Generator().manual_seed(0)
    example = torch.rand((n_rows, *shape), generator=generator, dtype=torch.float32)
    with evaluating(module, embedder.device) as device:
        return trace(embedder.encoder, embedder.preprocess, embedder.output, example.to(device=device, dtype=_dtype(module)))


def _module(embedder: Any):
    """The torch module, or the reason why nothing is known."""
    module = torch_module(embedder.encoder)
    if module is None:
        raise Uncertifiable(
            f"lipschitz={embedder.lipschitz!r} looks into torch modules, and this encoder is a "
            f"{type(embedder.encoder).__name__}: pass the module itself, or lipschitz= a number you can vouch for."
        )
    if getattr(embedder, "_row_shape", None) is None:
        raise Uncertifiable(
            f"lipschitz={embedder.lipschitz!r} needs inputs that are arrays: texts and files have no distance. Certify the "
            "output of this step, or pass images as arrays."
        )
    return module


def _dtype(module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _rows(embedder: Any, points: np.ndarray) -> np.ndarray:
    """Flat points in the shape in which they reach the encoder."""
    return embedder._as_batchable(points.reshape(len(points), *embedder._row_shape))


def _points(embedder: Any, rows: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_rows`: it only moves numbers."""
    n_inputs = int(np.prod(embedder._row_shape))
    order = _rows(embedder, np.arange(n_inputs, dtype=float)[None]).reshape(-1).astype(int)
    points = np.empty((len(rows), n_inputs))
    points[:, order] = rows.reshape(len(rows), -1)
    return points
