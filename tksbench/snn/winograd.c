/* Gradient of the inputs of 3x3 convolutions, stride 1, padding 1, by Winograd's minimal filtering F(4x4, 3x3); float32,
 * channels-last. It is dense, unlike what eventconv.c has lists of. eventconv.py builds and calls it.
 *
 * A tile of 4x4 results takes 36 multiplications a pair of channels instead of 144: with the matrices A, B and G of the
 * interpolation points 0, 3/4, -3/4, 3/2, -3/2 and infinity, and d the 6x6 values of a tile (Lavin and Gray, "Fast
 * algorithms for convolutional neural networks", CVPR 2016)
 *     Y = A^T [(G g G^T) * (B^T d B)] A.
 * The usual points 0, 1, -1, 2, -2 are cheaper by a few products; these lose a third as many digits.
 *
 * Each of the 36 places is a matrix product over channels. Tiles are worked on in chunks whose transforms stay in the
 * outer cache. The order of every sum is fixed by the number of channels, and products and sums are fused where the code
 * says so: the bits depend neither on the width of vectors nor on caches, compiler or number of threads.
 */

#include <immintrin.h>
#include <omp.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#define ROWS 8 /* rows of a product that are held in registers */
#define FUSED(a, b, c) (vector)_mm512_fmadd_ps(_mm512_set1_ps(a), (__m512)(b), (__m512)(c))
#else
#define LANES 8
#define ROWS 4
#define FUSED(a, b, c) (vector)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)(b), (__m256)(c))
#endif
#define PLACES 36
#define PANEL 16 /* channels side by side in the layout of all transforms */
#define VECTORS (PANEL / LANES)
#define GROUP 64         /* tiles that share a pass over the transformed weights */
#define CHUNK (5L << 20) /* bytes of the transforms of a chunk */
#define SMALL (1L << 19) /* the same, of each thread, where all weights stay in its own cache as well */
#define FEW (1L << 20)   /* bytes of the transforms of so few weights */
#define ALIGNMENT 64

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define A1 0.75f
#define A2 0.5625f
#define A3 0.421875f
#define B1 1.5f
#define B2 2.25f
#define B3 3.375f
#define N0 (1.0f / 1.265625f)              /* 1 / (A2 B2) */
#define NA (1.0f / (2.0f * A2 * (A2 - B2))) /* of the points +-A1 */
#define NB (1.0f / (2.0f * B2 * (B2 - A2))) /* of the points +-B1 */

/* One dimension of each transform: six from `step` apart to six, and so on. */

static inline __attribute__((always_inline)) void input_1d(const vector *d, vector *r, int from, int to) {
    const vector d0 = d[0], d1 = d[from], d2 = d[2 * from], d3 = d[3 * from], d4 = d[4 * from], d5 = d[5 * from];
    const vector even_a = d4 - B2 * d2, odd_a = A1 * (d3 - B2 * d1);
    const vector even_b = d4 - A2 * d2, odd_b = B1 * (d3 - A2 * d1);
    r[0] = A2 * B2 * d0 - (A2 + B2) * d2 + d4;
    r[to] = even_a + odd_a;
    r[2 * to] = even_a - odd_a;
    r[3 * to] = even_b + odd_b;
    r[4 * to] = even_b - odd_b;
    r[5 * to] = A2 * B2 * d1 - (A2 + B2) * d3 + d5;
}

static inline __attribute__((always_inline)) void weight_1d(const vector *g, vector *r, int from, int to) {
    const vector g0 = g[0], g1 = g[from], g2 = g[2 * from];
    const vector even_a = NA * g0 + (NA * A2) * g2, odd_a = (NA * A1) * g1;
    const vector even_b = NB * g0 + (NB * B2) * g2, odd_b = (NB * B1) * g1;
    r[0] = N0 * g0;
    r[to] = even_a + odd_a;
    r[2 * to] = even_a - odd_a;
    r[3 * to] = even_b + odd_b;
    r[4 * to] = even_b - odd_b;
    r[5 * to] = g2;
}

static inline __attribute__((always_inline)) void output_1d(const vector *m, vector *y, int from, int to) {
    const vector sum_a = m[from] + m[2 * from], difference_a = m[from] - m[2 * from];
    const vector sum_b = m[3 * from] + m[4 * from], difference_b = m[3 * from] - m[4 * from];
    y[0] = m[0] + sum_a + sum_b;
    y[to] = A1 * difference_a + B1 * difference_b;
    y[2 * to] = A2 * sum_a + B2 * sum_b;
    y[3 * to] = A3 * difference_a + B3 * difference_b + m[5 * from];
}

/* Images [count, height, width, channels], cut into tiles of 4x4. */
typedef struct {
    long count, height, width, channels, down, across;
} Images;

/* Floats from one of the 36 places to the next: were it a power of two, all would fall on the same lines of a cache. */
static long plane_of(long rows, long channels) { return rows * channels + PANEL; }

static Images cut(long count, long height, long width, long channels) {
    return (Images){count, height, width, channels, (height + 3) / 4, (width + 3) / 4};
}

static long tiles_of(const Images *images) { return images->count * images->down * images->across; }

/* A square of `size` pixels of an image, and which of its rows and columns lie within. */
typedef struct {
    long at; /* where its first pixel is, or would be */
    int top, bottom, left, right;
} Square;

static Square square_of(const Images *images, long tile, int size, int before) {
    const long image = tile / (images->down * images->across), place = tile % (images->down * images->across);
    const long y = place / images->across * 4 - before, x = place % images->across * 4 - before;
    const long below = images->height - y, beyond = images->width - x;
    return (Square){((image * images->height + y) * images->width + x) * images->channels, y < 0 ? 1 : 0,
                    below < size ? (int)below : size, x < 0 ? 1 : 0, beyond < size ? (int)beyond : size};
}

static int is_whole(Square square, int size) {
    return !square.top && !square.left && square.bottom == size && square.right == size;
}

/* B^T d B of a tile, all channels, to row `row` of [36, channels / 16, rows, 16]. */
static void transform_input(const Images *images, const float *x, long tile, float *out, long rows, long row) {
    const Square square = square_of(images, tile, 6, 1);
    const int whole = is_whole(square, 6);
    const long plane = plane_of(rows, images->channels), line = images->width * images->channels;
    for (long c = 0; c < images->channels; c += LANES) {
        vector d[36], half[36];
        if (whole) {
#pragma GCC unroll 36
            for (int i = 0; i < 36; i++)
                d[i] = *(const vector *)(x + square.at + i / 6 * line + i % 6 * images->channels + c);
        } else {
            for (int i = 0; i < 36; i++) d[i] = (vector){0};
            for (int i = square.top; i < square.bottom; i++)
                for (int j = square.left; j < square.right; j++)
                    d[6 * i + j] = *(const vector *)(x + square.at + i * line + j * images->channels + c);
        }
        for (int i = 0; i < 6; i++) input_1d(d + i, half + i, 6, 6);
        float *to = out + (c / PANEL * rows + row) * PANEL + c % PANEL;
        for (int i = 0; i < 6; i++) {
            vector r[6];
            input_1d(half + 6 * i, r, 1, 1);
            for (int j = 0; j < 6; j++) *(vector *)(to + (6 * i + j) * plane) = r[j];
        }
    }
}

/* A^T m A of one tile and panel, m [36, GROUP, 16] at a row, to the image's channels from `channel` on. */
static void transform_output(const Images *images, const float *m, long tile, long channel, float *y) {
    const Square square = square_of(images, tile, 4, 0);
    const long plane = plane_of(GROUP, PANEL), line = images->width * images->channels;
    for (int c = 0; c < PANEL; c += LANES) {
        vector d[36], half[24];
        for (int i = 0; i < 36; i++) d[i] = *(const vector *)(m + i * plane + c);
        for (int i = 0; i < 6; i++) output_1d(d + i, half + i, 6, 6);
        float *to = y + square.at + channel + c;
        for (int i = 0; i < square.bottom; i++, to += line) {
            vector r[4];
            output_1d(half + 6 * i, r, 1, 1);
            for (int j = 0; j < square.right; j++) *(vector *)(to + j * images->channels) = r[j];
        }
    }
}

/* Weights with their strides; those of the input's gradient are the same weights, turned round. */
typedef struct {
    const float *at;
    long out, in, down, across;
} Weights;

/* G g G^T for the 16 output channels from `channel` on, to [36, channels, 16]. */
static void transform_weights(const Weights *weights, long channel, long channels, float *out) {
    const long plane = plane_of(channels, PANEL);
    float g[LANES][9][PANEL] __attribute__((aligned(ALIGNMENT)));
    for (long start = 0; start < channels; start += LANES) {
        for (int tap = 0; tap < 9; tap++) {
            const float *from = weights->at + channel * weights->out + start * weights->in +
                                tap / 3 * weights->down + tap % 3 * weights->across;
            if (weights->out == 1) {
                for (int c = 0; c < LANES; c++) memcpy(g[c][tap], from + c * weights->in, sizeof g[c][tap]);
            } else {
                for (int k = 0; k < PANEL; k++)
                    for (int c = 0; c < LANES; c++) g[c][tap][k] = from[k * weights->out + c * weights->in];
            }
        }
        for (int c = 0; c < LANES; c++)
            for (int k = 0; k < PANEL; k += LANES) {
                vector d[9], half[18];
                for (int i = 0; i < 9; i++) d[i] = *(const vector *)(g[c][i] + k);
                for (int i = 0; i < 3; i++) weight_1d(d + i, half + i, 3, 3);
                for (int i = 0; i < 6; i++) {
                    vector r[6];
                    weight_1d(half + 3 * i, r, 1, 1);
                    for (int j = 0; j < 6; j++)
                        *(vector *)(out + (6 * i + j) * plane + (start + c) * PANEL + k) = r[j];
                }
            }
    }
}

/* out[i][j] = sum over l of a[i * PANEL + l] * b[l * PANEL + j], for ROWS rows i and PANEL columns j; l runs through
 * `panels` times PANEL, and a makes a jump after each. */
static inline __attribute__((always_inline)) void product(const float *a, long panels, long jump, const float *b,
                                                          float *out) {
    vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) sum[i][j] = (vector){0};
    for (long panel = 0; panel < panels; panel++, a += jump)
        for (long l = 0; l < PANEL; l++, b += PANEL) {
            vector factor[VECTORS];
#pragma GCC unroll 2
            for (int j = 0; j < VECTORS; j++) factor[j] = *(const vector *)(b + j * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
                for (int j = 0; j < VECTORS; j++) sum[i][j] = FUSED(a[i * PANEL + l], factor[j], sum[i][j]);
        }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) *(vector *)(out + i * PANEL + j * LANES) = sum[i][j];
}

/* The products of all places of a group of tiles and a panel. */
static void multiply(const float *inputs, long plane, long channels, long jump, const float *weights, long group,
                     float *out) {
    for (long place = 0; place < PLACES; place++)
        for (long row = 0; row < group; row += ROWS)
            product(inputs + place * plane + row * PANEL, channels / PANEL, jump,
                    weights + place * plane_of(channels, PANEL), out + place * plane_of(GROUP, PANEL) + row * PANEL);
}

static long least(long a, long b) { return a < b ? a : b; }

static long rounded_up(long count, long to) { return (count + to - 1) / to * to; }

/* Tiles of a chunk, a multiple of ROWS: of about equal chunks, as many as their bytes demand. */
static long chunk_of(long tiles, long channels, long features, long threads) {
    const long each = sizeof(float) * PLACES * channels;
    const long most = (each * features > FEW ? CHUNK : SMALL * threads) / each;
    const long chunks = (tiles + most - 1) / most;
    return rounded_up((tiles + chunks - 1) / chunks, ROWS);
}

/* How a pass is laid out: what it takes of memory is the caller's, who asks first how much. Each part is of whole lines
 * of a cache. */
typedef struct {
    long tiles, chunk, stride, plane, once, of_inputs, of_kept, of_thread;
} Plan;

static Plan plan(const Images *from, long features, long threads) {
    const long channels = from->channels, tiles = tiles_of(from), chunk = chunk_of(tiles, channels, features, threads);
    const long stride = chunk + 1, plane = plane_of(stride, channels), weights = PLACES * plane_of(channels, PANEL);
    const int once = chunk >= tiles; /* then each panel of weights is used only once */
    return (Plan){tiles, chunk, stride, plane, once, PLACES * plane, once ? 0 : weights * (features / PANEL),
                  PLACES * plane_of(GROUP, PANEL) + (once ? weights : 0)};
}

/* Floats of scratch memory of a pass by so many threads. */
long winograd_scratch(long count, long height, long width, long channels, long features, long threads) {
    const Images from = cut(count, height, width, channels);
    const Plan p = plan(&from, features, threads);
    return p.of_inputs + p.of_kept + threads * p.of_thread;
}

/* y = x convolved with the weights. Both numbers of channels are multiples of 16. */
void winograd_forward(const float *x, const float *weights, long out, long in, long down, long across, float *y,
                      long count, long height, long width, long channels, long features, float *scratch, int threads) {
    const Images from = cut(count, height, width, channels), to = cut(count, height, width, features);
    const Weights kernel = {weights, out, in, down, across};
    const Plan p = plan(&from, features, threads);
    const long of_panel = PLACES * plane_of(channels, PANEL);
    float *inputs = scratch, *kept = inputs + p.of_inputs, *private = kept + p.of_kept;
#pragma omp parallel num_threads(threads)
    {
        float *products = private + omp_get_thread_num() * p.of_thread;
        float *own = products + PLACES * plane_of(GROUP, PANEL);
        if (!p.once) {
#pragma omp for schedule(static)
            for (long panel = 0; panel < features / PANEL; panel++)
                transform_weights(&kernel, panel * PANEL, channels, kept + panel * of_panel);
        }
        for (long start = 0; start < p.tiles; start += p.chunk) {
            const long rows = least(p.chunk, p.tiles - start);
#pragma omp for schedule(static)
            for (long row = 0; row < rows; row++) transform_input(&from, x, start + row, inputs, p.stride, row);
            long owned = -1;
#pragma omp for collapse(2) schedule(static)
            for (long panel = 0; panel < features / PANEL; panel++)
                for (long first = 0; first < rows; first += GROUP) {
                    if (p.once && owned != panel) transform_weights(&kernel, panel * PANEL, channels, own);
                    owned = panel;
                    const float *used = p.once ? own : kept + panel * of_panel;
                    const long group = least(GROUP, rows - first);
                    multiply(inputs + first * PANEL, p.plane, channels, p.stride * PANEL, used, group, products);
                    for (long row = 0; row < group; row++)
                        transform_output(&to, products + row * PANEL, start + first + row, panel * PANEL, y);
                }
        }
    }
}
