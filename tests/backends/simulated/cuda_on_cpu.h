// Enough of CUDA for the kernels of skcert to run on a CPU as they stand: the 32 lanes of a warp are fibers that take turns
// between shuffles. A shuffle that not every lane of the warp reaches, or that some reach at another place, ends the program.
#pragma once

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)
#define __restrict__

using std::isfinite;
using std::isinf;
using std::isnan;

struct Place {
    unsigned x = 0, y = 0, z = 0;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline double __drcp_rn(double value) { return 1.0 / value; }

namespace simulated {

constexpr int LANES = 32;
constexpr size_t STACK = 1 << 17;

struct Lane {
    ucontext_t start;
    jmp_buf here;
    bool begun = false, done = false;
    int shuffles = 0;   // met so far: which of two mailboxes is in use
    const char* where;  // the shuffle it waits at
    std::vector<char> stack = std::vector<char>(STACK);
};

static Lane lanes[LANES];
static jmp_buf scheduler;
static ucontext_t first_entry;
static int current;
static std::uint64_t mail[2][LANES];
static void (*body)(void*);
static void* arguments;

inline void fail(const char* what) {
    std::fprintf(stderr, "simulated warp: %s\n", what);
    std::abort();
}

inline void enter() {
    body(arguments);
    lanes[current].done = true;
    _longjmp(scheduler, 1);
}

inline void wait(const char* where) {
    lanes[current].where = where;
    if (_setjmp(lanes[current].here) == 0) _longjmp(scheduler, 1);
}

template <class T>
inline T shuffle_xor(unsigned mask, T value, int step, const char* where) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t), "one register or two");
    if (mask != 0xffffffffu) fail("a shuffle of part of a warp");
    Lane& lane = lanes[current];
    int box = lane.shuffles++ % 2;
    std::memcpy(&mail[box][current], &value, sizeof value);
    wait(where);
    std::memcpy(&value, &mail[box][current ^ step], sizeof value);
    return value;
}

// Every lane runs to its next shuffle, or to its end, in turn; after each round all must be at the same place.
inline void run_warp() {
    for (Lane& lane : lanes) lane.begun = lane.done = false, lane.shuffles = 0;
    unsigned base = threadIdx.x;
    for (bool running = true; running;) {
        for (current = 0; current < LANES; ++current) {
            Lane& lane = lanes[current];
            threadIdx.x = base + current;
            if (_setjmp(scheduler)) continue;
            if (lane.begun) _longjmp(lane.here, 1);
            lane.begun = true;
            getcontext(&lane.start);
            lane.start.uc_stack.ss_sp = lane.stack.data();
            lane.start.uc_stack.ss_size = lane.stack.size();
            lane.start.uc_link = nullptr;
            makecontext(&lane.start, enter, 0);
            swapcontext(&first_entry, &lane.start);
        }
        running = !lanes[0].done;
        for (Lane& lane : lanes) {
            if (lane.done == running) fail("some lanes end where others wait");
            if (running && (lane.where != lanes[0].where || lane.shuffles != lanes[0].shuffles)) fail("lanes wait apart");
        }
    }
    threadIdx.x = base;
}

template <class... T, size_t... I>
inline void call(void (*kernel)(T...), void** values, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<T>*>(values[I])...);
}

// As cudaLaunchKernel: values are pointers to the arguments.
template <class... T>
inline void launch(void (*kernel)(T...), unsigned grid, unsigned block, void** values) {
    if (block % LANES || block > 1024) fail("a block that is not of whole warps");
    static void (*running)(T...);
    running = kernel;
    body = [](void* values) { call(running, static_cast<void**>(values), std::index_sequence_for<T...>{}); };
    arguments = values;
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (unsigned warp = 0; warp < block / LANES; ++warp) {
            threadIdx.x = warp * LANES;
            run_warp();
        }
}

template <class... T>
inline int sizes(void (*)(T...), int* out) {
    int n = 0;
    ((out[n++] = sizeof(T) | (std::is_pointer_v<T> ? 256 : std::is_floating_point_v<T> ? 512 : 0)), ...);
    return n;
}

}  // namespace simulated

#define SIMULATED_PLACE_(x) #x
#define SIMULATED_PLACE(x) SIMULATED_PLACE_(x)
#define __shfl_xor_sync(mask, value, step) simulated::shuffle_xor(mask, value, step, __FILE__ ":" SIMULATED_PLACE(__LINE__))
