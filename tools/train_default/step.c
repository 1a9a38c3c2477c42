/* One training step of the default model by hand: loss and gradients of a batch on one core with AMX.
 *
 * model.py is the same mathematics and the reference (check_step.py compares the two). PyTorch spends most of its
 * time on a model this narrow outside the matrix products; here the whole pass is a few loops. Matrices and
 * activations are bfloat16, the residual stream, sums, norms and gradients float32.
 *
 * A tile register is 16 rows of 64 bytes. TDPBF16PS adds A x B to C: A 16 rows x 32 of K, B 16 pairs of K x 16 columns
 * (two consecutive k of one column side by side), C 16 x 16 float32. So an operand comes in one of three packings,
 * each a sequence of 1 KiB tiles:
 *     pairs  B from a row-major matrix whose rows are K: two rows interleaved      (pack_pairs)
 *     turned B from a row-major matrix whose rows are columns of B: dwords turned  (pack_dwords)
 *     flipped A from a row-major matrix whose rows are K: pairs, then turned       (pack_flipped)
 * while an A whose rows are the matrix's rows is read where it lies.
 *
 * Shapes: M = rows x length tokens, D width, H query heads and KV key heads of E, F feed-forward, V vocabulary. */
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { D = 256, H = 8, KV = 4, E = 32, F = 768, V = 4096, QKV = (H + 2 * KV) * E, GU = 2 * F, CHUNK = 128 };
enum { ATTN_NORM, WQ, WK, WV, WO, Q_NORM, K_NORM, FFN_NORM, GATE, UP, DOWN, PER_LAYER }; /* as in model.py */

typedef uint16_t bf16;
typedef __m512 vec;

struct layer {
    bf16 *qkv, *qkv_b, *o, *o_b, *gu, *gu_b, *down, *down_b; /* packed: for Y = X W^T, and _b for dX = dY W */
    const float *attn_norm, *q_norm, *k_norm, *ffn_norm;
    float *x_attn, *x_ffn;         /* [M][D] residual stream before the norms */
    bf16 *h_attn, *h_ffn;          /* [M][D] after them */
    bf16 *raw, *q, *k, *att, *gate_up; /* raw [M][QKV]; q, k after norm and rotation [row][head][T][E]; att [M][D] */
    float *lse;                    /* [row][H][T] log2 of the sum of the exponentials */
    uint32_t seed;                 /* of this pass's dropout */
};

struct step {
    int layers, most;
    float drop;     /* part of the inputs of WO and DOWN that is left out */
    uint32_t passes;
    struct layer *layer;
    bf16 *head, *head_b;
    const float *embed, *norm;
    float *cos_sin; /* [position][E]: E/2 cosines, E/2 sines */
    float *x, *dx;
    bf16 *h, *logits, *wide, *wide2, *narrow, *narrow2, *flip, *pair, *scratch;
    bf16 *qt, *qp, *ot, *op, *kf, *vp, *kt, *v;
    float *dq, *dk, *dv, *delta;
};

/* --- vectors ------------------------------------------------------------------------------------------------- */

static inline vec widen(const bf16 *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

static inline void narrow(bf16 *p, vec v)
{
    _mm256_storeu_si256((void *)p, (__m256i)_mm512_cvtneps_pbh(v));
}

static inline vec exp2v(vec x) /* 2^x, relative error below 1e-6 */
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-126.0f));
    vec n = _mm512_roundscale_ps(x, 8), f = _mm512_sub_ps(x, n);
    vec y = _mm512_set1_ps(1.3333558e-3f);
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(9.6181291e-3f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.5504109e-2f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, n);
}

static inline vec sigmoid(vec x)
{
    vec e = exp2v(_mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)), _mm512_set1_ps(120.0f)));
    return _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

/* Which of sixteen values stay, the same for the same seed and place: a hash of the place against the part dropped. */
static inline __mmask16 kept(uint32_t seed, uint32_t place, float drop)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i x = _mm512_add_epi32(_mm512_set1_epi32((int)(place * 16 ^ seed)), lane);
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), _mm512_set1_epi32(0x7feb352d));
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 15)), _mm512_set1_epi32((int)0x846ca68b));
    return _mm512_cmpge_epu32_mask(x, _mm512_set1_epi32((int)(uint32_t)(drop * 4294967040.0f)));
}

static void transpose16(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* --- packing ------------------------------------------------------------------------------------------------- */

/* Sixteen columns of two rows, interleaved. */
static inline __m512i pair(const bf16 *a, const bf16 *b)
{
    return _mm512_or_si512(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)a)),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)b)), 16));
}

/* [rows][ld] -> [cols/16][rows/2][16][2] */
static void pack_pairs(bf16 *to, const bf16 *from, int rows, int ld, int cols)
{
    for (int r = 0; r < rows; r += 2)
        for (int c = 0; c < cols; c += 16)
            _mm512_store_si512(to + (size_t)c * rows + (size_t)r * 16,
                               pair(from + (size_t)r * ld + c, from + (size_t)(r + 1) * ld + c));
}

/* [rows][ld] -> [rows/16][cols/32][16 pairs of columns][16 rows][2] */
static void pack_dwords(bf16 *to, const bf16 *from, int rows, int ld, int cols)
{
    for (int r = 0; r < rows; r += 16)
        for (int c = 0; c < cols; c += 32, to += 512) {
            __m512i t[16];
            for (int i = 0; i < 16; i++)
                t[i] = _mm512_loadu_si512(from + (size_t)(r + i) * ld + c);
            transpose16(t);
            for (int i = 0; i < 16; i++)
                _mm512_store_si512(to + i * 32, t[i]);
        }
}

/* [rows][ld] -> [cols/16][most/32][16 columns][32 rows]; `most` rows are there in all, `to` is at the first of these */
static void pack_flipped(bf16 *to, const bf16 *from, int rows, int most, int ld, int cols)
{
    for (int r = 0; r < rows; r += 32)
        for (int c = 0; c < cols; c += 16) {
            __m512i t[16];
            for (int i = 0; i < 16; i++)
                t[i] = pair(from + (size_t)(r + 2 * i) * ld + c, from + (size_t)(r + 2 * i + 1) * ld + c);
            transpose16(t);
            bf16 *tile = to + (size_t)c * most + (size_t)r * 16;
            for (int i = 0; i < 16; i++)
                _mm512_store_si512(tile + i * 32, t[i]);
        }
}

static void to_bf16(bf16 *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        narrow(to + i, _mm512_loadu_ps(from + i));
}

/* Tile instructions; the compiler's own do not say that they read memory. */
#define LOAD(t, p, stride) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((long)(stride)) : "memory")
#define SAVE(t, p, stride) \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"((long)(stride)) : "memory")
#define ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define MULTIPLY(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

/* --- matrix products ----------------------------------------------------------------------------------------- */

struct operand { /* A: bytes from a row to the next, from 16 rows to the next, from 32 of K to the next */
    const bf16 *p;
    size_t row, m, k;
};

static struct operand plain(const bf16 *p, int ld)
{
    return (struct operand){p, (size_t)ld * 2, (size_t)ld * 32, 64};
}

static struct operand flipped(const bf16 *p, int k)
{
    return (struct operand){p, 64, (size_t)k * 32, 1024};
}

static void put_bf16(bf16 *c, int ldc, const float t[4][256])
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 16; i++, c += ldc)
            _mm512_storeu_si512(c, (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(t[2 * half + 1] + 16 * i),
                                                                _mm512_load_ps(t[2 * half] + 16 * i)));
}

/* 32 x 32 of C: tiles 0 1 / 2 3 += A x B over n steps of 32. */
static inline void block(const char *a, size_t row, size_t am, size_t ak, const char *b, size_t bn, int n)
{
    for (int k = 0; k < n; k++, a += ak, b += 1024) {
        LOAD(6, b, 64);
        LOAD(4, a, row);
        MULTIPLY(0, 4, 6);
        LOAD(7, b + bn, 64);
        MULTIPLY(1, 4, 7);
        LOAD(5, a + am, row);
        MULTIPLY(2, 5, 6);
        MULTIPLY(3, 5, 7);
    }
}

/* C[m][n] = A B in bfloat16; B in panels of 16 columns. */
static void product(bf16 *c, int ldc, struct operand a, const bf16 *b, int m, int n, int k)
{
    float t[4][256] __attribute__((aligned(64)));
    for (int m0 = 0; m0 < m; m0 += 256)
        for (int j = 0; j < n; j += 32)
            for (int i = m0; i < m && i < m0 + 256; i += 32) {
                ZERO(0); ZERO(1); ZERO(2); ZERO(3);
                block((const char *)a.p + (size_t)i / 16 * a.m, a.row, a.m, a.k, (const char *)(b + (size_t)j * k),
                      (size_t)k * 32, k / 32);
                SAVE(0, t[0], 64); SAVE(1, t[1], 64);
                SAVE(2, t[2], 64); SAVE(3, t[3], 64);
                put_bf16(c + (size_t)i * ldc + j, ldc, (const float(*)[256])t);
            }
}

/* C[m][n] += A B in float32. */
static void product_add(float *c, int ldc, struct operand a, const bf16 *b, int m, int n, int k)
{
    enum { DEPTH = 16 };
    size_t s = (size_t)ldc * 4;
    for (int k0 = 0; k0 < k / 32; k0 += DEPTH)
        for (int i = 0; i < m; i += 32)
            for (int j = 0; j < n; j += 32) {
                float *at = c + (size_t)i * ldc + j;
                LOAD(0, at, s); LOAD(1, at + 16, s);
                LOAD(2, at + 16 * (size_t)ldc, s); LOAD(3, at + 16 * (size_t)ldc + 16, s);
                block((const char *)a.p + (size_t)i / 16 * a.m + (size_t)k0 * a.k, a.row, a.m, a.k,
                      (const char *)(b + (size_t)j * k) + (size_t)k0 * 1024, (size_t)k * 32,
                      k / 32 - k0 < DEPTH ? k / 32 - k0 : DEPTH);
                SAVE(0, at, s); SAVE(1, at + 16, s);
                SAVE(2, at + 16 * (size_t)ldc, s); SAVE(3, at + 16 * (size_t)ldc + 16, s);
            }
}

/* --- norms --------------------------------------------------------------------------------------------------- */

static void norm(bf16 *y, const float *x, const float *w, int m)
{
    for (int t = 0; t < m; t++, x += D, y += D) {
        vec s = _mm512_setzero_ps();
        for (int i = 0; i < D; i += 16)
            s = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i), s);
        vec r = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(s) / D + 1e-6f));
        for (int i = 0; i < D; i += 16)
            narrow(y + i, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(x + i), r), _mm512_loadu_ps(w + i)));
    }
}

/* dx += of y = norm(x), dw += */
static void norm_back(float *dx, float *dw, const bf16 *dy, const float *x, const float *w, int m)
{
    float sum[D] __attribute__((aligned(64))) = {0};
    for (int t = 0; t < m; t++, x += D, dx += D, dy += D) {
        vec s = _mm512_setzero_ps(), p = s;
        for (int i = 0; i < D; i += 16) {
            vec v = _mm512_loadu_ps(x + i);
            s = _mm512_fmadd_ps(v, v, s);
            p = _mm512_fmadd_ps(_mm512_mul_ps(widen(dy + i), _mm512_loadu_ps(w + i)), v, p);
        }
        float r1 = 1.0f / sqrtf(_mm512_reduce_add_ps(s) / D + 1e-6f);
        vec r = _mm512_set1_ps(r1), q = _mm512_set1_ps(_mm512_reduce_add_ps(p) * r1 * r1 / D);
        for (int i = 0; i < D; i += 16) {
            vec v = _mm512_loadu_ps(x + i), g = widen(dy + i);
            _mm512_store_ps(sum + i, _mm512_fmadd_ps(_mm512_mul_ps(g, v), r, _mm512_load_ps(sum + i)));
            vec d = _mm512_fnmadd_ps(v, q, _mm512_mul_ps(g, _mm512_loadu_ps(w + i)));
            _mm512_storeu_ps(dx + i, _mm512_fmadd_ps(d, r, _mm512_loadu_ps(dx + i)));
        }
    }
    for (int i = 0; i < D; i++)
        dw[i] += sum[i];
}

/* Norm over the E of one head, then rotation; from raw to y. */
static inline void head_norm(bf16 *y, const bf16 *raw, const float *w, const float *cs)
{
    vec a = widen(raw), b = widen(raw + 16);
    float s = _mm512_reduce_add_ps(_mm512_fmadd_ps(a, a, _mm512_mul_ps(b, b)));
    vec r = _mm512_set1_ps(1.0f / sqrtf(s / E + 1e-6f));
    a = _mm512_mul_ps(_mm512_mul_ps(a, r), _mm512_loadu_ps(w));
    b = _mm512_mul_ps(_mm512_mul_ps(b, r), _mm512_loadu_ps(w + 16));
    vec c = _mm512_loadu_ps(cs), n = _mm512_loadu_ps(cs + 16);
    narrow(y, _mm512_fnmadd_ps(b, n, _mm512_mul_ps(a, c)));
    narrow(y + 16, _mm512_fmadd_ps(a, n, _mm512_mul_ps(b, c)));
}

/* da db: the gradient after the rotation; to dy goes the gradient of raw, to dw that of the weights is added. */
static inline void head_norm_back(bf16 *dy, vec dw[2], vec da, vec db, const bf16 *raw, const float *w, const float *cs)
{
    vec c = _mm512_loadu_ps(cs), n = _mm512_loadu_ps(cs + 16), a = widen(raw), b = widen(raw + 16);
    vec ga = _mm512_fmadd_ps(db, n, _mm512_mul_ps(da, c)), gb = _mm512_fnmadd_ps(da, n, _mm512_mul_ps(db, c));
    float s = _mm512_reduce_add_ps(_mm512_fmadd_ps(a, a, _mm512_mul_ps(b, b))), r1 = 1.0f / sqrtf(s / E + 1e-6f);
    vec r = _mm512_set1_ps(r1);
    dw[0] = _mm512_fmadd_ps(_mm512_mul_ps(ga, a), r, dw[0]);
    dw[1] = _mm512_fmadd_ps(_mm512_mul_ps(gb, b), r, dw[1]);
    ga = _mm512_mul_ps(ga, _mm512_loadu_ps(w)), gb = _mm512_mul_ps(gb, _mm512_loadu_ps(w + 16));
    float p = _mm512_reduce_add_ps(_mm512_fmadd_ps(ga, a, _mm512_mul_ps(gb, b)));
    vec q = _mm512_set1_ps(p * r1 * r1 / E);
    narrow(dy, _mm512_mul_ps(_mm512_fnmadd_ps(a, q, ga), r));
    narrow(dy + 16, _mm512_mul_ps(_mm512_fnmadd_ps(b, q, gb), r));
}

/* --- attention ----------------------------------------------------------------------------------------------- */

#define SCALE 0.17677669529663687f /* E^-1/2 */
#define LOG2E 1.4426950408889634f

/* Lanes of 16 from column c at which column >= row (both within a block of 32). */
static inline __mmask16 at_or_after(int row, int c)
{
    int n = row - c;
    return n <= 0 ? 0xffff : n >= 16 ? 0 : (__mmask16)(0xffff << n);
}

/* One head of one row: q [T][E], kt turned keys, vp paired values, to att (its columns of [T][D]) and lse. */
static void attend(bf16 *att, float *lse, const bf16 *q, const bf16 *kt, const bf16 *vp, int length)
{
    float s[4][256] __attribute__((aligned(64)));
    bf16 p[32][32] __attribute__((aligned(64)));
    for (int i = 0; i < length; i += 32) {
        vec sum[32];
        for (int r = 0; r < 32; r++)
            sum[r] = _mm512_setzero_ps();
        ZERO(0); ZERO(1); ZERO(2); ZERO(3);
        for (int j = 0; j <= i; j += 32) {
            LOAD(4, q + i * E, 64); LOAD(6, kt + j * E, 64);
            ZERO(7); MULTIPLY(7, 4, 6); SAVE(7, s[0], 64);
            LOAD(5, kt + (j + 16) * E, 64);
            ZERO(7); MULTIPLY(7, 4, 5); SAVE(7, s[1], 64);
            LOAD(4, q + (i + 16) * E, 64);
            ZERO(7); MULTIPLY(7, 4, 6); SAVE(7, s[2], 64);
            ZERO(7); MULTIPLY(7, 4, 5); SAVE(7, s[3], 64);
            vec scale = _mm512_set1_ps(SCALE * LOG2E);
            for (int r = 0; r < 32; r++) {
                const float *at = s[r / 16 * 2] + r % 16 * 16;
                vec a = exp2v(_mm512_mul_ps(_mm512_load_ps(at), scale));
                vec b = exp2v(_mm512_mul_ps(_mm512_load_ps(at + 256), scale));
                if (i == j) { /* column <= row */
                    a = _mm512_maskz_mov_ps((__mmask16)~at_or_after(r + 1, 0), a);
                    b = _mm512_maskz_mov_ps((__mmask16)~at_or_after(r + 1, 16), b);
                }
                sum[r] = _mm512_add_ps(sum[r], _mm512_add_ps(a, b));
                _mm512_store_si512(p[r], (__m512i)_mm512_cvtne2ps_pbh(b, a));
            }
            LOAD(4, p[0], 64); LOAD(5, p[16], 64);
            LOAD(6, vp + j * 16, 64); LOAD(7, vp + length * 16 + j * 16, 64);
            MULTIPLY(0, 4, 6); MULTIPLY(1, 4, 7); MULTIPLY(2, 5, 6); MULTIPLY(3, 5, 7);
        }
        SAVE(0, s[0], 64); SAVE(1, s[1], 64); SAVE(2, s[2], 64); SAVE(3, s[3], 64);
        for (int r = 0; r < 32; r++) {
            float z = _mm512_reduce_add_ps(sum[r]);
            const float *at = s[r / 16 * 2] + r % 16 * 16;
            vec inv = _mm512_set1_ps(1.0f / z);
            lse[i + r] = log2f(z);
            narrow(att + (size_t)(i + r) * D, _mm512_mul_ps(_mm512_load_ps(at), inv));
            narrow(att + (size_t)(i + r) * D + 16, _mm512_mul_ps(_mm512_load_ps(at + 256), inv));
        }
    }
}

struct grad_head {           /* what attend_back needs of one head of one row, [T][E] in the packings of the top */
    const bf16 *k, *v;       /* rows */
    const bf16 *kf;          /* flipped keys */
    const bf16 *qt, *qp;     /* queries turned, paired */
    const bf16 *ot, *op;     /* gradient of the output turned, paired */
    const float *lse, *delta;
    float *dq, *dk, *dv;     /* tiles: dq [T/16][2 of E][16 of E][16 of T], dk dv [T/16][2][16 of T][16 of E] */
};

static inline void tile_add(float *c, const void *a, const void *b)
{
    LOAD(0, c, 64); LOAD(4, a, 64); LOAD(6, b, 64);
    MULTIPLY(0, 4, 6);
    SAVE(0, c, 64);
}

/* P and dS of 32 keys x 32 queries, from the products s (K Q^T) and g (V dO^T). */
static void softmax_back(bf16 p[32][32], bf16 ds[32][32], const float s[4][256], const float g[4][256],
                         const float *lse, const float *delta, int diagonal)
{
    vec scale = _mm512_set1_ps(SCALE * LOG2E), c = _mm512_set1_ps(SCALE);
    vec l0 = _mm512_loadu_ps(lse), l1 = _mm512_loadu_ps(lse + 16);
    vec d0 = _mm512_loadu_ps(delta), d1 = _mm512_loadu_ps(delta + 16);
    for (int r = 0; r < 32; r++) {
        const float *at = s[r / 16 * 2] + r % 16 * 16, *gt = g[r / 16 * 2] + r % 16 * 16;
        vec a = exp2v(_mm512_fmsub_ps(_mm512_load_ps(at), scale, l0));
        vec b = exp2v(_mm512_fmsub_ps(_mm512_load_ps(at + 256), scale, l1));
        if (diagonal) {
            a = _mm512_maskz_mov_ps(at_or_after(r, 0), a);
            b = _mm512_maskz_mov_ps(at_or_after(r, 16), b);
        }
        _mm512_store_si512(p[r], (__m512i)_mm512_cvtne2ps_pbh(b, a));
        a = _mm512_mul_ps(_mm512_mul_ps(a, c), _mm512_sub_ps(_mm512_load_ps(gt), d0));
        b = _mm512_mul_ps(_mm512_mul_ps(b, c), _mm512_sub_ps(_mm512_load_ps(gt + 256), d1));
        _mm512_store_si512(ds[r], (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
}

static void attend_back(const struct grad_head *g, int length)
{
    float s[4][256] __attribute__((aligned(64))), dp[4][256] __attribute__((aligned(64)));
    bf16 p[32][32] __attribute__((aligned(64))), ds[32][32] __attribute__((aligned(64)));
    bf16 pairs[2][16][32] __attribute__((aligned(64)));
    for (int j = 0; j < length; j += 32)     /* keys */
        for (int i = j; i < length; i += 32) { /* queries */
            for (int half = 0; half < 2; half++) {
                LOAD(4, g->k + (j + 16 * half) * E, 64); LOAD(5, g->v + (j + 16 * half) * E, 64);
                for (int c = 0; c < 2; c++) {
                    LOAD(6, g->qt + (i + 16 * c) * E, 64); LOAD(7, g->ot + (i + 16 * c) * E, 64);
                    ZERO(0); MULTIPLY(0, 4, 6); SAVE(0, s[2 * half + c], 64);
                    ZERO(1); MULTIPLY(1, 5, 7); SAVE(1, dp[2 * half + c], 64);
                }
            }
            softmax_back(p, ds, (const float(*)[256])s, (const float(*)[256])dp, g->lse + i, g->delta + i, i == j);
            for (int half = 0; half < 2; half++)
                for (int c = 0; c < 2; c++) {
                    size_t at = (size_t)((j / 16 + half) * 2 + c) * 256;
                    tile_add(g->dv + at, p[16 * half], g->op + c * length * 16 + i * 16);
                    tile_add(g->dk + at, ds[16 * half], g->qp + c * length * 16 + i * 16);
                }
            pack_pairs(&pairs[0][0][0], &ds[0][0], 32, 32, 32);
            for (int half = 0; half < 2; half++)
                for (int c = 0; c < 2; c++)
                    tile_add(g->dq + (size_t)((i / 16 + c) * 2 + half) * 256, g->kf + half * length * 16 + j * 16,
                             pairs[c]);
        }
}

/* Leaves out a part of x [n] and scales the rest up. */
static void dropout(bf16 *x, size_t n, uint32_t seed, float drop)
{
    vec scale = _mm512_set1_ps(1 / (1 - drop));
    for (size_t i = 0; drop > 0 && i < n; i += 16)
        narrow(x + i, _mm512_maskz_mul_ps(kept(seed, (uint32_t)i / 16, drop), widen(x + i), scale));
}

/* --- one layer ----------------------------------------------------------------------------------------------- */

static void attention(struct step *s, struct layer *l, int rows, int length)
{
    for (int b = 0; b < rows; b++) {
        const bf16 *raw = l->raw + (size_t)b * length * QKV;
        for (int t = 0; t < length; t++) {
            const bf16 *at = raw + (size_t)t * QKV;
            for (int h = 0; h < H; h++)
                head_norm(l->q + (((size_t)b * H + h) * length + t) * E, at + h * E, l->q_norm, s->cos_sin + t * E);
            for (int h = 0; h < KV; h++)
                head_norm(l->k + (((size_t)b * KV + h) * length + t) * E, at + (H + h) * E, l->k_norm,
                          s->cos_sin + t * E);
        }
        for (int h = 0; h < H; h++) {
            int kv = h / (H / KV);
            if (h % (H / KV) == 0) {
                pack_dwords(s->kt, l->k + ((size_t)b * KV + kv) * length * E, length, E, E);
                pack_pairs(s->vp, raw + (H + KV + kv) * E, length, QKV, E);
            }
            attend(l->att + (size_t)b * length * D + h * E, l->lse + ((size_t)b * H + h) * length,
                   l->q + ((size_t)b * H + h) * length * E, s->kt, s->vp, length);
        }
    }
}

/* The gradient of one head's output: turned, paired, and its product with the output. */
static void output_grad(struct step *s, const bf16 *d, const bf16 *att, int length)
{
    pack_dwords(s->ot, d, length, D, E);
    pack_pairs(s->op, d, length, D, E);
    for (int t = 0; t < length; t++, d += D, att += D)
        s->delta[t] = (1 - s->drop) * /* d and att are both scaled up */
                      _mm512_reduce_add_ps(
                          _mm512_fmadd_ps(widen(d), widen(att), _mm512_mul_ps(widen(d + 16), widen(att + 16))));
}

/* From the gradient d [M][D] of att to that of raw, to `to` [M][QKV]. */
static void attention_back(struct step *s, struct layer *l, bf16 *to, const bf16 *d, float *dqw, float *dkw, int rows,
                           int length)
{
    vec qw[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, kw[2] = {qw[0], qw[0]};
    size_t bytes = (size_t)length * E * 4;
    for (int b = 0; b < rows; b++)
        for (int h = 0; h < H; h++) {
            int kv = h / (H / KV), first = h % (H / KV) == 0, last = h % (H / KV) == H / KV - 1;
            size_t base = (size_t)b * length;
            const bf16 *q = l->q + (base * H + (size_t)h * length) * E;
            const bf16 *k = l->k + (base * KV + (size_t)kv * length) * E;
            if (first) {
                for (int t = 0; t < length; t++)
                    memcpy(s->v + t * E, l->raw + (base + t) * QKV + (H + KV + kv) * E, E * 2);
                pack_flipped(s->kf, k, length, length, E, E);
                memset(s->dk, 0, bytes);
                memset(s->dv, 0, bytes);
            }
            pack_dwords(s->qt, q, length, E, E);
            pack_pairs(s->qp, q, length, E, E);
            output_grad(s, d + base * D + h * E, l->att + base * D + h * E, length);
            memset(s->dq, 0, bytes);
            attend_back(&(struct grad_head){k, s->v, s->kf, s->qt, s->qp, s->ot, s->op,
                                            l->lse + (base * H + (size_t)h * length), s->delta, s->dq, s->dk, s->dv},
                        length);
            for (int t0 = 0; t0 < length; t0 += 16) {
                __m512i part[2][16];
                for (int c = 0; c < 2; c++) {
                    for (int i = 0; i < 16; i++)
                        part[c][i] = _mm512_load_si512(s->dq + (size_t)(t0 / 16 * 2 + c) * 256 + i * 16);
                    transpose16(part[c]);
                }
                for (int i = 0; i < 16; i++)
                    head_norm_back(to + (base + t0 + i) * QKV + h * E, qw, _mm512_castsi512_ps(part[0][i]),
                                   _mm512_castsi512_ps(part[1][i]), l->raw + (base + t0 + i) * QKV + h * E, l->q_norm,
                                   s->cos_sin + (t0 + i) * E);
            }
            for (int t = 0; last && t < length; t++) {
                size_t tile = (size_t)(t / 16) * 512 + t % 16 * 16, at = (base + t) * QKV;
                head_norm_back(to + at + (H + kv) * E, kw, _mm512_load_ps(s->dk + tile),
                               _mm512_load_ps(s->dk + tile + 256), l->raw + at + (H + kv) * E, l->k_norm,
                               s->cos_sin + t * E);
                narrow(to + at + (H + KV + kv) * E, _mm512_load_ps(s->dv + tile));
                narrow(to + at + (H + KV + kv) * E + 16, _mm512_load_ps(s->dv + tile + 256));
            }
        }
    for (int c = 0; c < 2; c++) {
        _mm512_storeu_ps(dqw + 16 * c, _mm512_add_ps(_mm512_loadu_ps(dqw + 16 * c), qw[c]));
        _mm512_storeu_ps(dkw + 16 * c, _mm512_add_ps(_mm512_loadu_ps(dkw + 16 * c), kw[c]));
    }
}

static void swiglu(bf16 *y, const bf16 *gu, int m, uint32_t seed, float drop)
{
    vec scale = _mm512_set1_ps(1 / (1 - drop));
    for (uint32_t t = 0, place = 0; t < (uint32_t)m; t++, y += F, gu += GU)
        for (int i = 0; i < F; i += 16) {
            vec g = widen(gu + i), u = _mm512_maskz_mul_ps(kept(seed, place++, drop), widen(gu + F + i), scale);
            narrow(y + i, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid(g)), u));
        }
}

/* From dy [m][F] to dgu [m][GU]; y becomes the output once more. */
static void swiglu_back(bf16 *dgu, bf16 *y, const bf16 *dy, const bf16 *gu, int m, uint32_t seed, float drop)
{
    vec scale = _mm512_set1_ps(1 / (1 - drop));
    for (uint32_t t = 0, place = 0; t < (uint32_t)m; t++, y += F, dy += F, gu += GU, dgu += GU)
        for (int i = 0; i < F; i += 16) {
            __mmask16 keep = kept(seed, place++, drop);
            vec g = widen(gu + i), o = sigmoid(g), a = _mm512_mul_ps(g, o);
            vec u = _mm512_maskz_mul_ps(keep, widen(gu + F + i), scale), d = widen(dy + i);
            narrow(y + i, _mm512_mul_ps(a, u));
            narrow(dgu + F + i, _mm512_maskz_mul_ps(keep, _mm512_mul_ps(d, scale), a));
            vec slope = _mm512_fmadd_ps(a, _mm512_sub_ps(_mm512_set1_ps(1.0f), o), o);
            narrow(dgu + i, _mm512_mul_ps(_mm512_mul_ps(d, u), slope));
        }
}

/* x[m][D] += A W^T */
static void residual(float *x, const bf16 *a, int ld, const bf16 *w, int m, int k)
{
    product_add(x, D, plain(a, ld), w, m, D, k);
}

static void layer_forward(struct step *s, struct layer *l, int rows, int length)
{
    int m = rows * length;
    memcpy(l->x_attn, s->x, (size_t)m * D * 4);
    norm(l->h_attn, s->x, l->attn_norm, m);
    product(l->raw, QKV, plain(l->h_attn, D), l->qkv, m, QKV, D);
    attention(s, l, rows, length);
    l->seed = ++s->passes * 2654435761u;
    dropout(l->att, (size_t)m * D, l->seed, s->drop);
    residual(s->x, l->att, D, l->o, m, D);
    memcpy(l->x_ffn, s->x, (size_t)m * D * 4);
    norm(l->h_ffn, s->x, l->ffn_norm, m);
    product(l->gate_up, GU, plain(l->h_ffn, D), l->gu, m, GU, D);
    swiglu(s->wide, l->gate_up, m, ~l->seed, s->drop);
    residual(s->x, s->wide, F, l->down, m, F);
}

/* dW[out][in] += dY^T X: the flipped dY lies in s->flip, `from` its first column of the output. */
static void weight_grad(struct step *s, float *dw, int from, int out, int in, int m)
{
    product_add(dw, in, flipped(s->flip + (size_t)from * m, m), s->pair, out, in, m);
}

static void layer_backward(struct step *s, struct layer *l, float *const *g, int rows, int length)
{
    int m = rows * length;
    to_bf16(s->narrow, s->dx, (size_t)m * D);
    product(s->wide2, F, plain(s->narrow, D), l->down_b, m, F, D);
    swiglu_back(s->wide2 + (size_t)m * F, s->wide, s->wide2, l->gate_up, m, ~l->seed, s->drop);
    bf16 *dgu = s->wide2 + (size_t)m * F;
    pack_flipped(s->flip, s->narrow, m, m, D, D);
    pack_pairs(s->pair, s->wide, m, F, F);
    weight_grad(s, g[DOWN], 0, D, F, m);
    product(s->narrow2, D, plain(dgu, GU), l->gu_b, m, D, GU);
    pack_flipped(s->flip, dgu, m, m, GU, GU);
    pack_pairs(s->pair, l->h_ffn, m, D, D);
    weight_grad(s, g[GATE], 0, F, D, m);
    weight_grad(s, g[UP], F, F, D, m);
    norm_back(s->dx, g[FFN_NORM], s->narrow2, l->x_ffn, l->ffn_norm, m);

    to_bf16(s->narrow, s->dx, (size_t)m * D);
    product(s->narrow2, D, plain(s->narrow, D), l->o_b, m, D, D);
    dropout(s->narrow2, (size_t)m * D, l->seed, s->drop);
    pack_flipped(s->flip, s->narrow, m, m, D, D);
    pack_pairs(s->pair, l->att, m, D, D);
    weight_grad(s, g[WO], 0, D, D, m);
    attention_back(s, l, s->wide, s->narrow2, g[Q_NORM], g[K_NORM], rows, length);
    product(s->narrow2, D, plain(s->wide, QKV), l->qkv_b, m, D, QKV);
    pack_flipped(s->flip, s->wide, m, m, QKV, QKV);
    pack_pairs(s->pair, l->h_attn, m, D, D);
    weight_grad(s, g[WQ], 0, H * E, D, m);
    weight_grad(s, g[WK], H * E, KV * E, D, m);
    weight_grad(s, g[WV], (H + KV) * E, KV * E, D, m);
    norm_back(s->dx, g[ATTN_NORM], s->narrow2, l->x_attn, l->attn_norm, m);
}

/* --- the loss ------------------------------------------------------------------------------------------------ */

/* Logits of one token to their gradient, times scale; returns the loss in nats. */
static float cross_entropy(bf16 *x, int target, float scale)
{
    static float e[V] __attribute__((aligned(64)));
    if (target < 0) {
        memset(x, 0, V * sizeof *x);
        return 0;
    }
    vec most = widen(x), sum = _mm512_setzero_ps(), l = _mm512_set1_ps(LOG2E);
    for (int i = 16; i < V; i += 16)
        most = _mm512_max_ps(most, widen(x + i));
    float top = _mm512_reduce_max_ps(most);
    vec shift = _mm512_set1_ps(top * LOG2E);
    uint32_t bits = (uint32_t)x[target] << 16;
    float own;
    memcpy(&own, &bits, 4);
    for (int i = 0; i < V; i += 16) {
        vec v = exp2v(_mm512_fmsub_ps(widen(x + i), l, shift));
        _mm512_store_ps(e + i, v);
        sum = _mm512_add_ps(sum, v);
    }
    float z = _mm512_reduce_add_ps(sum);
    vec factor = _mm512_set1_ps(scale / z);
    e[target] -= z;
    for (int i = 0; i < V; i += 16)
        narrow(x + i, _mm512_mul_ps(_mm512_load_ps(e + i), factor));
    return logf(z) + top - own;
}

static double head(struct step *s, const int32_t *targets, float scale, float *dembed, float *dnorm, int m)
{
    enum { LD = V + 32 }; /* a row of 8 KiB would put every row in the same lines of the cache */
    double loss = 0;
    norm(s->h, s->x, s->norm, m);
    for (int t = 0; t < m; t += CHUNK) {
        int n = m - t < CHUNK ? m - t : CHUNK;
        product(s->logits, LD, plain(s->h + (size_t)t * D, D), s->head, n, V, D);
        for (int i = 0; i < n; i++)
            loss += cross_entropy(s->logits + (size_t)i * LD, targets[t + i], scale);
        product(s->narrow + (size_t)t * D, D, plain(s->logits, LD), s->head_b, n, D, V);
        pack_flipped(s->flip + (size_t)t * 16, s->logits, n, m, LD, V);
    }
    pack_pairs(s->pair, s->h, m, D, D);
    weight_grad(s, dembed, 0, V, D, m);
    memset(s->dx, 0, (size_t)m * D * 4);
    norm_back(s->dx, dnorm, s->narrow, s->x, s->norm, m);
    return loss;
}

/* --- the interface ------------------------------------------------------------------------------------------- */

/* Zeroed memory from one mapping of huge pages: with small ones reading is several times slower here. Never freed, as
 * one step lives as long as the program; null when the mapping is full. */
static void *room(size_t bytes)
{
    static char *at, *end;
    const size_t whole = (size_t)4 << 30, huge = 2 << 20;
    if (!at) {
        char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        at = (char *)(((uintptr_t)p + huge - 1) / huge * huge), end = p + whole;
        madvise(at, (size_t)(end - at), MADV_HUGEPAGE);
    }
    size_t n = (bytes + 4159) / 64 * 64; /* not all at the same place of a page */
    if (n > (size_t)(end - at))
        return NULL;
    at += n;
    return at - n;
}

/* A step for at most `most` tokens in rows of at most `context`; null where the processor or the kernel has no AMX. */
struct step *step_new(int layers, int most, int context)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    if (!__builtin_cpu_supports("amx-bf16") || syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) != 0)
        return NULL;
    struct step *s = room(sizeof *s);
    size_t m = (size_t)most, t = (size_t)context * E;
    *s = (struct step){.layers = layers, .most = most, .layer = room(sizeof(struct layer) * (size_t)layers)};
    for (int i = 0; i < layers; i++)
        s->layer[i] = (struct layer){
            .qkv = room(QKV * D * 2), .qkv_b = room(QKV * D * 2), .o = room(D * D * 2), .o_b = room(D * D * 2),
            .gu = room(GU * D * 2), .gu_b = room(GU * D * 2), .down = room(F * D * 2), .down_b = room(F * D * 2),
            .x_attn = room(m * D * 4), .x_ffn = room(m * D * 4), .h_attn = room(m * D * 2), .h_ffn = room(m * D * 2),
            .raw = room(m * QKV * 2), .q = room(m * H * E * 2), .k = room(m * KV * E * 2), .att = room(m * D * 2),
            .gate_up = room(m * GU * 2), .lse = room(m * H * 4)};
    s->head = room(V * D * 2), s->head_b = room(V * D * 2), s->scratch = room(V * D * 2);
    s->cos_sin = room(t * 4);
    s->x = room(m * D * 4), s->dx = room(m * D * 4), s->h = room(m * D * 2);
    s->logits = room(CHUNK * (V + 32) * 2), s->wide = room(m * F * 2), s->wide2 = room(m * (F + GU) * 2);
    s->narrow = room(m * D * 2), s->narrow2 = room(m * D * 2), s->flip = room(m * V * 2), s->pair = room(m * F * 2);
    bf16 **heads[] = {&s->qt, &s->qp, &s->ot, &s->op, &s->kf, &s->vp, &s->kt, &s->v};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        *heads[i] = room(t * 2);
    s->dq = room(t * 4), s->dk = room(t * 4), s->dv = room(t * 4), s->delta = room((size_t)context * 4);
    for (int p = 0; p < context; p++)
        for (int i = 0; i < E / 2; i++) {
            double angle = p * pow(10000.0, -2.0 * i / E);
            s->cos_sin[p * E + i] = (float)cos(angle), s->cos_sin[p * E + E / 2 + i] = (float)sin(angle);
        }
    return s;
}

/* W [out][in] becomes rows `at` on of a matrix of `outs` rows, in both packings. */
static void pack_weight(struct step *s, bf16 *forward, bf16 *backward, const float *w, int at, int out, int outs,
                        int in)
{
    to_bf16(s->scratch, w, (size_t)out * in);
    pack_dwords(forward + (size_t)at * in, s->scratch, out, in, in);
    for (int c = 0; c < in; c += 16) /* its rows within each panel of `outs` rows */
        pack_pairs(backward + (size_t)c * outs + (size_t)at * 16, s->scratch + c, out, in, 16);
}

/* Takes the weights, in model.py's order: per layer PER_LAYER of them, then the embedding and the last norm. */
void step_weights(struct step *s, const float *const *w)
{
    for (int i = 0; i < s->layers; i++, w += PER_LAYER) {
        struct layer *l = &s->layer[i];
        pack_weight(s, l->qkv, l->qkv_b, w[WQ], 0, H * E, QKV, D);
        pack_weight(s, l->qkv, l->qkv_b, w[WK], H * E, KV * E, QKV, D);
        pack_weight(s, l->qkv, l->qkv_b, w[WV], (H + KV) * E, KV * E, QKV, D);
        pack_weight(s, l->o, l->o_b, w[WO], 0, D, D, H * E);
        pack_weight(s, l->gu, l->gu_b, w[GATE], 0, F, GU, D);
        pack_weight(s, l->gu, l->gu_b, w[UP], F, F, GU, D);
        pack_weight(s, l->down, l->down_b, w[DOWN], 0, D, D, F);
        l->attn_norm = w[ATTN_NORM], l->ffn_norm = w[FFN_NORM], l->q_norm = w[Q_NORM], l->k_norm = w[K_NORM];
    }
    s->embed = w[0], s->norm = w[1];
    pack_weight(s, s->head, s->head_b, w[0], 0, V, V, D);
}

/* Adds the gradients of scale x (sum of the losses) to g, ordered as the weights; returns that sum. ids and targets
 * [rows][length]; length a multiple of 32, rows x length at most `most`; a target of -1 counts for nothing; drop: the
 * part of the inputs of WO and DOWN that is left out, at random. */
double step_run(struct step *s, int rows, int length, const int32_t *ids, const int32_t *targets, float scale,
                float drop, float *const *g)
{
    struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {.palette = 1}, before;
    for (int i = 0; i < 8; i++)
        tiles.bytes[i] = 64, tiles.rows[i] = 16;
    _tile_storeconfig(&before); /* oneDNN remembers what it set */
    _tile_loadconfig(&tiles);
    s->drop = drop;
    int m = rows * length;
    float *const *last = g + s->layers * PER_LAYER;
    for (int t = 0; t < m; t++)
        memcpy(s->x + (size_t)t * D, s->embed + (size_t)ids[t] * D, D * 4);
    for (int i = 0; i < s->layers; i++)
        layer_forward(s, &s->layer[i], rows, length);
    double loss = head(s, targets, scale, last[0], last[1], m);
    for (int i = s->layers - 1; i >= 0; i--)
        layer_backward(s, &s->layer[i], g + i * PER_LAYER, rows, length);
    for (int t = 0; t < m; t++)
        for (int i = 0; i < D; i++)
            last[0][(size_t)ids[t] * D + i] += s->dx[(size_t)t * D + i];
    _tile_loadconfig(&before);
    return loss;
}
