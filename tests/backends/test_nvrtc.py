"""The kernels through NVIDIA's run-time compiler, which needs no GPU, with the options that CuPy gives it."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from importlib.metadata import version
from importlib.resources import files

import pytest

from skcert.backends.cuda import device

#: what CuPy adds to the options of a RawModule (cupy/cuda/compiler.py of 14.2), beside directories for headers: we include none
OF_CUPY = ("-ftz=true", "--device-as-default-execution-space")


class Compiler:
    """Calls of libnvrtc; what it says is returned, not printed."""

    def __init__(self):
        self.nvrtc = ctypes.CDLL(str(files("nvidia.cuda_nvrtc") / "lib" / "libnvrtc.so.12"))

    def call(self, name, *args):
        status = getattr(self.nvrtc, f"nvrtc{name}")(*args)
        assert status == 0, f"nvrtc{name} returns {status}"

    def text(self, program, name) -> bytes:
        size = ctypes.c_size_t()
        self.call(f"{name}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self.call(name, program, text)
        return text.raw

    def compiled(self, code, names, options) -> tuple[bytes, str]:
        """The machine code, empty where there is none, and the log."""
        program, strings = ctypes.c_void_p(), (ctypes.c_char_p * len(options))(*map(str.encode, options))
        self.call("CreateProgram", ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None)
        try:
            for name in names:
                self.call("AddNameExpression", program, name.encode())
            failed = self.nvrtc.nvrtcCompileProgram(program, len(options), strings)
            log = self.text(program, "GetProgramLog").rstrip(b"\0").decode()
            return b"" if failed else self.text(program, "GetCUBIN"), log
        finally:
            self.call("DestroyProgram", ctypes.byref(program))


@pytest.fixture(scope="module")
def compiler():
    if sys.platform != "linux":
        pytest.skip("the wheel of NVRTC is looked for on Linux alone")
    return Compiler()


def options(architecture):
    return (*device.OPTIONS, *OF_CUPY, f"-arch={architecture}", "--ptxas-options=--warn-on-spills")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_kernels_compile_without_warnings_and_keep_everything_in_registers(compiler, architecture, kernels):
    code, given = device.source(), options(architecture)
    key = hashlib.sha256(repr((code, device.NAMES, given, version("nvidia-cuda-nvrtc-cu12"))).encode()).hexdigest()[:16]
    kept = kernels / f"{key}.cubin"
    if kept.exists():  # it took a minute
        return
    machine_code, log = compiler.compiled(code, device.NAMES, given)
    assert machine_code and not log.strip(), log
    kept.write_bytes(machine_code)


FINE = "__global__ void roots(double* x) { x[threadIdx.x] = sqrt(x[threadIdx.x]); }"
#: 64 numbers where a thread has 32 registers of half their size
CROWDED = """__global__ void __launch_bounds__(1024, 2) roots(double* x) {
    double kept[64];
#pragma unroll
    for (int k = 0; k < 64; ++k) kept[k] = x[k * 1024 + threadIdx.x];
#pragma unroll
    for (int k = 0; k < 64; ++k) x[k * 1024 + threadIdx.x] = sqrt(kept[63 - k]) + kept[k];
}"""
WRONG = {
    "an unused variable": FINE.replace("{ x", "{ int unused; x"),
    "a header": "#include <cmath>\n" + FINE,
    "a function that CUDA does not know": FINE.replace("sqrt", "root"),
    "more numbers than registers": CROWDED,
}


@pytest.mark.parametrize("code", WRONG.values(), ids=WRONG)
def test_what_cupy_would_warn_of_or_refuse_is_seen(compiler, code):
    assert not compiler.compiled(FINE, ("roots",), options("sm_90"))[1].strip()
    assert compiler.compiled(code, ("roots",), options("sm_90"))[1].strip()
