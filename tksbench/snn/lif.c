/* The LIF neuron of neuron.py over all time steps in one pass, alone and after a batch norm; float32, native.py builds
 * and calls it.
 *
 * Forward keeps nothing: backward computes the membrane again from the input current, which costs less than
 * writing and reading it. Each block of neurons stays in the innermost cache for all its time steps. The order of
 * operations is that of neuron.py's `fused` implementation; at tau = 2, where the products with 1/tau are exact,
 * the two agree to the bit.
 */

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

/* Membranes before the reset of `count` neurons from `start` on at step t, and v after it. */
static inline void membranes_of(const Layer *layer, long t, long start, long count, float *restrict v,
                                float *restrict u) {
    const float *x = layer->x + t * layer->jump + start, *scale = layer->scale, *shift = layer->shift;
    const float rate = layer->rate, threshold = layer->threshold;
    if (layer->shortcut) {
        const float *shortcut = layer->shortcut + t * layer->neurons + start;
#pragma omp simd
        for (long i = 0; i < count; i++) {
            u[i] = charge(affine(x[i], scale[i], shift[i]) + shortcut[i], v[i], rate);
            v[i] = u[i] > threshold ? 0.0f : u[i];
        }
    } else {
#pragma omp simd
        for (long i = 0; i < count; i++) {
            u[i] = charge(affine(x[i], scale[i], shift[i]), v[i], rate);
            v[i] = u[i] > threshold ? 0.0f : u[i];
        }
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
    int failed = 0;
#pragma omp parallel if (steps * neurons > 1 << 15)
    {
        float *v = malloc(sizeof(float) * 2 * block), *u = v + block;
        if (!v) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (long start = 0; start < neurons; start += block) {
            if (!v) continue;
            const long count = neurons - start < block ? neurons - start : block;
            memset(v, 0, sizeof(float) * count);
            for (long t = 0; t < steps; t++) {
                float *out = spikes + t * neurons + start;
                membranes_of(&layer, t, start, count, v, u);
#pragma omp simd
                for (long i = 0; i < count; i++) out[i] = u[i] > threshold ? 1.0f : 0.0f;
            }
        }
        free(v);
    }
    free(both);
    return failed;
}

/* Fills `result` with the gradient of the current, from that of the spikes; returns as norm_lif_forward. */
int norm_lif_backward(const float *x, long jump, const float *shortcut, const float *scale, const float *shift,
                      const float *upstream, float *result, long steps, long pixels, long channels, float rate,
                      float threshold, float peak, float slope) {
    const long neurons = pixels * channels, block = pixels_a_block(channels) * channels;
    float *both = repeated(scale, shift, channels, block);
    if (!both) return 1;
    const Layer layer = {x, shortcut, jump, steps, neurons, block, both, both + block, rate, threshold};
    int failed = 0;
#pragma omp parallel if (steps * neurons > 1 << 15)
    {
        float *v = malloc(sizeof(float) * (steps + 1) * block), *membranes = v + block;
        if (!v) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (long start = 0; start < neurons; start += block) {
            if (!v) continue;
            const long count = neurons - start < block ? neurons - start : block;
            memset(v, 0, sizeof(float) * count);
            for (long t = 0; t < steps; t++) membranes_of(&layer, t, start, count, v, membranes + t * block);
            memset(v, 0, sizeof(float) * count);
            for (long t = steps - 1; t >= 0; t--) {
                const long place = t * neurons + start;
                through_time(membranes + t * block, upstream + place, result + place, v, count, rate, threshold, peak,
                             slope);
            }
        }
        free(v);
    }
    free(both);
    return failed;
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
