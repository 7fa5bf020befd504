// Distances to decision boundaries, one warp for every row or problem: what skcert/boundaries computes on a CPU, row by row.
//
// Constants and bounds of errors come from the CPU objects; here is only the arithmetic on points. A warp handles one row (or
// one pair of a row and a class): its lanes run along the features or the classes and meet in shuffles, so that no kernel needs
// shared memory. Float64 with IEEE division and square root; products and sums may be contracted to FMA, which rounds less
// often (docs/theory/rounding.md, "On a GPU"). Numbers in brackets are those of the theory pages.

using Index = long long;

constexpr int WARP = 32;
constexpr unsigned EVERY = 0xffffffffu;
constexpr double UNIT = 0x1p-53;
constexpr double TINY = 0x1p-1022;
constexpr double LARGEST = 0x1.fffffffffffffp1023;

// -- rounding (1.8): geometry/rounding.py, the same expressions ---------------------------------------------------------

__device__ inline double infinite() { return __longlong_as_double(0x7ff0000000000000LL); }

__device__ inline double gamma_of(double n) { return n * UNIT / (1 - n * UNIT) * (1 + 4 * UNIT); }
__device__ inline double shrink(double value, double steps = 8) { return value * (1 - steps * UNIT); }
__device__ inline double grow(double value, double steps = 8) { return value * (1 + steps * UNIT); }

// A Euclidean norm from its square, rounded up; squares that underflow are paid for.
__device__ inline double norm_above(double square, double n) { return sqrt(square + n * TINY) * (1 + gamma_of(n + 3)); }

// As np.maximum and np.minimum: NaN stays NaN, where fmax would drop it and certify what nobody knows.
__device__ inline double larger(double a, double b) { return isnan(a) || a > b ? a : b; }
__device__ inline double smaller(double a, double b) { return isnan(a) || a < b ? a : b; }

// A float32 number in float64, subnormal ones too, which CuPy has the compiler read as 0 (-ftz=true; it concerns no float64).
__device__ inline double exactly(double value) { return value; }
__device__ inline double exactly(float value) {
    unsigned bits = __float_as_uint(value), size = bits & 0x7fffffffu;
    if (size >= 0x00800000u) return static_cast<double>(value);
    return size * (bits == size ? 0x1p-149 : -0x1p-149);
}

// -- a warp -------------------------------------------------------------------------------------------------------------

__device__ inline Index warp_number() { return (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP; }
__device__ inline int lane_number() { return threadIdx.x % WARP; }

__device__ inline double warp_sum(double value) {
    for (int step = WARP / 2; step; step /= 2) value += __shfl_xor_sync(EVERY, value, step);
    return value;
}

__device__ inline double warp_largest(double value) {
    for (int step = WARP / 2; step; step /= 2) value = larger(__shfl_xor_sync(EVERY, value, step), value);
    return value;
}

// A value and where it is. The least value wins, NaN before all others as for np.argmin; of equal ones the first.
struct Least {
    double value;
    int at;

    __device__ bool before(const Least& other) const {
        if (isnan(value) || isnan(other.value)) return isnan(value) && (!isnan(other.value) || at < other.at);
        return value < other.value || (value == other.value && at < other.at);
    }
    __device__ void meet(const Least& other) {
        if (other.before(*this)) *this = other;
    }
    __device__ void meet_warp() {
        for (int step = WARP / 2; step; step /= 2) {
            Least other = {__shfl_xor_sync(EVERY, value, step), __shfl_xor_sync(EVERY, at, step)};
            meet(other);
        }
    }
};

__device__ inline Least nothing_yet() { return {infinite(), 0x7fffffff}; }

// Calls use(m, k) for every k < n that belongs to this lane, its m-th. With M > 0 there are at most M of them and the loop is
// unrolled: values with index m stay in registers. With M = 0 there may be any number, and nothing can be kept.
template <int M, class Use>
__device__ inline void along(int lane, Index n, Use use) {
    if constexpr (M > 0) {
#pragma unroll
        for (int m = 0; m < M; ++m) {
            int k = lane + m * WARP;
            if (k < n) use(m, k);
        }
    } else {
        for (Index k = lane; k < n; k += WARP) use(0, static_cast<int>(k));
    }
}

// Points in float64.
__global__ void widen(const float* points, Index n, Index d, double* wide) {
    Index row = warp_number();
    if (row >= n) return;
    for (Index k = lane_number(); k < d; k += WARP) wide[row * d + k] = exactly(points[row * d + k]);
}

// -- linear scores (1.4): boundaries/affine.py --------------------------------------------------------------------------

// x - center in float64, and what rounding may do to the scores there: one pass over the points.
template <class T>
__global__ void affine_prepare(const T* points, const double* center, const double* per_unit, double constant, Index n, Index d,
                               double* moved, double* error) {
    Index row = warp_number();
    if (row >= n) return;
    int lane = lane_number();
    double sum = 0;
    for (Index k = lane; k < d; k += WARP) {
        double x = exactly(points[row * d + k]) - center[k];
        if (moved) moved[row * d + k] = x;
        sum += fabs(x) * per_unit[k];
    }
    sum = warp_sum(sum);
    if (lane == 0) error[row] = sum + constant;
}

// Winner, nearest rival, radius and attack from the products coef (x - center): every score is read once where K <= 32 M.
//
// inverse and low are (K, K), by winner: 1 / ||slope difference|| from below, infinite for parallel rivals, and the norm itself
// from below. Beyond edge / outwards a score might overflow; outwards is 0 where nothing moves.
template <int M>
__global__ void affine_radius(const double* products, const double* intercept, const double* inverse, const double* low,
                              const double* error, double edge, double outwards, Index d, Index n, Index K, Index* winner,
                              Index* runner_up, double* radius, double* attack) {
    Index row = warp_number();
    if (row >= n) return;
    int lane = lane_number();
    const double* own = products + row * K;
    double kept[M > 0 ? M : 1] = {};
    auto score = [&](int m, int k) { return M > 0 ? kept[m] : own[k] + intercept[k]; };

    double best = -infinite();
    along<M>(lane, K, [&](int m, int k) {
        if (M > 0) kept[m] = own[k] + intercept[k];
        best = larger(score(m, k), best);
    });
    best = warp_largest(best);
    Least top = nothing_yet();  // 0 of every score that is the best one
    along<M>(lane, K, [&](int m, int k) {
        if (score(m, k) == best) top.meet({0.0, k});
    });
    top.meet_warp();
    int i = top.at < K ? top.at : 0;  // NaN, of which nothing is known

    double doubt = grow(2 * error[row] + 4 * UNIT * fabs(best), d + 8);
    double lead = best - doubt;
    const double* inverses = inverse + i * K;
    Least nearest = nothing_yet(), second = nothing_yet();
    along<M>(lane, K, [&](int m, int k) {
        double margin = lead - score(m, k), ratio = inverses[k] * margin;
        if (isinf(inverses[k])) ratio = margin > 0 ? infinite() : 0.0;  // parallel: a loser never wins, a tie stays a tie
        if (k == i) ratio = infinite();
        nearest.meet({ratio, k});
        second.meet({k == i || isnan(margin) ? infinite() : smaller(margin, LARGEST), k});
    });
    nearest.meet_warp();
    second.meet_warp();
    if (lane != 0) return;

    double least = nearest.value;
    bool alone = isinf(least);
    if (outwards > 0) {
        double end = shrink((edge - error[row]) / outwards);
        alone = least >= end;
        least = smaller(least, end);
    }
    int j = alone ? second.at : isnan(nearest.value) ? 0 : nearest.at;  // alone: the one with the next best score
    double margin = lead - (own[j] + intercept[j]);
    double gap = margin + 2 * doubt, slope = low[i * K + j];
    winner[row] = i;
    runner_up[row] = j;
    radius[row] = least > 0 ? shrink(least) : 0.0;
    attack[row] = slope > 0 && isfinite(gap) ? grow(gap / slope) : infinite();
}

// -- Gaussian scores (1.2): discriminants.py and boundaries/quadratic.py ------------------------------------------------

// Columns of the table of classes: what Quadratic knows of each, and what predict loses inside the ball.
enum Column { CONSTANT, CONSTANT_ERROR, INVERSE_ERROR, SLIP, BALANCED, TOP_UNIT, KAPPA, STRETCH, DOUBT, COLUMNS };

// Score of a class at a row and what it, its half-slope and predict may be off by: Quadratic.errors and _terms. One warp for
// each (class, row). slopes are the products y = P_k (z - mu_k), shape (K, n, d), or for DIAGONAL precisions P itself, (K, d).
template <bool DIAGONAL>
__global__ void class_terms(const double* points, const double* means, const double* slopes, const double* units,
                            const double* per_unit, const double* balanced_rows, const double* classes, Index n, Index d,
                            Index K, double* scores, double* score_error, double* slope_error, double* rounding) {
    Index warp = warp_number();
    if (warp >= n * K) return;
    int lane = lane_number();
    Index k = warp / n, row = warp % n;
    const double *z = points + row * d, *mean = means + k * d, *unit = units + k * d, *inverse_unit = per_unit + k * d;
    const double* y_or_P = slopes + (DIAGONAL ? k : warp) * d;
    double product = 0, slope_square = 0, unit_square = 0, balanced_square = 0, spread = 0;
    for (Index c = lane; c < d; c += WARP) {
        double x = z[c] - mean[c], y = DIAGONAL ? x * y_or_P[c] : y_or_P[c], scaled = x * unit[c];
        product += x * y;
        unit_square += scaled * scaled;
        if constexpr (DIAGONAL) {
            slope_square += y * y;
            spread += fabs(x) * fabs(y);
        } else {
            double balanced = y * inverse_unit[c];
            balanced_square += balanced * balanced;
            spread += fabs(scaled) * balanced_rows[k * d + c];
        }
    }
    product = warp_sum(product), unit_square = warp_sum(unit_square), spread = warp_sum(spread);
    double length = norm_above(unit_square, d), score, slope;
    const double* own = classes + k * COLUMNS;
    if constexpr (DIAGONAL) {
        score = own[INVERSE_ERROR] * spread;
        slope = (gamma_of(4) + own[INVERSE_ERROR]) * norm_above(warp_sum(slope_square), d);
    } else {
        double balanced = norm_above(warp_sum(balanced_square), d), slip = own[SLIP] * length;
        spread *= length;
        score = (own[INVERSE_ERROR] * balanced + slip) * length;
        slope = (gamma_of(4) + own[INVERSE_ERROR]) * balanced + gamma_of(d + 2) * own[BALANCED] * length + slip;
        slope *= own[TOP_UNIT];
    }
    if (lane != 0) return;
    Index at = row * K + k;
    double rounded = grow(gamma_of(2 * d + 6) * spread + 2 * UNIT * fabs(own[CONSTANT]), d + 8);
    scores[at] = own[CONSTANT] - product;
    // of this score, and of the one that predict computes at these very latents
    score_error[at] = grow(score + rounded + own[CONSTANT_ERROR], d + 8) + rounded;
    slope_error[at] = grow(slope, d + 8);
    rounding[at] = own[KAPPA] * grow(length, d) * own[STRETCH];
}

// The class of the largest score, the first of equal ones; -1 where scores overflow, of which nothing is known.
__global__ void winners(const double* scores, Index n, Index K, Index* winner) {
    Index row = warp_number();
    if (row >= n) return;
    Least top = nothing_yet();
    for (Index k = lane_number(); k < K; k += WARP) top.meet({-scores[row * K + k], static_cast<int>(k)});
    top.meet_warp();
    if (lane_number() == 0) winner[row] = top.value < infinite() ? top.at : -1;
}

// Of the scores, where a row and a class meet; arrays of shape (n, K).
struct Terms {
    const double *scores, *score_error, *slope_error, *rounding;
};

// Winner i against rival j: margin from below and its width, the error of half-slopes but for their own rounding, and what of
// it grows with the length of the move.
struct Lead {
    double margin, width, wide, rounding;

    __device__ Lead(const Terms& terms, Index row, Index K, Index i, Index j) {
        Index own = row * K + i, their = row * K + j;
        double gap = terms.scores[own] - terms.scores[their];
        double error = grow(terms.score_error[their] + terms.score_error[own] + 2 * UNIT * fabs(gap));
        margin = gap - error;
        width = 2 * error;
        rounding = grow(terms.rounding[their] + terms.rounding[own]);
        wide = terms.slope_error[their] + terms.slope_error[own] + rounding;
    }
    __device__ double slack(double norm) const { return grow(wide + 2 * gamma_of(2) * norm); }
};

// First root of m - 2 c r + lam r^2 [1.2]: geometry.quadric.closed_form_radius.
__device__ inline double closed_form_radius(double margin, double slope, double curvature) {
    if (!(margin > 0)) return 0.0;
    double bend = curvature * margin;
    double inside = slope * slope - bend + gamma_of(4) * (slope * slope + fabs(bend));
    if (inside < 0) return infinite();
    double radius = shrink(margin / (slope + sqrt(larger(inside, 0.0))));
    return isnan(radius) ? 0.0 : radius;
}

// Length at which walking along -g has certainly crossed: geometry.quadric.straight_attack.
__device__ inline double straight_attack(double margin, double slope, double curvature) {
    double bend = curvature * margin;
    double inside = slope * slope - bend - gamma_of(4) * (slope * slope + fabs(bend));
    double length = grow(margin / (slope + sqrt(larger(inside, 0.0))));
    return inside >= 0 && isfinite(inside) && isfinite(length) ? length : infinite();
}

// ||g_j||, g_j = y_j - y_i, and the radius that it gives with lambda_min(W_j) [1.2]. One warp for each (row, rival).
template <bool DIAGONAL>
__global__ void pair_bounds(const double* points, const double* means, const double* slopes, const Index* winner,
                            const double* scores, const double* score_error, const double* slope_error, const double* rounding,
                            const double* low, Index n, Index d, Index K, double* norms, double* bounds) {
    Index warp = warp_number();
    if (warp >= n * K) return;
    int lane = lane_number();
    Index row = warp / K, j = warp % K, i = winner[row];
    if (i < 0 || i == j) {
        if (lane == 0) norms[warp] = 0, bounds[warp] = infinite();
        return;
    }
    double square = 0;
    for (Index c = lane; c < d; c += WARP) {
        double gap;
        if constexpr (DIAGONAL) {
            double z = points[row * d + c];
            gap = (z - means[j * d + c]) * slopes[j * d + c] - (z - means[i * d + c]) * slopes[i * d + c];
        } else {
            gap = slopes[(j * n + row) * d + c] - slopes[(i * n + row) * d + c];
        }
        square += gap * gap;
    }
    double norm = norm_above(warp_sum(square), d);
    if (lane != 0) return;
    Lead lead({scores, score_error, slope_error, rounding}, row, K, i, j);
    norms[warp] = norm;
    bounds[warp] = closed_form_radius(lead.margin, norm + lead.slack(norm), low[i * K + j]);
}

// Nearest rival, radius and attack of every row. With EXACT, found holds solved distances (infinite where none was needed) and
// attacks lengths that certainly cross.
template <bool EXACT>
__global__ void conclude(const Index* winner, const double* found, const double* attacks,
                         const double* norms, const double* scores, const double* score_error, const double* slope_error,
                         const double* rounding, const double* high, const Index* classes, Index n, Index K,
                         Index* winner_class, Index* runner_up, double* radius, double* attack) {
    Index row = warp_number();
    if (row >= n) return;
    Index i = winner[row];
    Terms terms = {scores, score_error, slope_error, rounding};
    Least nearest = nothing_yet(), second = nothing_yet();
    double reached = infinite();
    for (Index k = lane_number(); k < K; k += WARP) {
        if (i < 0) continue;
        nearest.meet({found[row * K + k], static_cast<int>(k)});
        if (EXACT) reached = smaller(attacks[row * K + k], reached);
        double margin = k == i ? infinite() : Lead(terms, row, K, i, k).margin;
        second.meet({k == i || isnan(margin) ? infinite() : smaller(margin, LARGEST), static_cast<int>(k)});
    }
    nearest.meet_warp();
    second.meet_warp();
    reached = -warp_largest(-reached);
    if (lane_number() != 0) return;
    if (i < 0) {
        winner_class[row] = runner_up[row] = -1;
        radius[row] = 0, attack[row] = infinite();
        return;
    }
    Index j = nearest.at;
    if (isinf(nearest.value)) j = second.at;  // no rival can win: the one with the next best score
    Lead lead(terms, row, K, i, j);
    double norm = norms[row * K + j], slack = lead.slack(norm);
    double top = larger(lead.margin, 0.0) + lead.width, least = larger(norm + slack - 2 * slack, 0.0);
    winner_class[row] = classes[i];
    runner_up[row] = classes[j];
    radius[row] = nearest.value;
    attack[row] = smaller(reached, straight_attack(top, least, high[i * K + j]));
}

// -- the exact distance (1.3): geometry/quadric.py -----------------------------------------------------------------------

constexpr double GAP = 1e-10;  // relative primal-dual gap at which the iteration stops
constexpr int MAX_STEPS = 80;

// Length of the shorter of two points beyond the boundary: along u(t), or from there along the lowest eigenvector. Where
// squares overflow there is none: infinity must not end up in a denominator.
__device__ inline double attack_length(double m, double first, double s, double t0, double t1, double pole) {
    double bent = 1 + pole * s, linear = s * t0, square = s * bent * t1;
    double inside = linear * linear - (linear - square) * m, ray = infinite(), side = infinite();
    if (inside >= 0 && isfinite(inside) && linear > 0) ray = s * sqrt(t1) * (m / (linear + sqrt(inside)));
    double rest = m - linear - square;  // dual'(t), the margin still left at u(t)
    if (rest > 0 && pole > 0) {
        double pull = first * bent, turn = pull * pull + pole * rest, beta = rest / (pull + sqrt(turn));
        if (isfinite(turn)) side = sqrt(s * s * t1 + 2 * beta * s * first + beta * beta);
    }
    ray = isnan(ray) ? infinite() : ray;
    side = isfinite(side) ? side : infinite();
    return ray <= side ? ray : side;
}

// One quadric { u : m + 2 h'u + u' diag(w) u <= 0 } and what may be wrong with its numbers, as quadric.distance takes them.
struct Quadric {
    double margin, margin_error, slope_error, curvature_error, cutoff;
    double lowest;  // w_min, lowered like all values
    double first;   // |h| there
};

struct Distance {
    double radius, attack;
};

// The distance from below and from above, by the dual [1.3]: safeguarded Newton on log psi against log s, psi = m - dual'.
// square(m, k) and value(m, k) give h_k^2 and w_k to the lane that owns them. Any s gives a sound radius; what rounding may
// have done to the dual is taken off at the end, and FMA only makes that less.
template <int M, class Square, class Value>
__device__ inline Distance distance(int lane, Index d, const Quadric& q, Square square, Value value) {
    const double m = q.margin, pole = larger(-q.lowest, 0.0);
    double total = 0, least = infinite();
    along<M>(lane, d, [&](int at, int k) {
        double gap = value(at, k) + pole;
        total += square(at, k);
        if (gap > 0 && gap < least) least = gap;
    });
    total = warp_sum(total);
    least = -warp_largest(-least);

    double t0 = 0, t1 = 0, t2 = 0;
    auto sums = [&](double s) {  // T_p = sum_k h_k^2 / (1 + s (w_k + a))^(p+1); no denominator cancels
        t0 = t1 = t2 = 0;
        along<M>(lane, d, [&](int at, int k) {
            double inverse = __drcp_rn(1 + s * (value(at, k) + pole));
            double weighted = square(at, k) * inverse;
            t0 += weighted;
            weighted *= inverse;
            t1 += weighted;
            t2 += weighted * inverse;
        });
        t0 = warp_sum(t0), t1 = warp_sum(t1), t2 = warp_sum(t2);
    };

    double s = m / (2 * total);
    if (!(isfinite(s) && s > 0)) s = 1.0;
    if (m > 0 && total > 0) {
        // beyond this s every denominator has left 1 behind: the hard case, or a rival that cannot win
        double end = 1e18 / larger(larger(pole, isinf(least) ? 0.0 : least), 1e-280);
        double low = 0, high = infinite();
        bool done = false;
        for (int turn = 0; turn < MAX_STEPS && !done; ++turn) {
            sums(s);
            double bent = 1 + pole * s, psi = s * (t0 + bent * t1), lower = larger(s / bent * (m - s * t0), 0.0);
            done = attack_length(m, q.first, s, t0, t1, pole) <= (1 + GAP) * sqrt(lower) || lower > q.cutoff * q.cutoff;
            if (psi < m) low = s;
            else high = s;
            double move = log(m / psi) / (2 * s * bent * t2 / psi);
            double step = s * exp(move < -30 ? -30.0 : move > 30 ? 30.0 : move);
            if (!(step > low && step < high)) step = isinf(high) ? low * 1e3 : low > 0 ? sqrt(low) * sqrt(high) : high * 1e-3;
            step = smaller(step, end);
            done = done || fabs(step - s) <= 4e-16 * s || !isfinite(step);
            if (!done) s = step;
        }
        if (!done) sums(s);  // they must belong to the s that is used
    } else {  // h = 0: only the hard case can reach the boundary, and it does so at the pole
        s = pole > 0 ? 1e17 / pole : 0.0;
    }

    double bent = 1 + pole * s, t = s / bent;
    double nominal = sqrt(larger(t * (m - s * t0), 0.0));
    double paid = 2 * nominal * q.slope_error + gamma_of(d + 16) * (m + s * t0);
    double radius = shrink(smaller(nominal, sqrt(larger(t * (m - s * t0 - paid), 0.0))), 16);
    if (!(m > 0) || isnan(radius)) radius = 0.0;
    if (m > 0 && q.lowest > 0) {  // a bowl: is it above 0 at its deepest point?
        double depth = 0;
        along<M>(lane, d, [&](int at, int k) { depth += square(at, k) / value(at, k); });
        depth = grow(sqrt(warp_sum(depth)) + q.slope_error / sqrt(q.lowest), d + 16);
        if (depth * depth < shrink(m)) return {infinite(), infinite()};
    }

    double top = larger(m, 0.0) + q.margin_error, attack = infinite();
    double nearly = attack_length(top, q.first, s, t0, t1, pole);
    const double rooms[] = {1.001, 1.1, 2.0};  // errors grow with the length: it must be the one they were taken at, or less
    for (double room : rooms) {
        double reach = room * nearly;
        double worst = top + 2 * reach * (q.slope_error + reach * q.curvature_error);
        worst += gamma_of(d + 16) * (worst + s * t0 + s * bent * t1);
        double length = grow(attack_length(worst, q.first, s, t0, t1, pole), 16);
        if (length <= reach && length < attack) attack = length;
    }
    return {smaller(radius, attack), attack};
}

// Rows x = z - mu_i of the tasks (row K + j, i the winner), before they are turned into the eigenbases, and their lengths.
__global__ void gather(const double* points, const double* means, const Index* winner, const Index* tasks, Index count, Index d,
                       Index K, double* moved, double* lengths) {
    Index task = warp_number();
    if (task >= count) return;
    int lane = lane_number();
    Index row = tasks[task] / K;
    const double *z = points + row * d, *mean = means + winner[row] * d;
    double square = 0;
    for (Index c = lane; c < d; c += WARP) {
        double x = z[c] - mean[c];
        moved[task * d + c] = x;
        square += x * x;
    }
    square = warp_sum(square);
    if (lane == 0) lengths[task] = norm_above(square, d);
}

// What every solve writes: the distance to this rival, of which the bound that chose it is another lower one.
__device__ inline void record(int lane, Index at, const Distance& exact, const double* bounds, double* found, double* attacks) {
    if (lane != 0) return;
    found[at] = larger(exact.radius, bounds[at]);
    attacks[at] = exact.attack;
}

// Columns of the table of pairs i < j: errors of the eigenbasis, of turning a row into it, largest |w|, by how much the
// eigenvalues are lowered, errors of the shifts of i against j and of j against i.
enum PairColumn { BASIS_ERROR, TURN, TOP_VALUE, LOWERED, SHIFT_ERROR, PAIR_COLUMNS = SHIFT_ERROR + 2 };

// Exact distances of a ragged list of tasks, sorted or not by pair: h = w * (V'x) + shift, then the dual [1.3]. slots says for
// each task which row of the tables of pairs is its own; j against i has the negated spectrum. The cutoff of a row is what was
// found for its first rival.
template <int M>
__global__ void solve(const double* turned, const double* lengths, const Index* tasks, const Index* slots, const Index* winner,
                      const Index* first_rival, const double* values, const double* shifts, const double* pairs,
                      const double* scores, const double* score_error, const double* slope_error, const double* rounding,
                      const double* bounds, Index count, Index d, Index K, double* found, double* attacks) {
    Index task = warp_number();
    if (task >= count) return;
    int lane = lane_number();
    Index at = tasks[task], row = at / K, j = at % K, i = winner[row], slot = slots[task];
    bool flip = i > j;
    const double *w = values + slot * d, *shift = shifts + (2 * slot + flip) * d, *pair = pairs + slot * PAIR_COLUMNS;
    const double* q = turned + task * d;
    double sign = flip ? -1.0 : 1.0;
    auto slope = [&](Index k) { return q[k] * (sign * w[k]) + shift[k]; };
    auto value = [&](int, int k) { return sign * w[k] - pair[LOWERED]; };

    double kept[M > 0 ? M : 1] = {}, total = 0;
    along<M>(lane, d, [&](int m, int k) {
        double h = slope(k), square = h * h;
        if (M > 0) kept[m] = square;
        total += square;
    });
    auto square = [&](int m, int k) {
        if (M > 0) return kept[m];
        double h = slope(k);
        return h * h;
    };
    double norm = norm_above(warp_sum(total), d), length = lengths[task];
    double error = pair[BASIS_ERROR] * length + pair[TOP_VALUE] * grow(pair[TURN] * length) + pair[SHIFT_ERROR + flip];
    error = grow(error + gamma_of(4) * norm);

    Lead lead({scores, score_error, slope_error, rounding}, row, K, i, j);
    Index lowest = flip ? d - 1 : 0;
    Quadric quadric = {lead.margin, lead.width, grow(error + lead.rounding), pair[LOWERED], found[row * K + first_rival[row]],
                       value(0, lowest), fabs(slope(lowest))};
    record(lane, at, distance<M>(lane, d, quadric, square, value), bounds, found, attacks);
}

// The same where precisions are diagonal: g = W x + P_j (mu_i - mu_j) feature by feature, and nothing is turned.
template <int M>
__global__ void solve_diagonal(const double* points, const double* means, const double* precisions, const double* classes,
                               const double* pair_rounding, const Index* tasks, const Index* winner, const Index* first_rival,
                               const double* scores, const double* score_error, const double* slope_error,
                               const double* rounding, const double* bounds, Index count, Index d, Index K, double* found,
                               double* attacks) {
    Index task = warp_number();
    if (task >= count) return;
    int lane = lane_number();
    Index at = tasks[task], row = at / K, j = at % K, i = winner[row];
    const double *z = points + row * d, *own_mean = means + i * d, *their_mean = means + j * d;
    const double *own = precisions + i * d, *their = precisions + j * d;
    auto curve = [&](Index k) { return their[k] - own[k]; };
    auto shift = [&](Index k) { return their[k] * (own_mean[k] - their_mean[k]); };
    auto slope = [&](Index k) { return (z[k] - own_mean[k]) * curve(k) + shift(k); };

    double kept[M > 0 ? M : 1] = {}, curves[M > 0 ? M : 1] = {}, widest = 0;
    double total = 0, size = 0, reach = 0, between = 0, shifted = 0;  // squares of norms
    Least lowest = nothing_yet();
    along<M>(lane, d, [&](int m, int k) {
        double h = slope(k), square = h * h, w = curve(k), x = z[k] - own_mean[k], moved = own_mean[k] - their_mean[k];
        if (M > 0) kept[m] = square, curves[m] = w;
        total += square, size += w * w, reach += x * x, between += moved * moved, shifted += shift(k) * shift(k);
        widest = larger(fabs(w), widest);
        lowest.meet({w, k});
    });
    lowest.meet_warp();
    widest = warp_largest(widest);
    auto norm = [&](double square) { return norm_above(warp_sum(square), d); };
    double doubt = classes[i * COLUMNS + DOUBT] + classes[j * COLUMNS + DOUBT] + UNIT * norm(size);
    double error = (doubt + 2 * UNIT * widest) * norm(reach) + gamma_of(8) * norm(shifted);
    error = grow(error + classes[j * COLUMNS + DOUBT] * norm(between) + gamma_of(4) * norm(total), 16);
    double lowered = grow(doubt + 2 * UNIT * widest + pair_rounding[i * K + j], 16);
    auto square = [&](int m, int k) {
        if (M > 0) return kept[m];
        double h = slope(k);
        return h * h;
    };
    auto value = [&](int m, int k) { return (M > 0 ? curves[m] : curve(k)) - lowered; };

    Lead lead({scores, score_error, slope_error, rounding}, row, K, i, j);
    Quadric quadric = {lead.margin, lead.width, grow(error + lead.rounding), lowered, found[row * K + first_rival[row]],
                       lowest.value - lowered, fabs(slope(lowest.at))};
    record(lane, at, distance<M>(lane, d, quadric, square, value), bounds, found, attacks);
}
