"""A CuPy without a GPU: the few calls that skcert makes, on host memory, with kernels compiled for the CPU by g++.

Stricter than the original where that shows a mistake: arrays do not mix with NumPy's, fresh memory is full of NaN, writing
past the end of an array is noticed, and what is put on a stream runs as late as it may: when somebody waits for it.
"""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import types
from pathlib import Path
from weakref import WeakSet

import numpy as np

HERE = Path(__file__).parent
#: bytes around every array that nobody may write to
GUARD = 512
POISON = 0xFF


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


# -- streams -----------------------------------------------------------------------------------------------------------


STREAMS: WeakSet = WeakSet()


class Stream:
    """Work in order, none of it done before it must be."""

    current: Stream

    def __init__(self, null=False, non_blocking=False):
        self.pending: list = []
        self._outer: list[Stream] = []
        STREAMS.add(self)

    def __enter__(self):
        self._outer.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *_):
        Stream.current = self._outer.pop()

    def synchronize(self):
        with np.errstate(all="ignore"):
            while self.pending:
                self.pending.pop(0)()

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        self.pending.append(event.synchronize)


class Event:
    def __init__(self, disable_timing=False):
        self.stream, self.reached = None, True

    def record(self, stream=None):
        self.stream, self.reached = Stream.current if stream is None else stream, False
        self.stream.pending.append(lambda: setattr(self, "reached", True))

    def synchronize(self):
        while not self.reached:
            self.stream.pending.pop(0)()


Stream.current = Stream()


# -- arrays ------------------------------------------------------------------------------------------------------------


def _bare(value):
    """What an array of this module holds; scalars pass, arrays of others do not."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, (tuple, list)):
        return type(value)(_bare(v) for v in value)
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


def _wrapped(value):
    return ndarray(value) if isinstance(value, (np.ndarray, np.generic)) else value


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array "on the device"."""

    def __init__(self, values, memory=None):
        self._values = np.asarray(values)
        self._memory = memory

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if method != "__call__":
            return NotImplemented
        Stream.current.synchronize()
        if out is not None:
            kwargs["out"] = tuple(_bare(o) for o in out)
        with np.errstate(all="ignore"):
            result = ufunc(*(_bare(x) for x in inputs), **kwargs)
        return out[0] if out is not None else _wrapped(result)

    def __getattr__(self, name):
        if name in ("shape", "dtype", "ndim", "size", "nbytes", "flags", "itemsize"):
            return getattr(self._values, name)
        if name in ("T",):
            return ndarray(getattr(self._values, name), self._memory)
        if name in ("argmin", "reshape", "ravel", "any", "all", "copy", "max", "sum"):

            def method(*args, **kwargs):
                Stream.current.synchronize()
                return ndarray(getattr(self._values, name)(*args, **kwargs), self._memory)

            return method
        raise AttributeError(f"the simulated cupy.ndarray has no {name}")

    def __len__(self):
        return len(self._values)

    def __bool__(self):
        Stream.current.synchronize()
        return bool(self._values)

    def __getitem__(self, key):
        key = _bare(key)
        if not isinstance(key, (slice, int, type(None), type(...))):
            Stream.current.synchronize()
        return ndarray(self._values[key], self._memory)

    def __setitem__(self, key, value):
        Stream.current.synchronize()
        self._values[_bare(key)] = _bare(value)

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        out = empty(self.shape, dtype)
        Stream.current.pending.append(lambda: np.copyto(out._values, self._values, casting="unsafe"))
        return out

    @property
    def device(self):
        return Device(0)

    def set(self, values, stream=None):
        assert type(values) is np.ndarray and values.dtype == self.dtype and values.shape == self.shape
        assert self._values.flags.c_contiguous and values.flags.c_contiguous
        (stream or Stream.current).pending.append(lambda: np.copyto(self._values, values))

    def get(self, stream=None, order="C", out=None, blocking=True):
        out = np.empty_like(self._values) if out is None else out
        assert type(out) is np.ndarray and out.dtype == self.dtype and out.shape == self.shape
        stream = stream or Stream.current
        stream.pending.append(lambda: np.copyto(out, self._values))
        if blocking:
            stream.synchronize()
        return out


def empty(shape, dtype=float):
    """Full of NaN, and of -1, with guards on either side."""
    shape = (shape,) if np.isscalar(shape) else tuple(shape)
    n_bytes = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    memory = np.full(n_bytes + 2 * GUARD, POISON, dtype=np.uint8)
    return ndarray(memory[GUARD : GUARD + n_bytes].view(dtype).reshape(shape), memory)


def full(shape, value, dtype=None):
    out = empty(shape, np.asarray(value).dtype if dtype is None else dtype)
    out[...] = value
    return out


def asarray(values, dtype=None):
    if isinstance(values, ndarray):
        return values if dtype in (None, values.dtype) else values.astype(dtype)
    values = np.asarray(values, dtype=dtype)
    out = empty(values.shape, values.dtype)
    values = values.copy()
    Stream.current.pending.append(lambda: np.copyto(out._values, values))
    return out


def _eager(function):
    """A function of NumPy on arrays of this module."""

    def call(*args, **kwargs):
        Stream.current.synchronize()
        out = kwargs.get("out")
        kwargs = {name: _bare(value) for name, value in kwargs.items()}
        with np.errstate(all="ignore"):
            result = function(*(_bare(a) for a in args), **kwargs)
        return _wrapped(result) if out is None else out

    return call


def _matmul(a, b, out=None):
    """Runs when the stream comes to it, as kernels do."""
    if out is None:
        return _eager(np.matmul)(a, b)
    assert out.flags.c_contiguous
    a, b, into = _bare(a), _bare(b), _bare(out)
    Stream.current.pending.append(lambda: np.matmul(a, b, out=into))
    return out


class Device:
    def __init__(self, device=0):
        self.id = device

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        for stream in STREAMS:
            stream.synchronize()


def alloc_pinned_memory(n_bytes):
    return memoryview(np.full(max(n_bytes, 1), POISON, dtype=np.uint8))


# -- kernels -----------------------------------------------------------------------------------------------------------


def build(code: str, names: tuple[str, ...], folder: Path, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compile kernels and a launcher for each name."""
    source = f'#include "{HERE / "cuda_on_cpu.h"}"\n#line 1 "kernels.cu"\n{code}\n'
    for n, name in enumerate(names):
        source += (
            f'extern "C" void launch_{n}(unsigned grid, unsigned block, void** values) '
            f"{{ simulated::launch(&{name}, grid, block, values); }}\n"
            f'extern "C" int sizes_{n}(int* out) {{ return simulated::sizes(&{name}, out); }}\n'
        )
    command = ["g++", "-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas", "-fPIC", "-shared", *flags]
    key = hashlib.sha256((source + " ".join(command) + (HERE / "cuda_on_cpu.h").read_text()).encode()).hexdigest()[:16]
    library = folder / f"kernels-{key}.so"
    if not library.exists():
        path = library.with_suffix(".cpp")
        path.write_text(source)
        made = library.with_suffix(".made")
        subprocess.run([*command, str(path), "-o", str(made)], check=True)
        made.rename(library)
    return ctypes.CDLL(str(library))


class Kernel:
    def __init__(self, library, number):
        self._launch = getattr(library, f"launch_{number}")
        found = (ctypes.c_int * 64)()
        self._kinds = list(found[: getattr(library, f"sizes_{number}")(found)])

    def __call__(self, grid, block, args):
        assert len(args) == len(self._kinds), (len(args), len(self._kinds))
        held, kept = [], list(args)
        for value, kind in zip(args, self._kinds, strict=True):
            if isinstance(value, ndarray):
                assert kind & 256 and value.flags.c_contiguous
                held.append(ctypes.c_void_p(value._values.ctypes.data))
            elif isinstance(value, np.integer):
                assert kind & 255 == value.itemsize and not kind & 512, (value, kind)
                held.append(ctypes.c_void_p(int(value)) if kind & 256 else ctypes.c_int64(int(value)))
            else:
                assert isinstance(value, np.float64) and kind & 512, (value, kind)
                held.append(ctypes.c_double(float(value)))
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(h) for h in held))

        def run(held=held):
            self._launch(ctypes.c_uint(grid[0]), ctypes.c_uint(block[0]), pointers)
            for value in kept:
                memory = getattr(value, "_memory", None)
                if memory is not None:
                    assert (memory[:GUARD] == POISON).all() and (memory[-GUARD:] == POISON).all(), "written past the end"

        if grid[0]:
            Stream.current.pending.append(run)


def cupy_on_cpu(folder: Path, flags: tuple[str, ...] = ()) -> types.ModuleType:
    """The module, with kernels compiled into this folder."""
    module = types.ModuleType("cupy")

    class RawModule:
        def __init__(self, code, options=(), name_expressions=()):
            assert options == ("--std=c++17",)
            self._names = tuple(name_expressions)
            self._library = build(code, self._names, folder, flags)

        def get_function(self, name):
            return Kernel(self._library, self._names.index(name))

    def get_device_count():
        return 1

    module.ndarray, module.empty, module.full, module.asarray, module.RawModule = ndarray, empty, full, asarray, RawModule
    module.matmul = _matmul
    module.ascontiguousarray = lambda a: a if a.flags.c_contiguous else _eager(np.ascontiguousarray)(a)
    for name in ("flatnonzero", "argsort", "bincount", "isfinite", "minimum", "maximum", "arange", "subtract",
                 "concatenate"):  # fmt: skip
        setattr(module, name, _eager(getattr(np, name)))
    runtime = types.SimpleNamespace(getDeviceCount=get_device_count, CUDARuntimeError=CUDARuntimeError)
    module.cuda = types.SimpleNamespace(
        Stream=Stream, Event=Event, Device=Device, runtime=runtime, alloc_pinned_memory=alloc_pinned_memory,
        get_current_stream=lambda: Stream.current,
    )  # fmt: skip
    return module
