/* The LIF neuron of neuron.py over all time steps in one pass, alone and after a batch norm; float32, native.py builds
 * and calls it.
 *
 * Forward keeps nothing: backward computes the membrane again from the input current, which costs less than
 * writing and reading it. Each block of neurons stays in the innermost cache for all its time steps. The order of
 * operations is that of neuron.py's `fused` implementation; at tau = 2, where the products with 1/tau are exact,
 * the two agree to the bit.
 */

#ifdef __AVX__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512

/* u = v + (current - v) / tau for one step of a block. */
static inline float charge(float current, float v, float rate) { return v + rate * (current - v); }

/* One step back in time of a block. With g_t = dL/du_t / tau:
 * g_t = dL/ds_t * surrogate(u_t) / tau + (1 - s_t) (1 - 1/tau) g_{t+1} = dL/dI_t; `later` holds g_{t+1}, then g_t. */
static inline void through_time(const float *restrict u, const float *restrict grad, float *restrict out,
                                float *restrict later, long count, float rate, float threshold, float peak,
                                float slope) {
#pragma omp simd
    for (long i = 0; i < count; i++) {
        const float x = u[i] - threshold;
        const float s = peak - slope * (x < 0.0f ? -x : x);
        const float direct = (s < 0.0f ? 0.0f : s) * grad[i];
        const float kept = u[i] > threshold ? 0.0f : later[i];
        out[i] = later[i] = direct + (1.0f - rate) * kept;
    }
}

/* Rows [T, N]. */
void lif_forward(const float *current, float *spikes, long steps, long neurons, float rate, float threshold) {
#pragma omp parallel for schedule(static) if (steps * neurons > 1 << 15)
    for (long start = 0; start < neurons; start += BLOCK) {
        const long count = neurons - start < BLOCK ? neurons - start : BLOCK;
        float v[BLOCK] = {0};
        for (long t = 0; t < steps; t++) {
            const float *in = current + t * neurons + start;
            float *out = spikes + t * neurons + start;
#pragma omp simd
            for (long i = 0; i < count; i++) {
                const float u = charge(in[i], v[i], rate);
                const int fired = u > threshold;
                out[i] = fired ? 1.0f : 0.0f;
                v[i] = fired ? 0.0f : u;
            }
        }
    }
}

/* Returns 0, or 1 if there is no memory for the membranes of one block. */
int lif_backward(const float *current, const float *upstream, float *result, long steps, long neurons, float rate,
                 float threshold, float peak, float slope) {
    int failed = 0;
#pragma omp parallel if (steps * neurons > 1 << 15)
    {
        float *membranes = malloc(sizeof(float) * steps * BLOCK);
        if (!membranes) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (long start = 0; start < neurons; start += BLOCK) {
            if (!membranes) continue;
            const long count = neurons - start < BLOCK ? neurons - start : BLOCK;
            float v[BLOCK] = {0}, later[BLOCK] = {0};
            for (long t = 0; t < steps; t++) {
                const float *in = current + t * neurons + start;
                float *u = membranes + t * BLOCK;
#pragma omp simd
                for (long i = 0; i < count; i++) {
                    u[i] = charge(in[i], v[i], rate);
                    v[i] = u[i] > threshold ? 0.0f : u[i];
                }
            }
            for (long t = steps - 1; t >= 0; t--) {
                const long place = t * neurons + start;
                through_time(membranes + t * BLOCK, upstream + place, result + place, later, count, rate, threshold,
                             peak, slope);
            }
        }
        free(membranes);
    }
    return failed;
}

/* Batch norm and neuron in one pass: the input current is scale[c] * x + shift[c] (+ shortcut), made where it is used
 * and never written. Rows [T, P, C], channels innermost (channels-last). The product and the sum round once where the
 * processor can, as torch's own batch norm does there, so that the two agree to the bit. */

static inline float affine(float x, float scale, float shift) {
#ifdef FP_FAST_FMAF
    return fmaf(x, scale, shift);
#else
    return x * scale + shift;
#endif
}

/* The affine form of (x - mean) * invstd * weight + bias, for each of the channels. */
void norm_affine(const float *mean, const float *invstd, const float *weight, const float *bias, float *scale,
                 float *shift, long channels) {
    for (long c = 0; c < channels; c++) {
        scale[c] = invstd[c] * weight[c];
        shift[c] = affine(-mean[c], scale[c], bias[c]);
    }
}

/* What all blocks share. A block is a whole number of pixels, so that scale and shift, repeated to its length, fit all
 * of them. `jump` is the distance of two time steps in x, 0 if x is the same at each. */
typedef struct {
    const float *x, *shortcut;
    long jump, steps, neurons, block;
    const float *scale, *shift;
    float rate, threshold;
} Layer;

static long pixels_a_block(long channels) { return channels < BLOCK ? BLOCK / channels : 1; }

/* The neurons of one vector go through all time steps before the next ones: what they hold stays in registers. */
#if defined __AVX512F__
#define LANES 16
#elif defined __AVX__
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline))
typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Mask __attribute__((vector_size(4 * LANES)));

/* The first `many` of a vector, the others 0; in one piece where `many` is LANES, which the compiler then knows. */
INLINE Vector load(const float *from, long many) {
    Vector v = {0};
    memcpy(&v, from, sizeof(float) * (size_t)many);
    return v;
}

INLINE void store(float *to, Vector v, long many) { memcpy(to, &v, sizeof(float) * (size_t)many); }

INLINE Vector all(float x) { return x - (Vector){0}; }

/* v, and 0 where the mask says so. */
INLINE Vector but_where(Mask mask, Vector v) { return (Vector)(~mask & (Mask)v); }

/* `affine` of each. */
INLINE Vector affine_of(Vector x, Vector scale, Vector shift) {
#if defined __AVX512F__
    return (Vector)_mm512_fmadd_ps((__m512)x, (__m512)scale, (__m512)shift);
#elif defined __FMA__ && defined __AVX__
    return (Vector)_mm256_fmadd_ps((__m256)x, (__m256)scale, (__m256)shift);
#else
    for (int i = 0; i < LANES; i++) x[i] = affine(x[i], scale[i], shift[i]);
    return x;
#endif
}

/* `charge` of the neurons at step t, from the `i`th of the block on that begins at `start`. */
INLINE Vector charged(const Layer *layer, long t, long start, long i, long many, Vector scale, Vector shift, Vector v) {
    Vector current = affine_of(load(layer->x + t * layer->jump + start + i, many), scale, shift);
    if (layer->shortcut) current += load(layer->shortcut + t * layer->neurons + start + i, many);
    return v + layer->rate * (current - v);
}

INLINE void fire(const Layer *layer, long start, long i, long many, float *spikes) {
    const Vector scale = load(layer->scale + i, many), shift = load(layer->shift + i, many), one = all(1.0f);
    Vector v = {0};
    for (long t = 0; t < layer->steps; t++) {
        const Vector u = charged(layer, t, start, i, many, scale, shift, v);
        const Mask fired = u > layer->threshold;
        store(spikes + t * layer->neurons + start + i, (Vector)(fired & (Mask)one), many);
        v = but_where(fired, u);
    }
}

/* scale and shift, each repeated to a block's length, in one array; NULL without memory. */
static float *repeated(const float *scale, const float *shift, long channels, long block) {
    float *both = malloc(sizeof(float) * 2 * block);
    for (long i = 0; both && i < block; i++) {
        both[i] = scale[i % channels];
        both[block + i] = shift[i % channels];
    }
    return both;
}

/* Returns 0, or 1 without memory for one block. */
int norm_lif_forward(const float *x, long jump, const float *shortcut, const float *scale, const float *shift,
                     float *spikes, long steps, long pixels, long channels, float rate, float threshold) {
    const long neurons = pixels * channels, block = pixels_a_block(channels) * channels;
    float *both = repeated(scale, shift, channels, block);
    if (!both) return 1;
    const Layer layer = {x, shortcut, jump, steps, neurons, block, both, both + block, rate, threshold};
#pragma omp parallel for schedule(static) if (steps * neurons > 1 << 15)
    for (long start = 0; start < neurons; start += block) {
        const long count = neurons - start < block ? neurons - start : block;
        long i = 0;
        for (; i + LANES <= count; i += LANES) fire(&layer, start, i, LANES, spikes);
        if (i < count) fire(&layer, start, i, count - i, spikes);
    }
    free(both);
    return 0;
}

/* Blocks whose sums are added up by themselves, in float32, and then all in float64: their number does not depend on how
 * many threads there are, nor does the order of a sum. */
#define SPAN 64

static long spans_of(long count, long block) { return (count + SPAN * block - 1) / (SPAN * block); }

/* Adds the sums of a span, [2, block], to its part [2, channels]. */
static void keep_part(const float *sums, long block, long channels, double *part) {
    for (long i = 0; i < block; i += channels)
        for (long c = 0; c < channels; c++) {
            part[c] += sums[i + c];
            part[channels + c] += sums[block + i + c];
        }
}

static void add_parts(const double *parts, long spans, long channels, double *totals) {
    memset(totals, 0, sizeof(double) * (size_t)(2 * channels));
    for (long span = 0; span < spans; span++)
        for (long i = 0; i < 2 * channels; i++) totals[i] += parts[span * 2 * channels + i];
}

/* Sums over rows [rows, channels]: of a, and of the product a * (x - mean); both [channels], one after the other. Of
 * x - mean itself in the place of a, where that is NULL. */
int norm_totals(const float *a, const float *x, const float *mean, double *totals, long rows, long channels) {
    const long block = pixels_a_block(channels) * channels, count = rows * channels, spans = spans_of(count, block);
    float *middle = repeated(mean, mean, channels, block);
    double *parts = calloc((size_t)(spans * 2 * channels), sizeof(double));
    int failed = !middle || !parts;
#pragma omp parallel if (count > 1 << 15)
    {
        float *sums = malloc(sizeof(float) * 2 * (size_t)block);
        if (!sums) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (long span = 0; span < spans; span++) {
            if (failed) continue;
            memset(sums, 0, sizeof(float) * 2 * (size_t)block);
            const long last = (span + 1) * SPAN * block < count ? (span + 1) * SPAN * block : count;
            for (long start = span * SPAN * block; start < last; start += block) {
                const long many = count - start < block ? count - start : block;
                const float *in = x + start;
                if (a) {
                    const float *of = a + start;
#pragma omp simd
                    for (long i = 0; i < many; i++) {
                        sums[i] += of[i];
                        sums[block + i] += of[i] * (in[i] - middle[i]);
                    }
                } else {
#pragma omp simd
                    for (long i = 0; i < many; i++) {
                        const float apart = in[i] - middle[i];
                        sums[i] += apart;
                        sums[block + i] += apart * apart;
                    }
                }
            }
            keep_part(sums, block, channels, parts + span * 2 * channels);
        }
        free(sums);
    }
    if (!failed) add_parts(parts, spans, channels, totals);
    free(middle);
    free(parts);
    return failed;
}

/* Mean and biased variance of rows [rows, channels]. */
int norm_statistics(const float *x, float *mean, float *variance, long rows, long channels) {
    double *totals = malloc(sizeof(double) * 2 * (size_t)channels);
    if (!totals) return 1;
    memset(mean, 0, sizeof(float) * (size_t)channels);
    int failed = norm_totals(NULL, x, mean, totals, rows, channels);
    for (long c = 0; c < channels; c++) mean[c] = (float)(totals[c] / (double)rows);
    failed |= norm_totals(NULL, x, mean, totals, rows, channels);
    for (long c = 0; c < channels; c++) {
        const double off = totals[c] / (double)rows; /* what the mean lost when it was rounded */
        variance[c] = (float)(totals[channels + c] / (double)rows - off * off);
    }
    free(totals);
    return failed;
}

/* What a surrogate gradient is made of, and what the sums over a block need. */
typedef struct {
    const float *upstream, *middle;
    float *result;
    float peak, slope;
} Backward;

/* `through_time` of the neurons of one vector; `membranes` holds a vector a step. */
INLINE void back_through(const Layer *layer, const Backward *by, long start, long i, long many, float *membranes,
                         float *sums) {
    const Vector scale = load(layer->scale + i, many), shift = load(layer->shift + i, many);
    const float threshold = layer->threshold;
    Vector v = {0}, later = {0}, middle = {0}, sum = {0}, product = {0};
    for (long t = 0; t < layer->steps; t++) {
        const Vector u = charged(layer, t, start, i, many, scale, shift, v);
        store(membranes + t * LANES, u, LANES);
        v = but_where(u > threshold, u);
    }
    if (by->middle) {
        middle = load(by->middle + i, many);
        sum = load(sums + i, many);
        product = load(sums + layer->block + i, many);
    }
    for (long t = layer->steps - 1; t >= 0; t--) {
        const long place = t * layer->neurons + start + i;
        const Vector u = load(membranes + t * LANES, LANES), x = u - threshold;
        const Vector s = by->peak - by->slope * (Vector)((Mask)x & INT32_MAX);
        const Vector direct = but_where(s < 0.0f, s) * load(by->upstream + place, many);
        later = direct + (1.0f - layer->rate) * but_where(u > threshold, later);
        store(by->result + place, later, many);
        if (by->middle) {
            sum += later;
            product += later * (load(layer->x + place, many) - middle);
        }
    }
    if (by->middle) {
        store(sums + i, sum, many);
        store(sums + layer->block + i, product, many);
    }
}

/* Fills `result` with the gradient of the current, from that of the spikes; returns as norm_lif_forward. If `totals` is
 * given (with x at each step, jump = neurons), fills it with the sums over all steps and pixels of the gradient and of
 * its product with x - mean, [2, channels]. */
int norm_lif_backward(const float *x, long jump, const float *shortcut, const float *scale, const float *shift,
                      const float *upstream, float *result, long steps, long pixels, long channels, float rate,
                      float threshold, float peak, float slope, const float *mean, double *totals) {
    const long neurons = pixels * channels, block = pixels_a_block(channels) * channels;
    const long spans = spans_of(neurons, block);
    float *both = repeated(scale, shift, channels, block);
    float *middle = totals ? repeated(mean, mean, channels, block) : NULL;
    double *parts = totals ? calloc((size_t)(spans * 2 * channels), sizeof(double)) : NULL;
    int failed = !both || (totals && !(middle && parts));
    const Layer layer = {x, shortcut, jump, steps, neurons, block, both, both + block, rate, threshold};
    const Backward by = {upstream, middle, result, peak, slope};
#pragma omp parallel if (steps * neurons > 1 << 15)
    {
        float *membranes = malloc(sizeof(float) * (size_t)(steps * LANES + 2 * block)), *sums = membranes + steps * LANES;
        if (!membranes) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (long span = 0; span < spans; span++) {
            if (failed) continue;
            memset(sums, 0, sizeof(float) * 2 * (size_t)block);
            const long last = (span + 1) * SPAN * block < neurons ? (span + 1) * SPAN * block : neurons;
            for (long start = span * SPAN * block; start < last; start += block) {
                const long count = neurons - start < block ? neurons - start : block;
                long i = 0;
                for (; i + LANES <= count; i += LANES) back_through(&layer, &by, start, i, LANES, membranes, sums);
                if (i < count) back_through(&layer, &by, start, i, count - i, membranes, sums);
            }
            if (totals) keep_part(sums, block, channels, parts + span * 2 * channels);
        }
        free(membranes);
    }
    if (totals && !failed) add_parts(parts, spans, channels, totals);
    free(both);
    free(middle);
    free(parts);
    return failed;
}

/* Gradient of a batch norm's input, [rows, channels], from that of its output and the totals of norm_lif_backward; and
 * those of weight and bias. */
int norm_backward(const float *x, const float *grad, const double *totals, const float *mean, const float *invstd,
                  const float *weight, float *result, float *of_weight, float *of_bias, long rows, long channels) {
    const long block = pixels_a_block(channels) * channels, count = rows * channels;
    float *factors = malloc(sizeof(float) * 3 * (size_t)block);
    if (!factors) return 1;
    for (long i = 0; i < block; i++) {
        const long c = i % channels;
        const double std = invstd[c], own = std * weight[c];
        const double by_x = -own * std * std * totals[channels + c] / (double)rows;
        factors[i] = (float)own;
        factors[block + i] = (float)by_x;
        factors[2 * block + i] = (float)(-own * totals[c] / (double)rows);
        of_weight[c] = (float)(totals[channels + c] * std);
        of_bias[c] = (float)totals[c];
    }
    float *middle = repeated(mean, mean, channels, block);
    if (!middle) {
        free(factors);
        return 1;
    }
#pragma omp parallel for schedule(static) if (count > 1 << 15)
    for (long start = 0; start < count; start += block) {
        const long many = count - start < block ? count - start : block;
#pragma omp simd
        for (long i = 0; i < many; i++)
            result[start + i] = factors[i] * grad[start + i] +
                                (factors[block + i] * (x[start + i] - middle[i]) + factors[2 * block + i]);
    }
    free(factors);
    free(middle);
    return 0;
}

/* The same numbers as bytes. Returns whether all are whole and from 0 to 255; else the bytes are of no use. */
int to_bytes(const float *x, uint8_t *bytes, long count) {
    int others = 0;
#pragma omp parallel for simd schedule(static) reduction(| : others) if (count > 1 << 15)
    for (long i = 0; i < count; i++) {
        const int whole = (int)x[i] & 255;
        bytes[i] = (uint8_t)whole;
        others |= (float)whole != x[i];
    }
    return !others;
}
