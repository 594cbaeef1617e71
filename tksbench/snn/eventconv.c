/* Convolutions of spikes, by their events: what is 0 costs nothing.
 *
 * All convolutions of a spiking network but the first read spikes, most of which are 0. For each output pixel the
 * weights of the inputs that are not 0 are added up, a row of output channels at a time; for the gradient of the
 * weights, the gradients of the pixels that an input channel was on at.
 *
 * The order of every sum is fixed by the shapes alone: a term that is 0 changes nothing, a product with 1 is exact, and
 * every other product is fused with its sum. So the bits depend neither on how many inputs are 0 nor on the width of
 * vectors, the caches, the compiler or the number of threads. Layout is channels-last throughout: [N, H, W, C].
 */
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    long count, height, width, channels; /* of the input */
    long out_height, out_width, features;
    long kernel, stride, pad;
} Shape;

/* Where the weight of output k, input c, row i and column j lies: data[k * out + c * in + i * down + j * across]. */
typedef struct {
    const float *data;
    long out, in, down, across;
} Weights;

#define LANES 8
#define BLOCK 64 /* output channels that are summed at once, at most */
#define STRIPE 32 /* pixels whose bits are turned at once */
/* Sums are to be kept in registers: the compiler has to know each of them before it allocates any. */
#define UNROLLED _Pragma("GCC unroll 16")
/* What is compiled within an OpenMP region keeps less in registers. */
#define APART __attribute__((noinline))
#define AHEAD 2048 /* floats; an image is too short for the processor to see that the next one follows */
typedef __m256 Vector;

static long up_to(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
static long padded(long channels) { return up_to(channels, LANES); }
static long min(long a, long b) { return a < b ? a : b; }
static long max(long a, long b) { return a > b ? a : b; }

static float *allocate(size_t floats) { return aligned_alloc(64, sizeof(float) * (floats + 15) / 64 * 64 + 64); }

static float *zeros(size_t floats) {
    float *made = allocate(floats);
    return made ? memset(made, 0, sizeof(float) * floats) : NULL;
}

static Shape shape_of(long count, long height, long width, long channels, long features, long kernel, long stride) {
    const long pad = kernel / 2;
    const Shape shape = {count, height, width, channels, (height + 2 * pad - kernel) / stride + 1,
                         (width + 2 * pad - kernel) / stride + 1, features, kernel, stride, pad};
    return shape;
}

/* The numbers of the bits that are set in a byte, lowest first, and how many there are. */
static uint16_t positions[256][8];
static uint8_t counts[256];

__attribute__((constructor)) static void fill_tables(void) {
    for (int byte = 0; byte < 256; byte++) {
        int n = 0;
        for (int bit = 0; bit < 8; bit++)
            if (byte >> bit & 1) positions[byte][n++] = (uint16_t)bit;
        counts[byte] = (uint8_t)n;
    }
}

/* Appends the numbers of the bits of a byte, from `first` on; writes eight places, of which those behind are junk. */
static inline uint16_t *append(uint16_t *to, unsigned on, long first) {
    const __m128i base = _mm_set1_epi16((short)first);
    _mm_storeu_si128((__m128i *)to, _mm_add_epi16(_mm_loadu_si128((const __m128i *)positions[on]), base));
    return to + counts[on];
}

/* Bits. Of an image they are [groups of eight channels][pixels, up to a whole stripe]: a byte is a pixel's eight. */

static long bits_row(const Shape *s) { return up_to(s->height * s->width, STRIPE); }
static long bits_image(const Shape *s) { return padded(s->channels) / LANES * bits_row(s); }

/* Bytes of the bits of all images. */
long events_bits(long count, long height, long width, long channels) {
    const Shape s = shape_of(count, height, width, channels, 1, 1, 1);
    return count * bits_image(&s);
}

/* Which values of one image are not 0, and how many. Returns whether any of these is not 1. */
static APART int find_bits(const float *x, const Shape *s, uint8_t *bits, long *many) {
    const long pixels = s->height * s->width, channels = s->channels, row = bits_row(s);
    unsigned others = 0;
    long found = 0;
#ifdef __AVX512F__
    if (channels % 16 == 0) {
        for (long p = 0; p < pixels; p++)
            for (long c = 0; c < channels; c += 16) {
                const __m512 v = _mm512_loadu_ps(x + p * channels + c);
                _mm_prefetch((const char *)(x + p * channels + c + AHEAD), _MM_HINT_T0);
                const unsigned on = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
                others |= on & _mm512_cmp_ps_mask(v, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
                bits[c / LANES * row + p] = (uint8_t)on;
                bits[(c / LANES + 1) * row + p] = (uint8_t)(on >> 8);
                found += _mm_popcnt_u32(on);
            }
        *many = found;
        return others != 0;
    }
#endif
    const Vector zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1.0f);
    for (long p = 0; p < pixels; p++) {
        const float *pixel = x + p * channels;
        for (long c = 0; c < channels; c += LANES) {
            unsigned on = 0;
            _mm_prefetch((const char *)(pixel + c + AHEAD), _MM_HINT_T0);
            if (c + LANES <= channels) {
                const Vector v = _mm256_loadu_ps(pixel + c);
                on = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, zero, _CMP_NEQ_UQ));
                others |= on & (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, one, _CMP_NEQ_UQ));
            } else {
                for (long i = 0; c + i < channels; i++) {
                    on |= (unsigned)(pixel[c + i] != 0.0f) << i;
                    others |= pixel[c + i] != 0.0f && pixel[c + i] != 1.0f;
                }
            }
            bits[c / LANES * row + p] = (uint8_t)on;
            found += counts[on];
        }
    }
    *many = found;
    return others != 0;
}

/* Dense sums, where there is little to leave out: a block of outputs of neighbouring pixels, over all weights in order. */

#define DENSE 16 /* outputs of a block */
#define NARROW(name) _mm256_##name
#ifdef __AVX512F__
#define WIDES 1 /* vectors of a block */
typedef __m512 Wide;
#define WIDE(name) _mm512_##name
#else
#define WIDES 2
typedef __m256 Wide;
#define WIDE(name) _mm256_##name
#endif
#define WIDE_LANES (DENSE / WIDES)
#define MOST_TAPS 49 /* a kernel of 7x7 */

/* What a pixel of the result is summed over: `count` taps with `each` values each. From the pixel's own place a tap's
 * values lie `source` floats away in the image, and its weights [each][DENSE] lie at `weights`. */
typedef struct {
    long count, each;
    long apart; /* floats from a pixel's place to that of its neighbour */
    long source[MOST_TAPS], weights[MOST_TAPS];
} Taps;

#define DENSE_SUM(pixels)                                                                                              \
    static void dense_##pixels(const float *from, const float *weights, const Taps *taps, float *out, long apart) {    \
        Wide sum[pixels][WIDES];                                                                                       \
        UNROLLED for (int p = 0; p < pixels; p++)                                                                      \
            UNROLLED for (int b = 0; b < WIDES; b++) sum[p][b] = WIDE(setzero_ps)();                                   \
        for (long t = 0; t < taps->count; t++) {                                                                       \
            const float *x = from + taps->source[t], *w = weights + taps->weights[t];                                  \
            for (long k = 0; k < taps->each; k++, w += DENSE)                                                          \
                UNROLLED for (int p = 0; p < pixels; p++) {                                                            \
                    const Wide v = WIDE(set1_ps)(x[p * taps->apart + k]);                                              \
                    UNROLLED for (int b = 0; b < WIDES; b++) sum[p][b] =                                               \
                        WIDE(fmadd_ps)(v, WIDE(load_ps)(w + b * WIDE_LANES), sum[p][b]);                               \
                }                                                                                                      \
        }                                                                                                              \
        UNROLLED for (int p = 0; p < pixels; p++)                                                                      \
            UNROLLED for (int b = 0; b < WIDES; b++) WIDE(storeu_ps)(out + p * apart + b * WIDE_LANES, sum[p][b]);     \
    }
DENSE_SUM(1) DENSE_SUM(2) DENSE_SUM(4) DENSE_SUM(6) DENSE_SUM(8)

/* A row of `pixels` results, `apart` floats from one to the next. */
static void dense_row(const float *from, const float *weights, const Taps *taps, long pixels, float *out, long apart) {
    while (pixels) {
        /* Of two vectors each, six pixels are as many sums as there are registers for. */
        const long many = WIDES == 1 && pixels >= 8 ? 8 : pixels == 8 ? 4 : pixels >= 6 ? 6 : pixels >= 4 ? 4 : pixels >= 2 ? 2 : 1;
        (many == 8 ? dense_8 : many == 6 ? dense_6 : many == 4 ? dense_4 : many == 2 ? dense_2 : dense_1)(
            from, weights, taps, out, apart);
        pixels -= many;
        from += many * taps->apart;
        out += many * apart;
    }
}

/* An image [height, width, channels] with a border of zeros and channels up to `wide`; what is 0 in `to` stays so. */
static void with_border(const float *image, long height, long width, long channels, long edge, long wide, float *to) {
    for (long y = 0; y < height; y++) {
        float *row = to + ((y + edge) * (width + 2 * edge) + edge) * wide;
        const float *from = image + y * width * channels;
        if (wide == channels)
            memcpy(row, from, sizeof(float) * (size_t)(width * wide));
        else
            for (long x = 0; x < width; x++) memcpy(row + x * wide, from + x * channels, sizeof(float) * (size_t)channels);
    }
}

/* Forward. Weights as [block of outputs][column][row][input][outputs]: what a column of inputs adds lies together, so the
 * columns that an output pixel sees are one stretch of the list of its row. Behind each block is a row of zeros. */

/* Weights (i, j) of outputs first ... first + size - 1 as [input][size], zeros where there is no such output. */
static void pack(const Weights *w, const Shape *s, long i, long j, long first, long size, float *to) {
    const float *from = w->data + i * w->down + j * w->across;
    for (long tile = 0; tile < s->channels; tile += 16) /* few enough that their lines stay in the cache */
        for (long k = 0; k < size; k++)
            for (long c = tile; c < min(tile + 16, s->channels); c++)
                to[c * size + k] = first + k < s->features ? from[(first + k) * w->out + c * w->in] : 0.0f;
}

static long block_size(const Shape *s) { return min(padded(s->features), BLOCK); }
static long block_rows(const Shape *s) { return s->kernel * s->kernel * s->channels + 1; }

static float *pack_forward(const Weights *w, const Shape *s) {
    const long size = block_size(s), blocks = up_to(s->features, size) / size, rows = block_rows(s);
    float *packed = allocate((size_t)(blocks * rows * size));
    if (!packed) return NULL;
    for (long block = 0; block < blocks; block++) {
        float *to = packed + block * rows * size;
        for (long j = 0; j < s->kernel; j++)
            for (long i = 0; i < s->kernel; i++, to += s->channels * size) pack(w, s, i, j, block * size, size, to);
        memset(to, 0, sizeof(float) * (size_t)size);
    }
    return packed;
}

/* What the rows of outputs of one image see, column after column of the inputs: where the weights of each event lie,
 * counted from column 0 of the image, in floats; and unless all are 1, the values. */
typedef struct {
    uint16_t *channel; /* of one image, pixel after pixel */
    int32_t *first;    /* of each pixel, and the end */
    int32_t *place;
    float *value;
    int32_t *start; /* [rows of outputs][width + 1] */
    size_t held;    /* places that there is room for */
} Lists;

static int make_lists(Lists *lists, const Shape *s) {
    const long pixels = s->height * s->width;
    lists->channel = malloc(sizeof(uint16_t) * (size_t)(pixels * s->channels + 16));
    lists->first = malloc(sizeof(int32_t) * (size_t)(pixels + 1));
    lists->start = malloc(sizeof(int32_t) * (size_t)(s->out_height * (s->width + 1)));
    lists->place = NULL;
    lists->value = NULL;
    lists->held = 0;
    return lists->channel && lists->first && lists->start;
}

static void free_lists(Lists *lists) {
    free(lists->channel);
    free(lists->first);
    free(lists->start);
    free(lists->place);
    free(lists->value);
}

static int make_room(Lists *lists, size_t wanted) {
    if (wanted <= lists->held) return 1;
    free(lists->place);
    free(lists->value);
    lists->held = wanted + wanted / 4;
    lists->place = malloc(sizeof(int32_t) * lists->held);
    lists->value = malloc(sizeof(float) * lists->held);
    return lists->place && lists->value;
}

/* Lists what all rows of outputs see. Returns 0 without memory. */
static APART int list_rows(const uint8_t *bits, const float *x, int others, const Shape *s, Lists *lists) {
    const long pixels = s->height * s->width, row = bits_row(s), size = block_size(s);
    uint16_t *to = lists->channel;
    for (long p = 0; p < pixels; p++) {
        lists->first[p] = (int32_t)(to - lists->channel);
        for (long c = 0; c < s->channels; c += LANES) to = append(to, bits[c / LANES * row + p], c);
    }
    const int32_t total = lists->first[pixels] = (int32_t)(to - lists->channel);
    if (!make_room(lists, (size_t)(total * up_to(s->kernel, s->stride) / s->stride + 16))) return 0;
    int32_t n = 0;
    for (long y = 0; y < s->out_height; y++) {
        const long top = y * s->stride - s->pad;
        int32_t *start = lists->start + y * (s->width + 1);
        for (long column = 0; column < s->width; column++) {
            start[column] = n;
            for (long i = max(0, -top); i < min(s->kernel, s->height - top); i++) {
                const long p = (top + i) * s->width + column;
                const int32_t from = lists->first[p], many = lists->first[p + 1] - from;
                const __m256i base = _mm256_set1_epi32((int32_t)((column * s->kernel + i) * s->channels));
                const __m256i floats = _mm256_set1_epi32((int32_t)size);
                int32_t e = 0;
                do { /* mostly once: eight channels of a pixel are rarely on */
                    const __m128i channels = _mm_loadu_si128((const __m128i *)(lists->channel + from + e));
                    const __m256i places = _mm256_add_epi32(_mm256_cvtepu16_epi32(channels), base);
                    _mm256_storeu_si256((__m256i *)(lists->place + n + e), _mm256_mullo_epi32(places, floats));
                } while ((e += 8) < many);
                if (others)
                    for (e = 0; e < many; e++)
                        lists->value[n + e] = x[p * s->channels + lists->channel[from + e]];
                n += many;
            }
        }
        start[s->width] = n;
    }
    return 1;
}

/* Adds up the weights of `many` events, `vectors` vectors of outputs; `zero` is the place of the row of zeros, which
 * fills the last group of four: loops of few lengths are foreseen more often. */
#define SUM(name, vectors, Type, op, lanes)                                                                            \
    static inline void sum_##name(const int32_t *place, const float *value, long many, const float *weights,           \
                                     long zero, float *out) {                                                          \
        Type sum[vectors];                                                                                             \
        UNROLLED for (int b = 0; b < vectors; b++) sum[b] = op(setzero_ps)();                                          \
        long e = 0;                                                                                                    \
        if (value)                                                                                                     \
            for (; e < many; e++) {                                                                                    \
                const Type v = op(set1_ps)(value[e]);                                                                  \
                const float *w = weights + place[e];                                                                   \
                UNROLLED for (int b = 0; b < vectors; b++) sum[b] =                                                    \
                    op(fmadd_ps)(v, op(loadu_ps)(w + b * lanes), sum[b]);                                              \
            }                                                                                                          \
        else {                                                                                                         \
            for (; e + 4 <= many; e += 4) {                                                                            \
                UNROLLED for (int i = 0; i < 4; i++) {                                                                 \
                    const float *w = weights + place[e + i];                                                           \
                    UNROLLED for (int b = 0; b < vectors; b++) sum[b] =                                                \
                        op(add_ps)(sum[b], op(loadu_ps)(w + b * lanes));                                               \
                }                                                                                                      \
            }                                                                                                          \
            UNROLLED for (int i = 0; i < 3; i++) {                                                                     \
                const float *w = weights + (e + i < many ? place[e + i] : zero);                                       \
                UNROLLED for (int b = 0; b < vectors; b++) sum[b] =                                                    \
                    op(add_ps)(sum[b], op(loadu_ps)(w + b * lanes));                                                   \
            }                                                                                                          \
        }                                                                                                              \
        UNROLLED for (int b = 0; b < vectors; b++) op(storeu_ps)(out + b * lanes, sum[b]);                             \
    }
SUM(1, 1, Vector, NARROW, LANES)
#ifdef __AVX512F__
SUM(2, 1, Wide, WIDE, 16) SUM(4, 2, Wide, WIDE, 16) SUM(8, 4, Wide, WIDE, 16)
#else
SUM(2, 2, Vector, NARROW, LANES) SUM(4, 4, Vector, NARROW, LANES) SUM(8, 8, Vector, NARROW, LANES)
#endif

typedef void (*Sum)(const int32_t *, const float *, long, const float *, long, float *);

/* Outputs of one block of one image. */
#define FORWARD(vectors)                                                                                               \
    static void forward_##vectors(const Lists *lists, int others, const Shape *s, const float *packed, long first,     \
                                  float *y) {                                                                          \
        const long column = s->kernel * s->channels * block_size(s), end = (block_rows(s) - 1) * block_size(s);        \
        for (long oy = 0; oy < s->out_height; oy++)                                                                    \
            for (long ox = 0; ox < s->out_width; ox++) {                                                               \
                const int32_t *start = lists->start + oy * (s->width + 1);                                             \
                const long left = ox * s->stride - s->pad;                                                             \
                const int32_t from = start[max(left, 0)], many = start[min(left + s->kernel, s->width)] - from;        \
                sum_##vectors(lists->place + from, others ? lists->value + from : NULL, many,                          \
                              packed - left * column + first, left * column + end,                                     \
                              y + (oy * s->out_width + ox) * s->features);                                             \
            }                                                                                                          \
    }
FORWARD(1) FORWARD(2) FORWARD(4) FORWARD(8)

/* One block of one image, from output k on, by the widest sums that fit; outputs are whole vectors. */
static void forward_image(const Lists *lists, int others, const Shape *s, const float *packed, long k, float *y) {
    for (long first = 0; first < block_size(s) && k + first < s->features;) {
        const long left = (min(block_size(s), s->features - k) - first) / LANES;
        (left >= 8 ? forward_8 : left >= 4 ? forward_4 : left >= 2 ? forward_2 : forward_1)(
            lists, others, s, packed, first, y + k + first);
        first += (left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1) * LANES;
    }
}

/* Few outputs: each event adds its 3x3 weights to the sums of the nine outputs around it, which are held in registers and
 * move on with the pixel. With few events a pixel, the ends of lists would cost more than the sums. Weights as [input]
 * [row][column, the last first][outputs], with an input of zeros behind the last. */

#define FEW 16
#define WORD 32 /* channels of a pixel whose bits are looked at together */

static int is_scattered(const Shape *s) { return s->kernel == 3 && s->stride == 1 && padded(s->features) <= FEW; }

static float *pack_scatter(const Weights *w, const Shape *s) {
    const long wide = padded(s->features);
    float *packed = allocate((size_t)(9 * (s->channels + 1) * wide));
    if (!packed) return NULL;
    float *to = packed;
    for (long c = 0; c < s->channels; c++)
        for (long i = 0; i < 3; i++)
            for (long j = 2; j >= 0; j--)
                for (long k = 0; k < wide; k++)
                    *to++ = k < s->features ? w->data[k * w->out + c * w->in + i * w->down + j * w->across] : 0.0f;
    memset(to, 0, sizeof(float) * (size_t)(9 * wide));
    return packed;
}

/* The bits of pixel p in channels first ... first + WORD - 1, of which those below are not 0. */
static inline uint32_t word_of(const uint8_t *bits, long row, long p, long groups) {
    uint32_t word = bits[p];
    for (long g = 1; g < groups; g++) word |= (uint32_t)bits[g * row + p] << LANES * g;
    return word;
}

/* Sums of a whole image. `partial` is two rows of width + 2 outputs: of the row of outputs at the pixels, which has the
 * events of the row above, and of the row before. Outputs are `apart` floats apart. */
#define SLIDE(name, Type, op, lanes)                                                                                   \
    static APART void slide_##name(const uint8_t *bits, const float *x, int others, const Shape *s,                    \
                                   const float *packed, long wide, float *partial, float *y, long apart) {             \
        const long width = s->width, channels = s->channels, row = bits_row(s), each = 9 * wide;                       \
        float *here = partial, *above = partial + (width + 2) * lanes;                                                 \
        memset(partial, 0, sizeof(float) * (size_t)(2 * (width + 2) * lanes));                                         \
        for (long in = 0; in < s->height; in++) {                                                                      \
            float *out = y + (in - 1) * width * apart;                                                                 \
            Type sum[3][3]; /* of the outputs below, beside and above; left, at and right of the pixel */              \
            UNROLLED for (int i = 0; i < 3; i++) sum[i][0] = sum[i][1] = sum[i][2] = op(setzero_ps)();                 \
            UNROLLED for (int j = 1; j < 3; j++) {                                                                     \
                sum[1][j] = op(loadu_ps)(here + (j - 1) * lanes);                                                      \
                sum[2][j] = op(loadu_ps)(above + (j - 1) * lanes);                                                     \
            }                                                                                                          \
            for (long p = 0; p <= width; p++) {                                                                        \
                for (long first = 0; p < width && first < channels; first += WORD) {                                   \
                    const long groups = min(WORD, padded(channels) - first) / LANES, none = channels - first;          \
                    uint32_t on = word_of(bits + first / LANES * row, row, in * width + p, groups);                    \
                    const float *of_first = packed + first * each;                                                     \
                    if (others)                                                                                        \
                        for (; on; on &= on - 1) {                                                                     \
                            const long c = __builtin_ctz(on);                                                          \
                            const Type v = op(set1_ps)(x[(in * width + p) * channels + first + c]);                    \
                            UNROLLED for (int i = 0; i < 3; i++) UNROLLED for (int j = 0; j < 3; j++) sum[i][j] =      \
                                op(fmadd_ps)(v, op(loadu_ps)(of_first + c * each + (3 * i + j) * wide), sum[i][j]);    \
                        }                                                                                              \
                    else /* two at a time, the zeros if there are no more: ends that are foreseen more often */        \
                        do {                                                                                           \
                            const float *w = of_first + (on ? __builtin_ctz(on) : none) * each;                        \
                            on &= on - 1;                                                                               \
                            UNROLLED for (int i = 0; i < 3; i++) UNROLLED for (int j = 0; j < 3; j++) sum[i][j] =      \
                                op(add_ps)(sum[i][j], op(loadu_ps)(w + (3 * i + j) * wide));                           \
                            w = of_first + (on ? __builtin_ctz(on) : none) * each;                                     \
                            on &= on - 1;                                                                               \
                            UNROLLED for (int i = 0; i < 3; i++) UNROLLED for (int j = 0; j < 3; j++) sum[i][j] =      \
                                op(add_ps)(sum[i][j], op(loadu_ps)(w + (3 * i + j) * wide));                           \
                        } while (on);                                                                                  \
                }                                                                                                      \
                if (p) { /* the outputs to the left have all events of this row */                                     \
                    op(storeu_ps)(here + (p - 1) * lanes, sum[0][0]);                                                  \
                    op(storeu_ps)(above + (p - 1) * lanes, sum[1][0]);                                                 \
                    if (in) op(storeu_ps)(out + (p - 1) * apart, sum[2][0]);                                           \
                }                                                                                                      \
                UNROLLED for (int i = 0; i < 3; i++) {                                                                 \
                    sum[i][0] = sum[i][1];                                                                             \
                    sum[i][1] = sum[i][2];                                                                             \
                }                                                                                                      \
                sum[0][2] = op(setzero_ps)();                                                                          \
                sum[1][2] = op(loadu_ps)(here + min(p + 2, width + 1) * lanes);                                        \
                sum[2][2] = op(loadu_ps)(above + min(p + 2, width + 1) * lanes);                                       \
            }                                                                                                          \
        }                                                                                                              \
        for (long p = 0; p < width; p++)                                                                               \
            op(storeu_ps)(y + ((s->height - 1) * width + p) * apart, op(loadu_ps)(above + p * lanes));                 \
    }
SLIDE(8, Vector, NARROW, LANES)
#ifdef __AVX512F__
SLIDE(16, Wide, WIDE, 16)
#endif

/* One image; outputs are whole vectors. */
static void scatter_image(const uint8_t *bits, const float *x, int others, const Shape *s, const float *packed,
                          float *partial, float *y) {
    const long wide = padded(s->features);
#ifdef __AVX512F__
    if (wide == 16) {
        slide_16(bits, x, others, s, packed, wide, partial, y, wide);
        return;
    }
#endif
    for (long k = 0; k < wide; k += LANES) slide_8(bits, x, others, s, packed + k, wide, partial, y + k, wide);
}

/* Where much is not 0, dense sums in the order of the others. Weights as [block of outputs][weight of the kernel, in
 * that order][input][outputs of the block]. */

/* Share of the inputs, for the outputs and for the gradient of the weights. Tests set others: no bit depends on it. */
#ifndef MUCH
#ifdef __AVX512F__
#define MUCH 0.45
#define MUCH_OF_GRADIENT 0.4
#else
#define MUCH 0.6
#define MUCH_OF_GRADIENT 0.7
#endif
#endif

static float *pack_dense(const Weights *w, const Shape *s) {
    const long blocks = up_to(s->features, DENSE) / DENSE;
    float *packed = allocate((size_t)(blocks * s->kernel * s->kernel * s->channels * DENSE)), *to = packed;
    for (long block = 0; packed && block < blocks; block++)
        for (long t = 0; t < s->kernel * s->kernel; t++, to += s->channels * DENSE) {
            const long first = t / s->kernel, second = t % s->kernel;
            pack(w, s, is_scattered(s) ? first : second, is_scattered(s) ? second : first, block * DENSE, DENSE, to);
        }
    return packed;
}

/* One image: `edged` is it with its border, `y` is [H', W', outputs up to whole blocks]. */
static APART void dense_image(const float *edged, const Shape *s, const float *packed, long wide, float *y) {
    const long across = s->width + 2 * s->pad, kernel = s->kernel;
    Taps taps = {.count = kernel * kernel, .each = s->channels, .apart = s->stride * s->channels};
    for (long t = 0; t < taps.count; t++) {
        const long first = t / kernel, second = t % kernel;
        const long i = is_scattered(s) ? first : second, j = is_scattered(s) ? second : first;
        taps.source[t] = (i * across + j) * s->channels;
        taps.weights[t] = t * s->channels * DENSE;
    }
    for (long k = 0; k < wide; k += DENSE, packed += taps.count * s->channels * DENSE)
        for (long oy = 0; oy < s->out_height; oy++)
            dense_row(edged + oy * s->stride * across * s->channels, packed, &taps, s->out_width,
                      y + oy * s->out_width * wide + k, wide);
}

#define CHUNK 16
/* Images whose sums share a block of weights while it is in the cache: where there are many weights and few pixels. */
static long chunk_of(const Shape *s) {
    const long pixels = s->out_height * s->out_width;
    if (s->features % LANES) return 1;
    return block_rows(s) * block_size(s) < 1 << 16 ? 1 : max(1, min(CHUNK, 512 / pixels));
}

/* What a thread needs to compute outputs. */
typedef struct {
    Lists lists[CHUNK];
    float *partial, *edged, *spare;
} Forward;

static int make_forward(Forward *own, const Shape *s, long chunk) {
    int made = 1;
    if (is_scattered(s))
        made = (own->partial = allocate((size_t)(2 * (s->width + 2) * FEW))) != NULL;
    else
        for (long i = 0; i < chunk; i++) made &= make_lists(own->lists + i, s);
    own->edged = calloc((size_t)((s->height + 2 * s->pad) * (s->width + 2 * s->pad) * s->channels), sizeof(float));
    own->spare = allocate((size_t)(s->out_height * s->out_width * up_to(s->features, DENSE)));
    return made && own->edged && own->spare;
}

static void free_forward(Forward *own) {
    for (long i = 0; i < CHUNK; i++) free_lists(own->lists + i);
    free(own->partial);
    free(own->edged);
    free(own->spare);
}

/* Pixels [wide] to pixels [features]. */
static void narrow(const float *from, long pixels, long wide, long features, float *to) {
    for (long p = 0; p < pixels; p++) memcpy(to + p * features, from + p * wide, sizeof(float) * (size_t)features);
}

/* Fills y, and the bits of x. Returns 0 if all of x is 0 or 1, 1 if not, -1 without memory. */
int events_forward(const float *x, uint8_t *bits, const float *weight, long out, long in, long down, long across,
                   float *y, long count, long height, long width, long channels, long features, long kernel,
                   long stride) {
    const Shape s = shape_of(count, height, width, channels, features, kernel, stride);
    const Weights w = {weight, out, in, down, across};
    const int scattered = is_scattered(&s);
    const long pixels = height * width, outputs = s.out_height * s.out_width, chunk = chunk_of(&s);
    const long wide = padded(features), blocks = up_to(features, DENSE), size = block_size(&s);
    Shape whole = s; /* with outputs up to a whole vector */
    whole.features = wide;
    float *packed = (scattered ? pack_scatter : pack_forward)(&w, &s), *dense = NULL;
    int others = 0, failed = !packed;
#pragma omp parallel if (count > chunk) reduction(| : others, failed)
    {
        Forward own = {0};
        failed |= !make_forward(&own, &s, chunk);
#pragma omp for schedule(static)
        for (long start = 0; start < count; start += chunk) {
            int of_image[CHUNK];
            const long images = min(chunk, count - start);
            for (long i = 0; i < images && !failed; i++) {
                const float *image = x + (start + i) * pixels * channels;
                uint8_t *found = bits + (start + i) * bits_image(&s);
                float *to = y + (start + i) * outputs * features;
                long many = 0;
                others |= of_image[i] = find_bits(image, &s, found, &many);
                if ((double)many > MUCH * (double)(pixels * channels)) {
#pragma omp critical
                    if (!dense) dense = pack_dense(&w, &s);
                    if ((failed |= !dense)) continue;
                    with_border(image, height, width, channels, s.pad, channels, own.edged);
                    const int direct = blocks == features;
                    dense_image(own.edged, &s, dense, blocks, direct ? to : own.spare);
                    if (!direct) narrow(own.spare, outputs, blocks, features, to);
                    of_image[i] = -1; /* done */
                } else if (scattered) {
                    const int direct = wide == features;
                    scatter_image(found, image, of_image[i], &s, packed, own.partial, direct ? to : own.spare);
                    if (!direct) narrow(own.spare, outputs, wide, features, to);
                } else
                    failed |= !list_rows(found, image, of_image[i], &s, own.lists + i);
            }
            if (failed || scattered) continue;
            for (long k = 0; k < wide; k += size)
                for (long i = 0; i < images; i++) {
                    const float *block = packed + k / size * block_rows(&s) * size;
                    if (of_image[i] >= 0)
                        forward_image(own.lists + i, of_image[i], &whole, block, k,
                                      wide == features ? y + (start + i) * outputs * features : own.spare);
                }
            if (wide != features && of_image[0] >= 0) /* then a chunk is one image */
                narrow(own.spare, outputs, wide, features, y + start * outputs * features);
        }
        free_forward(&own);
    }
    free(packed);
    free(dense);
    return failed ? -1 : others;
}

/* Gradient of the weights. The events of an image are listed by input channel and by class: at stride 2 a quarter of the
 * pixels meets a quarter of the kernel. An event is listed as the place, in the gradient of the outputs with a border of
 * zeros, of the output that the first weight of its class takes it to. */

typedef struct {
    uint16_t *pixel; /* of one channel and class */
    int32_t *place;
    float *value;
    int32_t *start; /* of each (class, channel), and the end */
    int32_t *place_of; /* of each pixel */
    uint16_t *of_class; /* pixels, class after class */
    int32_t class_start[5];
    uint32_t *class_bits; /* [classes][stripes] of pixels */
} Places;

static long border(const Shape *s) { return s->kernel / 2; }
static long bordered_width(const Shape *s) { return s->out_width + 2 * border(s); }
static long bordered_area(const Shape *s) { return (s->out_height + 2 * border(s)) * bordered_width(s); }

/* Images whose events are listed together, so that lists are not too short to be worth their ends. */
static long group_of(const Shape *s) { return max(1, min(s->count, 256 / (s->height * s->width))); }

static int make_places(Places *places, const Shape *s, long wide) {
    const long pixels = s->height * s->width, classes = s->stride * s->stride, stripes = bits_row(s) / STRIPE;
    const size_t most = (size_t)(group_of(s) * pixels * s->channels + LANES);
    places->pixel = malloc(sizeof(uint16_t) * (size_t)(pixels + LANES));
    places->place = malloc(sizeof(int32_t) * most);
    places->value = malloc(sizeof(float) * most);
    places->start = malloc(sizeof(int32_t) * (size_t)(classes * s->channels + 1));
    places->place_of = malloc(sizeof(int32_t) * (size_t)pixels);
    places->class_bits = calloc((size_t)(classes * stripes), sizeof(uint32_t));
    places->of_class = malloc(sizeof(uint16_t) * (size_t)pixels);
    if (!(places->of_class && places->pixel && places->place && places->value && places->start && places->place_of && places->class_bits))
        return 0;
    for (long y = 0; y < s->height; y++)
        for (long x = 0; x < s->width; x++) {
            const long p = y * s->width + x, down = y + s->pad, right = x + s->pad;
            const long class = down % s->stride * s->stride + right % s->stride;
            places->class_bits[class * stripes + p / STRIPE] |= (uint32_t)1 << p % STRIPE;
            places->place_of[p] = (int32_t)(((down / s->stride + border(s)) * bordered_width(s) + right / s->stride +
                                             border(s)) * wide);
        }
    int32_t n = 0;
    for (long class = 0; class < classes; class++) {
        places->class_start[class] = n;
        for (long p = 0; p < pixels; p++)
            if (places->class_bits[class * stripes + p / STRIPE] >> p % STRIPE & 1) places->of_class[n++] = (uint16_t)p;
    }
    places->class_start[classes] = n;
    return 1;
}

static void free_places(Places *places) {
    free(places->pixel);
    free(places->place);
    free(places->value);
    free(places->start);
    free(places->place_of);
    free(places->class_bits);
    free(places->of_class);
}

/* Turns the bits of eight channels from a byte a pixel to eight rows of bits; `turned` is [8][stripes]. */
static void turn_bits(const uint8_t *bits, long stripes, uint32_t *turned) {
    for (long i = 0; i < stripes; i++) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(bits + i * STRIPE));
        for (int channel = LANES - 1; channel >= 0; channel--) {
            turned[channel * stripes + i] = (uint32_t)_mm256_movemask_epi8(bytes);
            bytes = _mm256_add_epi8(bytes, bytes);
        }
    }
}

/* Lists the places of `images` images in channels first ... last - 1, of which `first` is a multiple of eight. */
static APART void list_places(const uint8_t *bits, const float *x, int others, long images, const Shape *s, long wide, long first,
                        long last, uint32_t *turned, Places *places) {
    const long stripes = bits_row(s) / STRIPE, classes = s->stride * s->stride, pixels = s->height * s->width;
    int32_t n = 0;
    for (long c = first; c < last; c++) {
        if (c % LANES == 0)
            for (long i = 0; i < images; i++)
                turn_bits(bits + i * bits_image(s) + c / LANES * bits_row(s), stripes, turned + i * LANES * stripes);
        for (long class = 0; class < classes; class++) {
            places->start[c * classes + class] = n;
            for (long i = 0; i < images; i++) {
                const uint32_t *rows = turned + (i * LANES + c % LANES) * stripes;
                uint16_t *to = places->pixel;
                for (long stripe = 0; stripe < stripes; stripe++) {
                    const uint32_t on = rows[stripe] & places->class_bits[class * stripes + stripe];
                    for (int byte = 0; byte < 4; byte++)
                        to = append(to, on >> 8 * byte & 255, stripe * STRIPE + 8 * byte);
                }
                const long many = to - places->pixel;
                const int32_t ahead = (int32_t)(i * bordered_area(s) * wide);
                for (long e = 0; e < many; e++) places->place[n + e] = ahead + places->place_of[places->pixel[e]];
                if (others)
                    for (long e = 0; e < many; e++)
                        places->value[n + e] = x[(i * pixels + places->pixel[e]) * s->channels + c];
                n += (int32_t)many;
            }
        }
    }
    places->start[last * classes] = n;
}

/* Adds to a row of the weights' gradient the sums over one list. */
#define GATHER(name, vectors, Type, op, lanes)                                                                         \
    static void gather_##name(const int32_t *place, const float *value, long many, const float *grad, float *row) {    \
        Type sum[vectors];                                                                                             \
        UNROLLED for (int b = 0; b < vectors; b++) sum[b] = op(setzero_ps)();                                          \
        if (value)                                                                                                     \
            for (long e = 0; e < many; e++) {                                                                          \
                const Type v = op(set1_ps)(value[e]);                                                                  \
                UNROLLED for (int b = 0; b < vectors; b++) sum[b] =                                                    \
                    op(fmadd_ps)(v, op(loadu_ps)(grad + place[e] + b * lanes), sum[b]);                                \
            }                                                                                                          \
        else                                                                                                           \
            for (long e = 0; e < many; e++)                                                                            \
                UNROLLED for (int b = 0; b < vectors; b++) sum[b] =                                                    \
                    op(add_ps)(sum[b], op(loadu_ps)(grad + place[e] + b * lanes));                                     \
        UNROLLED for (int b = 0; b < vectors; b++)                                                                     \
            op(storeu_ps)(row + b * lanes, op(add_ps)(op(loadu_ps)(row + b * lanes), sum[b]));                         \
    }

/* The same of all weights of a 3x3 kernel at stride 1. Of the gradient the places of the next column are `wide` floats
 * behind, of the next row `line`; of the rows one is `apart` from the next. */
#define GATHER_ALL(name, vectors, Type, op, lanes)                                                                     \
    static void gather_all_##name(const int32_t *place, const float *value, long many, const float *grad, long wide,   \
                                  long line, float *rows, long apart) {                                                \
        Type sum[9][vectors];                                                                                          \
        UNROLLED for (int t = 0; t < 9; t++)                                                                           \
            UNROLLED for (int b = 0; b < vectors; b++) sum[t][b] = op(setzero_ps)();                                   \
        if (value)                                                                                                     \
            for (long e = 0; e < many; e++) {                                                                          \
                const Type v = op(set1_ps)(value[e]);                                                                  \
                const float *from = grad + place[e];                                                                   \
                UNROLLED for (int i = 0; i < 3; i++) {                                                                 \
                    UNROLLED for (int j = 0; j < 3; j++) UNROLLED for (int b = 0; b < vectors; b++)                    \
                        sum[3 * i + j][b] = op(fmadd_ps)(v, op(loadu_ps)(from - j * wide + b * lanes),                 \
                                                         sum[3 * i + j][b]);                                           \
                    from -= line;                                                                                      \
                }                                                                                                      \
            }                                                                                                          \
        else                                                                                                           \
            for (long e = 0; e < many; e++) {                                                                          \
                const float *from = grad + place[e];                                                                   \
                UNROLLED for (int i = 0; i < 3; i++) {                                                                 \
                    UNROLLED for (int j = 0; j < 3; j++) UNROLLED for (int b = 0; b < vectors; b++)                    \
                        sum[3 * i + j][b] = op(add_ps)(sum[3 * i + j][b], op(loadu_ps)(from - j * wide + b * lanes));  \
                    from -= line;                                                                                      \
                }                                                                                                      \
            }                                                                                                          \
        UNROLLED for (int t = 0; t < 9; t++) UNROLLED for (int b = 0; b < vectors; b++) {                              \
            float *to = rows + t * apart + b * lanes;                                                                  \
            op(storeu_ps)(to, op(add_ps)(op(loadu_ps)(to), sum[t][b]));                                                \
        }                                                                                                              \
    }
GATHER(1, 1, Vector, NARROW, LANES) GATHER_ALL(1, 1, Vector, NARROW, LANES)
#ifdef __AVX512F__
GATHER(2, 1, Wide, WIDE, 16) GATHER(4, 2, Wide, WIDE, 16) GATHER(8, 4, Wide, WIDE, 16)
GATHER_ALL(2, 1, Wide, WIDE, 16) GATHER_ALL(4, 2, Wide, WIDE, 16)
#else
GATHER(2, 2, Vector, NARROW, LANES) GATHER(4, 4, Vector, NARROW, LANES) GATHER(8, 8, Vector, NARROW, LANES)
#define gather_all_2 gather_all_1 /* there are registers for no more */
#define gather_all_4 gather_all_1
#endif
#define MOST_LEVELS (WIDES == 1 ? 2 : 0)

/* One group's share of the gradient [row][column][input][padded outputs], of inputs first ... last - 1. */
static APART void weights_of_group(const Places *places, int others, const Shape *s, const float *grad, long wide,
                                   long first, long last, float *result) {
    const long kernel = s->kernel, stride = s->stride, classes = stride * stride, line = bordered_width(s) * wide;
    const int together = stride == 1 && kernel == 3;
    for (long k = 0; k < wide;) {
        const long left = (wide - k) / LANES;
        const int widest = left >= 8 ? 3 : left >= 4 ? 2 : left >= 2 ? 1 : 0;
        const int level = together && widest > MOST_LEVELS ? MOST_LEVELS : widest;
        for (long c = first; c < last; c++)
            for (long i = 0; i < kernel; i++)
                for (long j = 0; j < kernel; j++) {
                    const long list = c * classes + i % stride * stride + j % stride;
                    const int32_t from = places->start[list], many = places->start[list + 1] - from;
                    const float *value = others ? places->value + from : NULL;
                    float *row = result + ((i * kernel + j) * s->channels + c) * wide + k;
                    if (many && together)
                        (level == 2 ? gather_all_4 : level ? gather_all_2 : gather_all_1)(
                            places->place + from, value, many, grad + k, wide, line, row, s->channels * wide);
                    else if (many)
                        (level == 3 ? gather_8 : level == 2 ? gather_4 : level ? gather_2 : gather_1)(
                            places->place + from, value, many, grad + k - (i / stride * line + j / stride * wide), row);
                    if (together) i = j = kernel; /* all done */
                }
        k += (1 << level) * LANES;
    }
}

/* The same sums where much is not 0: all pixels of a class, for `many` inputs and DENSE outputs at once. */
#define DENSE_GATHER(many)                                                                                             \
    static void dense_gather_##many(const Places *places, long class, const float *x, const float *grad, long images,  \
                                    const Shape *s, long area, float *row, long apart) {                               \
        Wide sum[many][WIDES];                                                                                         \
        UNROLLED for (int c = 0; c < many; c++)                                                                        \
            UNROLLED for (int b = 0; b < WIDES; b++) sum[c][b] = WIDE(setzero_ps)();                                   \
        for (long i = 0; i < images; i++)                                                                              \
            for (int32_t e = places->class_start[class]; e < places->class_start[class + 1]; e++) {                    \
                const long p = places->of_class[e];                                                                    \
                const float *g = grad + i * area + places->place_of[p];                                                \
                const float *v = x + (i * s->height * s->width + p) * s->channels;                                     \
                UNROLLED for (int c = 0; c < many; c++) UNROLLED for (int b = 0; b < WIDES; b++) sum[c][b] =           \
                    WIDE(fmadd_ps)(WIDE(set1_ps)(v[c]), WIDE(loadu_ps)(g + b * WIDE_LANES), sum[c][b]);                \
            }                                                                                                          \
        UNROLLED for (int c = 0; c < many; c++) UNROLLED for (int b = 0; b < WIDES; b++) {                             \
            float *to = row + c * apart + b * WIDE_LANES;                                                              \
            WIDE(storeu_ps)(to, WIDE(add_ps)(WIDE(loadu_ps)(to), sum[c][b]));                                          \
        }                                                                                                              \
    }
DENSE_GATHER(1) DENSE_GATHER(2) DENSE_GATHER(4) DENSE_GATHER(8)

static APART void dense_weights(const Places *places, const float *x, const float *grad, long images, const Shape *s, long wide,
                          long first, long last, float *result) {
    const long kernel = s->kernel, stride = s->stride, area = bordered_area(s) * wide;
    for (long i = 0; i < kernel; i++)
        for (long j = 0; j < kernel; j++)
            for (long k = 0; k < wide; k += DENSE)
                for (long c = first; c < last;) {
                    const long left = last - c, many = WIDES == 1 && left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
                    (many == 8 ? dense_gather_8 : many == 4 ? dense_gather_4 : many == 2 ? dense_gather_2 : dense_gather_1)(
                        places, i % stride * stride + j % stride, x + c,
                        grad + k - (i / stride * bordered_width(s) + j / stride) * wide, images, s, area,
                        result + ((i * kernel + j) * s->channels + c) * wide + k, wide);
                    c += many;
                }
}

static long count_bits(const uint8_t *bits, long bytes) {
    long many = 0;
    for (long i = 0; i < bytes; i++) many += counts[bits[i]];
    return many;
}

/* Fills `result` with the gradient of the weights, in the weights' own strides. `bits` are those that events_forward
 * filled; x is NULL if it returned 0. Returns 0, or -1 without memory. */
int events_weights(const float *x, const uint8_t *bits, const float *grad, float *result, long out, long in, long down,
                   long across, long count, long height, long width, long channels, long features, long kernel,
                   long stride) {
    const Shape s = shape_of(count, height, width, channels, features, kernel, stride);
    /* Whole blocks of dense sums where these may be needed. */
    const long wide = x ? up_to(features, DENSE) : padded(features), pixels = height * width;
    const long outputs = s.out_height * s.out_width;
    float *sums = zeros((size_t)(kernel * kernel * channels * wide));
    if (!sums) return -1;
    int failed = 0;
    /* Each thread has some of the input channels, of all images: so the order of a sum is the same for any number. */
#pragma omp parallel reduction(| : failed)
    {
        const long groups = padded(channels) / LANES, threads = omp_get_num_threads(), me = omp_get_thread_num();
        const long first = groups * me / threads * LANES, last = min(groups * (me + 1) / threads * LANES, channels);
        Places places = {0};
        const long group = group_of(&s);
        uint32_t *turned = malloc(sizeof(uint32_t) * (size_t)(group * LANES * bits_row(&s) / STRIPE));
        float *edged = zeros((size_t)(group * bordered_area(&s) * wide));
        failed |= !make_places(&places, &s, wide) || !turned || !edged;
        for (long n = 0; n < count && !failed && first < last; n += group) {
            const float *image = x ? x + n * pixels * channels : NULL;
            const long images = min(group, count - n);
            for (long i = 0; i < images; i++)
                with_border(grad + (n + i) * outputs * features, s.out_height, s.out_width, features, border(&s), wide,
                            edged + i * bordered_area(&s) * wide);
            const uint8_t *own = bits + n * bits_image(&s);
            const double most = (double)(images * pixels * channels);
            if (x && (double)count_bits(own, images * bits_image(&s)) > MUCH_OF_GRADIENT * most) {
                dense_weights(&places, image, edged, images, &s, wide, first, last, sums);
            } else {
                list_places(own, image, x != NULL, images, &s, wide, first, last, turned, &places);
                weights_of_group(&places, x != NULL, &s, edged, wide, first, last, sums);
            }
        }
        free_places(&places);
        free(turned);
        free(edged);
    }
    for (long i = 0; i < kernel; i++)
        for (long j = 0; j < kernel; j++)
            for (long c = 0; c < channels; c++)
                for (long k = 0; k < features; k++)
                    result[k * out + c * in + i * down + j * across] = sums[((i * kernel + j) * channels + c) * wide + k];
    free(sums);
    return failed ? -1 : 0;
}

/* Gradient of the inputs: a dense convolution, for no gradient is 0. */

static float *pack_backward(const Weights *w, const Shape *s) {
    const long blocks = up_to(s->channels, DENSE) / DENSE;
    const Weights turned = {w->data, w->in, w->out, w->down, w->across};
    Shape back = *s;
    back.channels = s->features;
    back.features = s->channels;
    float *packed = allocate((size_t)(s->kernel * s->kernel * s->features * blocks * DENSE)), *to = packed;
    for (long block = 0; packed && block < blocks; block++)
        for (long i = 0; i < s->kernel; i++)
            for (long j = 0; j < s->kernel; j++, to += s->features * DENSE)
                pack(&turned, &back, i, j, block * DENSE, DENSE, to);
    return packed;
}

/* One image: `grad` has its border, `result` is [H, W, inputs up to whole blocks]. At stride 2 each quarter of the
 * pixels meets a quarter of the kernel. */
static APART void inputs_of_image(const float *grad, const float *packed, const Shape *s, long wide, long wide_in,
                            float *result) {
    const long edge = border(s), stride = s->stride, kernel = s->kernel;
    for (long c = 0; c < wide_in; c += DENSE, packed += kernel * kernel * s->features * DENSE)
        for (long y = 0; y < s->height; y++)
            for (long x = 0; x < min(stride, s->width); x++) {
                Taps taps = {.each = s->features, .apart = wide};
                for (long i = (y + s->pad) % stride; i < kernel; i += stride)
                    for (long j = (x + s->pad) % stride; j < kernel; j += stride) {
                        taps.source[taps.count] = -(i / stride * bordered_width(s) + j / stride) * wide;
                        taps.weights[taps.count++] = (i * kernel + j) * s->features * DENSE;
                    }
                const float *from =
                    grad + (((y + s->pad) / stride + edge) * bordered_width(s) + (x + s->pad) / stride + edge) * wide;
                dense_row(from, packed, &taps, (s->width - x + stride - 1) / stride,
                          result + (y * s->width + x) * wide_in + c, stride * wide_in);
            }
}

/* Fills `result` [N, H, W, C] with the gradient of the inputs. Returns 0, or -1 without memory. */
int events_inputs(const float *grad, const float *weight, long out, long in, long down, long across, float *result,
                  long count, long height, long width, long channels, long features, long kernel, long stride) {
    const Shape s = shape_of(count, height, width, channels, features, kernel, stride);
    const Weights w = {weight, out, in, down, across};
    const long wide = padded(features), wide_in = up_to(channels, DENSE), pixels = height * width;
    const long outputs = s.out_height * s.out_width;
    float *packed = pack_backward(&w, &s);
    if (!packed) return -1;
    int failed = 0;
#pragma omp parallel if (count > 1) reduction(| : failed)
    {
        float *edged = zeros((size_t)(bordered_area(&s) * wide));
        float *spare = wide_in == channels ? NULL : malloc(sizeof(float) * (size_t)(pixels * wide_in));
        failed |= !edged || (wide_in != channels && !spare);
#pragma omp for schedule(static)
        for (long n = 0; n < count; n++) {
            if (failed) continue;
            with_border(grad + n * outputs * features, s.out_height, s.out_width, features, border(&s), wide, edged);
            float *to = result + n * pixels * channels;
            inputs_of_image(edged, packed, &s, wide, wide_in, spare ? spare : to);
            for (long p = 0; spare && p < pixels; p++)
                memcpy(to + p * channels, spare + p * wide_in, sizeof(float) * (size_t)channels);
        }
        free(edged);
        free(spare);
    }
    free(packed);
    return failed ? -1 : 0;
}
