// Classes of several Gaussian components (1.6): boundaries/mixture.py and geometry/mixture.py, for the bound that needs no
// eigenbases. It follows kernels.cu in one program. What class_terms says of classes is here said of components; members are
// component numbers class by class, those of class k from starts[k] to starts[k + 1].

constexpr double SCALE = 2.0;  // scores are this many times logarithms of densities

__device__ inline double warp_least(double value) { return -warp_largest(-value); }

// Log-sum-exp of every class, -inf for one without components, and the winner; -1 where scores overflow.
__global__ void class_sums(const double* scores, const Index* members, const Index* starts, Index n, Index C, Index K,
                           double* sums, Index* winner) {
    Index row = warp_number();
    if (row >= n) return;
    const double* own = scores + row * C;
    Least top = nothing_yet();
    for (Index k = lane_number(); k < K; k += WARP) {
        double best = -infinite(), sum = 0;
        for (Index c = starts[k]; c < starts[k + 1]; ++c) best = larger(own[members[c]], best);
        for (Index c = starts[k]; c < starts[k + 1]; ++c) sum += exp((own[members[c]] - best) / SCALE);
        double value = starts[k] < starts[k + 1] ? best + SCALE * log(sum) : -infinite();
        sums[row * K + k] = value;
        top.meet({-value, static_cast<int>(k)});
    }
    top.meet_warp();
    if (lane_number() == 0) winner[row] = isfinite(top.value) ? top.at : -1;
}

// The winner's side: responsibilities theta at the point, and sum theta_e a_e + H(theta), which its log-sum-exp exceeds
// everywhere [1.6]. References hold, row by row, this height, its error, the error of the mean slope and sum theta_e ||y_e||.
enum ReferenceColumn { HEIGHT, HEIGHT_ERROR, SLIP_OF_MEAN, LENGTH, REFERENCE_COLUMNS };

template <bool DIAGONAL>
__global__ void references(const double* points, const double* means, const double* slopes, const Index* winner,
                           const Index* members, const Index* starts, const double* scores, const double* score_error,
                           const double* slope_error, const double* rounding, Index n, Index d, Index C, double* theta,
                           double* mean_slope, double* table) {
    Index row = warp_number();
    if (row >= n) return;
    Index i = winner[row];
    if (i < 0) return;
    int lane = lane_number();
    Index begin = starts[i], end = starts[i + 1], at = row * C;
    double best = -infinite(), sum = 0;
    for (Index m = begin; m < end; ++m) best = larger(scores[at + members[m]], best);
    for (Index m = begin; m < end; ++m) sum += exp((scores[at + members[m]] - best) / SCALE);
    double mean = 0, entropy = 0, size = 0, error = 0, slip = 0, length = 0;
    for (Index c = lane; c < d; c += WARP) mean_slope[row * d + c] = 0;
    for (Index m = begin; m < end; ++m) {
        Index e = members[m];
        double score = scores[at + e], share = exp((score - best) / SCALE) / sum, square = 0;
        for (Index c = lane; c < d; c += WARP) {
            double y = DIAGONAL ? (points[row * d + c] - means[e * d + c]) * slopes[e * d + c] : slopes[(e * n + row) * d + c];
            square += y * y;
            mean_slope[row * d + c] += share * y;
        }
        mean += share * score;
        entropy -= SCALE * (share > 0 ? share * log(share) : 0.0);
        size += share * fabs(score);
        error += share * score_error[at + e];
        slip += share * (slope_error[at + e] + rounding[at + e]);
        length += share * norm_above(warp_sum(square), d);
        if (lane == 0) theta[at + e] = share;
    }
    if (lane != 0) return;
    size += fabs(entropy) + SCALE;
    double* own = table + row * REFERENCE_COLUMNS;
    own[HEIGHT] = mean + entropy;
    own[HEIGHT_ERROR] = grow(error + gamma_of(2 * (end - begin) + 16) * size);
    own[SLIP_OF_MEAN] = slip;
    own[LENGTH] = length;
}

// Component c of a rival against the reference: margin from below, norm of the half-slope from above, curvature from below.
template <bool DIAGONAL>
__global__ void component_bounds(const double* points, const double* means, const double* slopes, const Index* winner,
                                 const Index* members, const Index* starts, const Index* labels, const double* scores,
                                 const double* score_error, const double* slope_error, const double* rounding,
                                 const double* theta, const double* mean_slope, const double* table, const double* low,
                                 double slack, Index n, Index d, Index C, double* margins, double* steeps, double* curves) {
    Index warp = warp_number();
    if (warp >= n * C) return;
    Index row = warp / C, c = warp % C, i = winner[row];
    if (i < 0 || labels[c] == i) return;
    int lane = lane_number();
    double square = 0;
    for (Index k = lane; k < d; k += WARP) {
        double y = DIAGONAL ? (points[row * d + k] - means[c * d + k]) * slopes[c * d + k] : slopes[(c * n + row) * d + k];
        double gap = y - mean_slope[row * d + k];
        square += gap * gap;
    }
    double norm = norm_above(warp_sum(square), d);
    if (lane != 0) return;
    const double* own = table + row * REFERENCE_COLUMNS;
    double error = own[HEIGHT_ERROR] + score_error[warp] + slack + 8 * UNIT * fabs(scores[warp]);
    double margin = own[HEIGHT] - scores[warp];
    double bend = 0, widest = 0;
    for (Index m = starts[i]; m < starts[i + 1]; ++m) {
        double curve = low[members[m] * C + c];
        bend += theta[row * C + members[m]] * curve;
        widest = larger(fabs(curve), widest);
    }
    double slip = slope_error[warp] + rounding[warp] + own[SLIP_OF_MEAN];
    margins[warp] = margin - grow(error + 4 * UNIT * fabs(margin));
    steeps[warp] = grow(norm + grow(slip + gamma_of(starts[i + 1] - starts[i] + 8) * (own[LENGTH] + norm)));
    curves[warp] = bend - gamma_of(2 * (starts[i + 1] - starts[i]) + 16) * widest;
}

// Bounds f_c(r) = A_c - B_c r - L_c r^2 of the leads over the components of one rival, which the lanes share out.
struct Leads {
    const Index* members;
    Index count;
    const double *heights, *slopes, *bends;  // by component

    template <class Use>
    __device__ void each(Use use) const {
        for (Index m = lane_number(); m < count; m += WARP) use(members[m]);
    }

    // log sum exp of -f_c(r) / scale, less what may be certified, and its slope: geometry.mixture.farthest.
    __device__ double excess(double r, double* steep) const {
        double top = infinite(), total = 0, rise = 0;
        auto left = [&](Index c) {
            double lost = slopes[c] * r + bends[c] * (r * r);
            return (heights[c] - lost - gamma_of(8) * (fabs(heights[c]) + lost)) / SCALE;
        };
        each([&](Index c) { top = smaller(left(c), top); });
        top = warp_least(top);
        each([&](Index c) {
            double share = exp(top - left(c));
            total += share;
            rise += share * (slopes[c] + 2 * bends[c] * r);
        });
        total = warp_sum(total), rise = warp_sum(rise);
        *steep = rise / (SCALE * total);
        return log(total) - top - log1p(-(count + 16.0) * 4 * UNIT);
    }

    // Largest r at which the rival certainly stays below; from below.
    __device__ double farthest() const {
        double r = infinite(), steep;
        each([&](Index c) {
            double A = heights[c], B = slopes[c], L = bends[c], alone = 0;
            if (A > 0) alone = B == 0 && L == 0 ? infinite() : 2 * A / (B + sqrt(B * B + 4 * L * A));
            r = smaller(alone, r);
        });
        r = warp_least(r);
        if (isinf(r)) {
            if (excess(0, &steep) <= 0) return infinite();
            r = 0;
        }
        for (int turn = 0; turn < 30; ++turn) {  // Newton, from above
            double value = excess(r, &steep), step = value > 0 ? value / steep : 0.0;
            if (!isfinite(step)) step = isnan(step) ? 0.0 : r;
            r = larger(r - step, 0.0);
            if (!(step > 1e-14 * r)) break;
        }
        const double backs[] = {0.0, 1e-15, 4e-15, 1e-14, 1e-13, 1e-12, 1e-10, 1e-8, 1e-5, 1e-2};
        for (double back : backs) {  // until the certain side is reached
            r *= 1 - back;
            if (excess(r, &steep) <= 0) return r;
        }
        return 0.0;
    }
};

// s of lambda = s - w with ||(w + lambda)^-1 c|| = r on a line, or the smallest that is allowed: geometry.mixture.Rival.
__device__ inline double multiplier(double steep, double curve, double r) {
    double floor = larger(larger(curve, 0.0), 1e-15 * fabs(curve) + TINY);
    return larger(larger(fabs(steep) / larger(r, TINY), 0.0), floor);
}

// Distance to every rival class from below, by slopes and curvatures alone: tangents at 0, and where a curvature helps tangents
// at the radius so far. heights, slopes and bends are room for their coefficients.
__global__ void rival_bounds(const Index* winner, const Index* members, const Index* starts, const double* margins,
                             const double* steeps, const double* curves, Index n, Index C, Index K, double* heights,
                             double* slopes, double* bends, double* bounds) {
    Index warp = warp_number();
    if (warp >= n * K) return;
    Index row = warp / K, j = warp % K, i = winner[row], at = row * C;
    if (i < 0 || i == j || starts[j] == starts[j + 1]) {
        if (lane_number() == 0) bounds[warp] = infinite();
        return;
    }
    Leads leads = {members + starts[j], starts[j + 1] - starts[j], heights + at, slopes + at, bends + at};
    double bowls = 0, unknown = 0;
    leads.each([&](Index c) {
        heights[at + c] = margins[at + c];
        slopes[at + c] = 2 * steeps[at + c];
        bends[at + c] = larger(-curves[at + c], 0.0);
        if (curves[at + c] > 0) bowls = 1;
        if (!isfinite(margins[at + c])) unknown = 1;
    });
    double straight = leads.farthest(), radius = 0;
    if (warp_largest(bowls) > 0) {
        double place = straight > 0 && isfinite(straight) ? straight : 1.0;
        for (int turn = 0; turn < 12; ++turn) {
            leads.each([&](Index c) {
                double steep = steeps[at + c], curve = curves[at + c], s = multiplier(steep, curve, place);
                double bend = s == curve ? 0.0 : s - curve + 8 * UNIT * (2 * fabs(curve) + s);
                heights[at + c] = margins[at + c] - grow(steep * steep / s, 17);
                slopes[at + c] = 0;
                bends[at + c] = larger(bend, 0.0);
            });
            double found = leads.farthest();
            bool moved = found > radius * (1 + 1e-12);
            radius = larger(found, radius);
            place = radius > 0 ? radius : place / 8;  // where tangents from too far out certify nothing, come nearer
            if (!((moved || radius == 0) && isfinite(radius))) break;
        }
        radius = warp_largest(unknown) > 0 ? 0.0 : shrink(radius);
    }
    if (lane_number() == 0) bounds[warp] = larger(straight, radius);
}

// Nearest rival and radius of every row; attacks are not looked for.
__global__ void conclude_mixture(const Index* winner, const double* bounds, const double* sums, const Index* starts, Index n,
                                 Index K, Index* winner_class, Index* runner_up, double* radius, double* attack) {
    Index row = warp_number();
    if (row >= n) return;
    Index i = winner[row];
    Least nearest = nothing_yet(), second = nothing_yet();
    for (Index k = lane_number(); k < K; k += WARP) {
        if (k == i || starts[k] == starts[k + 1]) continue;
        nearest.meet({bounds[row * K + k], static_cast<int>(k)});
        second.meet({-sums[row * K + k], static_cast<int>(k)});
    }
    nearest.meet_warp();
    second.meet_warp();
    if (lane_number() != 0) return;
    bool known = i >= 0;
    winner_class[row] = known ? i : -1;
    runner_up[row] = !known ? -1 : isinf(nearest.value) ? second.at : nearest.at;
    radius[row] = known && nearest.value > 0 ? nearest.value : 0.0;
    attack[row] = infinite();
}
