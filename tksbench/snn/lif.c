/* The LIF neuron of neuron.py over all time steps in one pass; rows [T, N], float32, native.py builds and calls it.
 *
 * Forward keeps nothing: backward computes the membrane again from the input current, which costs less than
 * writing and reading it. Each block of neurons stays in the innermost cache for all its time steps. The order of
 * operations is that of neuron.py's `fused` implementation; at tau = 2, where the products with 1/tau are exact,
 * the two agree to the bit.
 */

#include <stdlib.h>

#define BLOCK 512

/* u = v + (current - v) / tau for one step of a block. */
static inline float charge(float current, float v, float rate) { return v + rate * (current - v); }

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

/* With g_t = dL/du_t / tau: g_t = dL/ds_t * surrogate(u_t) / tau + (1 - s_t) (1 - 1/tau) g_{t+1} = dL/dI_t.
 * Returns 0, or 1 if there is no memory for the membranes of one block. */
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
                const float *u = membranes + t * BLOCK, *grad = upstream + t * neurons + start;
                float *out = result + t * neurons + start;
#pragma omp simd
                for (long i = 0; i < count; i++) {
                    const float x = u[i] - threshold;
                    const float s = peak - slope * (x < 0.0f ? -x : x);
                    const float direct = (s < 0.0f ? 0.0f : s) * grad[i];
                    const float kept = u[i] > threshold ? 0.0f : later[i];
                    out[i] = later[i] = direct + (1.0f - rate) * kept;
                }
            }
        }
        free(membranes);
    }
    return failed;
}
