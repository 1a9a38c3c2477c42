/* kernel/linear_amx_bf16.c - linear layers with AMX tiles: bfloat16 weights.
 *
 *     C [16 rows of x][16 rows of W] float32  +=  A [16 rows of x][32 columns]  x  B [16][16 rows of W][2 columns]
 *
 * A packed tile is one B tile (1 KiB) after another, 32 columns each, the last one padded with zeros; A is read in
 * place. Activations are one bfloat16 term: a layer is off by 0.0015 of its results, one of 8-bit activations by 0.0037.  Layers
 * whose error goes far have two terms, as two rows (sg_linear_refine): keys, values, the last layer, the logits, all of an encoder.
 * (docs/profile.md has what one term costs in perplexity, and gains.)  Two row blocks and two tiles of W make four C tiles, which
 * stay in the tile registers over all columns:
 *
 *     tmm0 tmm1   rows  0-15 with W tiles 0, 1      tmm4  A of rows  0-15     tmm6 tmm7   B of W tiles 0, 1
 *     tmm2 tmm3   rows 16-31 with W tiles 0, 1      tmm5  A of rows 16-31
 *
 * Measured on a Sapphire Rapids class server, one step of 32 rows and two tiles, 64 cycles of products: 26 ns from the first level cache,
 * 40 from the second, 80 to 110 where the weights come from the third.  So the first 32 rows of a pair of tiles fetch weights
 * some steps ahead, the rows after them multiply what is near and fetch a part of the next pair.  A stored tile holds up the loads
 * after it, about 1000 cycles for four tiles: a block's sums are put to `out` row by row beside the steps of the next block, and sums
 * wait in memory only where x would not stay in the second level cache.
 *
 * 33 to 48 rows, and up to 144 where it makes fewer passes over the weights, take three row blocks at once, in six C tiles: tmm0, 2, 4
 * with W tile 0, tmm1, 3, 5 with W tile 1, A in tmm6 in turn, B in tmm7.  33 rows are as fast a row as 32, not 20 % slower.
 *
 * An element of C sees the same products in the same order whatever stands beside it, so the bits do not depend on the
 * number of rows: a single row runs through the same instruction.
 */
#include "kernel/amx.h"
#include "kernel/linear_avx512.h"

/* A has 64 bytes for a row and step.  All of it stays in the second level cache up to WHOLE_BYTES; of more, pieces of columns do.
 * Weights are fetched AHEAD steps before their use.  (segue bench kernel --only bf16 --shape 4096x4096, Sapphire Rapids class.) */
enum { STEP_BYTES = 1024, ROWS = 256, TILES = 32, STEPS_MIN = 16, AHEAD = 4, WHOLE_BYTES = 3 << 19, PIECE_BYTES = 1 << 20 };
enum { THREES_MOST = 144 }; /* more rows are faster by pairs: 160 x 4096 x 4096 2250 by threes, 2310 GFLOP/s by pairs */
enum { PAIR = 2 * SG_TILE, PAIR_BYTES = 4 * PAIR }; /* a row of two tiles' sums */

/* An odd number of steps: tiles a power of two apart would share a few sets of the caches. */
static size_t tile_bytes(int k) { return (size_t)((k + 31) / 32 | 1) * STEP_BYTES; }

static void pack(void *tile, const void *stored, int rows, int k)
{
    memset(tile, 0, tile_bytes(k));
    for (int j = 0; j < rows; j++)
        for (int i = 0; i < k; i++) {
            size_t to = (size_t)(i / 32) * 512 + (size_t)(i % 32 / 2 * 32 + j * 2 + i % 2);
            memcpy((uint16_t *)tile + to, (const uint8_t *)stored + ((size_t)j * (size_t)k + (size_t)i) * 2, 2);
        }
}

/* Tiles for r0 rows in the first block and r1 in the second (0: none). */
static void configure(int r0, int r1)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = (uint8_t)(t >= 6 ? 16 : t < 2 || t == 4 ? r0 : r1 ? r1 : 1);
    }
    SG_AMX_CONFIGURE(c);
}

/* Two tiles' weights of a step, and those of the next pair of tiles. */
typedef struct weights {
    const uint8_t *w0, *w1, *next;
    size_t next_bytes; /* from next to its other tile */
} weights;

/* Lines of the step AHEAD of step s of n, for rows that are the first to read them. */
SG_INLINE void fetch_ahead(weights w, int s, int n)
{
    const uint8_t *p0 = w.w0 + (size_t)(s + AHEAD) * STEP_BYTES, *p1 = w.w1 + (size_t)(s + AHEAD) * STEP_BYTES;
    if (s + AHEAD >= n) {
        p0 = w.next + (size_t)(s + AHEAD - n) * STEP_BYTES;
        p1 = p0 + w.next_bytes;
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        _mm_prefetch((const char *)p0 + i * 64, _MM_HINT_T0);
        _mm_prefetch((const char *)p1 + i * 64, _MM_HINT_T0);
    }
}

/* A share of the next pair's, for rows that come after. */
SG_INLINE void fetch_next(weights w, int s, int lines)
{
    const char *at = (const char *)w.next + (size_t)s * (size_t)lines * 64;
#pragma GCC unroll 8
    for (int i = 0; i < lines; i++) {
        _mm_prefetch(at + i * 64, _MM_HINT_T1);
        _mm_prefetch(at + w.next_bytes + i * 64, _MM_HINT_T1);
    }
}

/* Sums of a block that are not in `out` yet: rows of two whole tiles. */
typedef struct pending {
    const float *c; /* [n][2][16] */
    float *const *out;
    int n, tile;
} pending;

SG_INLINE void put_row(pending *p)
{
    float *to = *p->out++ + p->tile * SG_TILE;
    _mm512_storeu_ps(to, _mm512_load_ps(p->c));
    _mm512_storeu_ps(to + SG_TILE, _mm512_load_ps(p->c + SG_TILE));
    p->c += PAIR;
    p->n--;
}

/* What goes on beside a step's products: weights are fetched, `each` rows put to `out`. */
SG_INLINE void beside(weights w, int s, int nstep, int lines, pending *q, int each)
{
    if (lines)
        fetch_next(w, s, lines);
    else
        fetch_ahead(w, s, nstep);
    for (int i = 0; i < each && q->n; i++)
        put_row(q);
}

/* r0 + r1 rows with two tiles over nstep steps; c [r0 + r1][2][16] gets the sums, or has them added unless `first`.  `lines` of the
 * next pair's weights a step are fetched, 0: these rows are the first, and fetch their own.  What is pending is put to `out`
 * beside the steps. */
SG_INLINE void block(bool second, int lines, bool first, float *c, const uint8_t *x, size_t stride, int r0, weights w, int nstep,
                     pending *q)
{
    const size_t below = (size_t)r0 * stride;
    const int each = q->n <= nstep ? 1 : 2;
    float *c2 = c + r0 * PAIR;
    if (first) {
        SG_AMX_ZERO(0);
        SG_AMX_ZERO(1);
        SG_AMX_ZERO(2);
        SG_AMX_ZERO(3);
    } else {
        SG_AMX_LOAD(0, c, PAIR_BYTES);
        SG_AMX_LOAD(1, c + SG_TILE, PAIR_BYTES);
        if (second) {
            SG_AMX_LOAD(2, c2, PAIR_BYTES);
            SG_AMX_LOAD(3, c2 + SG_TILE, PAIR_BYTES);
        }
    }
    for (int s = 0; s < nstep; s++) {
        const uint8_t *a = x + (size_t)s * 64;
        SG_AMX_LOAD(6, w.w0 + (size_t)s * STEP_BYTES, 64);
        SG_AMX_LOAD(4, a, stride);
        SG_AMX_DOT_BF16(0, 4, 6);
        SG_AMX_LOAD(7, w.w1 + (size_t)s * STEP_BYTES, 64);
        SG_AMX_DOT_BF16(1, 4, 7);
        if (second) {
            SG_AMX_LOAD(5, a + below, stride);
            SG_AMX_DOT_BF16(2, 5, 6);
            SG_AMX_DOT_BF16(3, 5, 7);
        }
        beside(w, s, nstep, lines, q, each);
    }
    while (q->n)
        put_row(q);
    SG_AMX_STORE(0, c, PAIR_BYTES);
    SG_AMX_STORE(1, c + SG_TILE, PAIR_BYTES);
    if (second) {
        SG_AMX_STORE(2, c2, PAIR_BYTES);
        SG_AMX_STORE(3, c2 + SG_TILE, PAIR_BYTES);
    }
}

/* Tiles for three blocks of r rows. */
static void configure_three(int r)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = (uint8_t)(t == 7 ? 16 : r);
    }
    SG_AMX_CONFIGURE(c);
}

/* Three blocks of r rows that begin at rows 0, r and nrow - r: the second and the third may share rows, which both compute alike. */
SG_INLINE void block_three(int lines, bool first, float *c, const uint8_t *x, size_t stride, int r, int nrow, weights w, int nstep,
                           pending *q)
{
    const size_t x1 = (size_t)r * stride, x2 = (size_t)(nrow - r) * stride;
    const int each = q->n <= nstep ? 1 : 2;
    float *c1 = c + r * PAIR, *c2 = c + (nrow - r) * PAIR;
    if (first) {
        SG_AMX_ZERO(0);
        SG_AMX_ZERO(1);
        SG_AMX_ZERO(2);
        SG_AMX_ZERO(3);
        SG_AMX_ZERO(4);
        SG_AMX_ZERO(5);
    } else {
        SG_AMX_LOAD(0, c, PAIR_BYTES);
        SG_AMX_LOAD(1, c + SG_TILE, PAIR_BYTES);
        SG_AMX_LOAD(2, c1, PAIR_BYTES);
        SG_AMX_LOAD(3, c1 + SG_TILE, PAIR_BYTES);
        SG_AMX_LOAD(4, c2, PAIR_BYTES);
        SG_AMX_LOAD(5, c2 + SG_TILE, PAIR_BYTES);
    }
    for (int s = 0; s < nstep; s++) {
        const uint8_t *a = x + (size_t)s * 64;
        SG_AMX_LOAD(7, w.w0 + (size_t)s * STEP_BYTES, 64);
        SG_AMX_LOAD(6, a, stride);
        SG_AMX_DOT_BF16(0, 6, 7);
        SG_AMX_LOAD(6, a + x1, stride);
        SG_AMX_DOT_BF16(2, 6, 7);
        SG_AMX_LOAD(6, a + x2, stride);
        SG_AMX_DOT_BF16(4, 6, 7);
        SG_AMX_LOAD(7, w.w1 + (size_t)s * STEP_BYTES, 64);
        SG_AMX_DOT_BF16(5, 6, 7);
        SG_AMX_LOAD(6, a + x1, stride);
        SG_AMX_DOT_BF16(3, 6, 7);
        SG_AMX_LOAD(6, a, stride);
        SG_AMX_DOT_BF16(1, 6, 7);
        beside(w, s, nstep, lines, q, each);
    }
    while (q->n)
        put_row(q);
    SG_AMX_STORE(0, c, PAIR_BYTES);
    SG_AMX_STORE(1, c + SG_TILE, PAIR_BYTES);
    SG_AMX_STORE(2, c1, PAIR_BYTES);
    SG_AMX_STORE(3, c1 + SG_TILE, PAIR_BYTES);
    SG_AMX_STORE(4, c2, PAIR_BYTES);
    SG_AMX_STORE(5, c2 + SG_TILE, PAIR_BYTES);
}

/* Rows at equal distances, and where their sums go. */
typedef struct run {
    const uint8_t *x;
    float *const *out;
    size_t stride; /* between rows */
    int nrow, nblock, piece, n; /* piece: steps at a time */
    int now0, now1; /* rows that the tiles are configured for */
    pending put;
} run;

/* A block's sums, of the tiles from `tile` on, are complete.  A tile alone or a part of one is put at once. */
static void put_later(run *r, const float *c, int m, int nrow, int tile, int tiles)
{
    if (tiles == 2 && (tile + 2) * SG_TILE <= r->n) {
        r->put = (pending){c, r->out + m, nrow, tile};
        return;
    }
    for (int i = 0; i < nrow; i++)
        for (int t = 0; t < tiles; t++)
            sg_store_tile_row(r->out[m + i], _mm512_load_ps(c + i * PAIR + t * SG_TILE), tile + t, r->n);
}

/* All rows with nstep steps from s0 on of the `tiles` (2, or 1: the second is the first again) tiles from `tile` on; c [ROWS][2][16].
 * Rows are dealt evenly to pairs of blocks of up to 16: 50 rows are 13, 13, 12 and 12, because a product with one row takes two thirds of
 * the time of one with 16, and a block alone waits for its own sums. */
static void pair(run *r, float *c, weights w, int s0, int nstep, bool last, int tile, int tiles)
{
    const int lines = r->nblock <= 4 ? 8 : r->nblock <= 8 ? 4 : 2;
    for (int m = 0, b = 0, r0, r1; m < r->nrow; m += r0 + r1, b += 2) {
        int left = r->nrow - m;
        r0 = (left + r->nblock - b - 1) / (r->nblock - b);
        r1 = b + 1 < r->nblock ? (left - r0 + r->nblock - b - 2) / (r->nblock - b - 1) : 0;
        if (r0 != r->now0 || r1 != r->now1)
            configure(r0, r1);
        r->now0 = r0, r->now1 = r1;
#define BLOCK(second, lines) \
    block(second, lines, s0 == 0, c + m * PAIR, r->x + (size_t)m * r->stride + (size_t)s0 * 64, r->stride, r0, w, nstep, &r->put)
        if (!r1)
            BLOCK(false, 0);
        else if (m == 0)
            BLOCK(true, 0);
        else if (lines == 8)
            BLOCK(true, 8);
        else if (lines == 4)
            BLOCK(true, 4);
        else
            BLOCK(true, 2);
        if (m > 0)
            w.next += (size_t)nstep * (size_t)lines * 64;
        if (last)
            put_later(r, c + m * PAIR, m, r0 + r1, tile, tiles);
    }
}

/* The same by three blocks at a time, for numbers of rows where that makes fewer passes. */
static void pair_by_threes(run *r, float *c, weights w, int s0, int nstep, bool last, int tile, int tiles)
{
    const int npass = (r->nrow + 47) / 48, lines = npass <= 2 ? 8 : npass <= 4 ? 4 : 2;
    for (int m = 0, b = 0, rows; m < r->nrow; m += rows, b++) {
        rows = (r->nrow - m + npass - b - 1) / (npass - b);
        int each = (rows + 2) / 3;
        if (each != r->now0)
            configure_three(each);
        r->now0 = each;
#define THREE(lines)                                                                                                                   \
    block_three(lines, s0 == 0, c + m * PAIR, r->x + (size_t)m * r->stride + (size_t)s0 * 64, r->stride, each, rows, w, nstep, &r->put)
        if (m == 0)
            THREE(0);
        else if (lines == 8)
            THREE(8);
        else if (lines == 4)
            THREE(4);
        else
            THREE(2);
        if (m > 0)
            w.next += (size_t)nstep * (size_t)lines * 64;
        if (last)
            put_later(r, c + m * PAIR, m, rows, tile, tiles);
    }
}

static run run_of(float *const *out, const uint8_t *const *x, int nrow, int nstep, int n)
{
    run r = {.x = x[0], .out = out, .stride = nrow > 1 ? (size_t)(x[1] - x[0]) : 64, .nrow = nrow, .piece = nstep, .n = n};
    r.nblock = nrow <= 16 ? 1 : (nrow + 31) / 32 * 2;
    size_t all = (size_t)nrow * (size_t)nstep * 64;
    if (all > WHOLE_BYTES) {
        int npiece = (int)((all + PIECE_BYTES - 1) / PIECE_BYTES);
        r.piece = (nstep + npiece - 1) / npiece;
        r.piece = r.piece < STEPS_MIN ? STEPS_MIN : r.piece;
    }
    return r;
}

/* Rows at equal distances. */
static void mul_run(float *const *out, const uint8_t *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    _Alignas(64) float c[TILES / 2][ROWS * PAIR];
    size_t bytes = tile_bytes(k);
    int nstep = (k + 31) / 32;
    run r = run_of(out, x, nrow, nstep, n);
    const bool whole = r.piece >= nstep;
    const bool threes = nrow > 32 && nrow <= THREES_MOST && (nrow + 47) / 48 < (nrow + 31) / 32;
    void (*mul_pair)(run *, float *, weights, int, int, bool, int, int) = threes ? pair_by_threes : pair;
    for (int t0 = tile0; t0 < tile1; t0 += TILES) {
        int tiles = tile1 - t0 < TILES ? tile1 - t0 : TILES;
        const uint8_t *start = (const uint8_t *)packed + (size_t)t0 * bytes;
        for (int s0 = 0; s0 < nstep; s0 += r.piece) {
            int steps = nstep - s0 < r.piece ? nstep - s0 : r.piece;
            for (int t = 0; t < tiles; t += 2) {
                const uint8_t *at = start + (size_t)t * bytes + (size_t)s0 * STEP_BYTES;
                bool last = t + 2 >= tiles;
                weights w = {at, t + 1 < tiles ? at + bytes : at, last ? start + (size_t)(s0 + steps) * STEP_BYTES : at + 2 * bytes, bytes};
                mul_pair(&r, c[whole ? t / 2 % 2 : t / 2], w, s0, steps, s0 + steps >= nstep, t0 + t, last ? tiles - t : 2);
            }
        }
        while (r.put.n)
            put_row(&r.put);
    }
    SG_AMX_RELEASE();
}

static void mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    const uint8_t *const *row = (const uint8_t *const *)x;
    for (int m = 0, rows; m < nrow; m += rows) {
        rows = nrow - m < 2 ? nrow - m : 2;
        while (m + rows < nrow && rows < ROWS && row[m + rows] - row[m + rows - 1] == row[m + 1] - row[m])
            rows++;
        mul_run(out + m, row + m, rows, packed, tile0, tile1, n, k);
    }
}

const sg_linear_kernel *sg_linear_amx_bf16_find(sg_dtype type)
{
    static const sg_linear_kernel bf16 = {.act = SG_ACT_BF16, .tile_bytes = tile_bytes, .pack = pack, .mul = mul};
    return type == SG_BF16 ? &bf16 : NULL;
}
