/* kernel/linear_amx_some.c - linear layers with AMX tiles: block-quantised types, some rows (16 to 76).
 *
 *     for each tile of W
 *         for each 16 rows of x                 16 sums of 16 stay in registers over all of k
 *             for each group of 32 columns      unpack 3 ahead | store C 1 ahead | multiply 2 ahead | add up
 *
 * The products are those of linear_amx.c, and so are the bits.  What differs is what is not there: no panel of activations (A is read where
 * the rows are), no unpacked weights but four groups on their way, no sums in memory.  Every block of rows unpacks the weights anew,
 * which costs 2 to 5 ns beside the 17 of a step (5 bits and folded scales more): worth it for up to four blocks, and most of all for
 * one, where unpacking ahead of the products was a third of the time.  kcheck --bench amx, one thread, N = K = 2048, GOP/s of
 * linear_amx.c and of this: M = 16, q4_0 525 to 556, 677 to 743; q4_k 458 to 477, 629 to 656; q5_0 511, 621; M = 32, q4_k 519, 656; M = 64
 * 600, 635; M = 128 645, 614.
 *
 * A block's last steps are the first of the next block, so that tiles do not run empty between them.  Up to 12 rows that are left over go
 * beside the first block: its weights are unpacked and loaded already, so that they cost a product, a store (as dear for one row as
 * for 16: 5 ns) and 1.3 ns each.  More are a block with zeros.
 */
#include "kernel/linear_amx.h"

enum {
    ROWS_MIN = 13,     /* left over: fewer go beside the first block */
    BLOCKS = 4,        /* of rows */
    FOLD_ROWS = 31,    /* at most, of types whose scales are multiplied into the levels: unpacking them is dear */
    COLUMNS = 8192,    /* of rows that are not at equal distances, at most */
    NUMBERS = 1 << 16, /* scales and sums of all rows, at most */
    RING = 4,
    AHEAD_BYTES = 2048,
};

/* tmm0 tmm1 C, tmm2 A, tmm3 B; tmm4 tmm5 C, tmm6 A for `beside` more rows (0: none). */
static void configure(int beside)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < (beside ? 7 : 4); t++) {
        bool is_a = t == 2 || t == 6;
        c.row_bytes[t] = (uint16_t)(is_a ? 32 : 64);
        c.rows[t] = (uint8_t)(t == 3 ? 8 : t < 4 ? 16 : beside);
    }
    SG_AMX_CONFIGURE(c);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* Sixteen rows: their bytes, and of each group [1 + nmin][16]: their scales, and what minima are multiplied with. */
typedef struct sixteen {
    const uint8_t *q;
    size_t stride;
    const float *numbers;
    int n; /* rows that there are */
} sixteen;

/* The rows of a call that are multiplied at a time. */
typedef struct batch {
    _Alignas(64) float numbers[NUMBERS];
    uint8_t apart[16][COLUMNS + 64]; /* one block's bytes, when it is not full or its rows are not at equal distances */
    sixteen block[BLOCKS];
    sixteen beside; /* fewer than 16 rows that are multiplied along with the first block, or none */
    int nblock;
    bool apart_used;
} batch;

static bool at_equal_distances(const void *const *x, int n)
{
    for (int m = 1; m + 1 < n; m++)
        if ((const char *)x[m + 1] - (const char *)x[m] != (const char *)x[1] - (const char *)x[0])
            return false;
    return (const char *)x[1] - (const char *)x[0] > 0;
}

static void fill_numbers(float *to, int nmin, const void *const *x, int n, int k)
{
    const int each = 16 * (1 + nmin);
    for (int m = 0; m < 16; m++) {
        sg_act_q8 a = sg_act_q8_of(x[m < n ? m : 0], k);
        for (int g = 0; g < k / 32; g++) {
            float d = m < n ? a.d[g] : 0, *p = to + g * each + m;
            p[0] = d;
            if (nmin == 1)
                p[16] = m < n ? a.sx[g] : 0;
            for (int h = 0; nmin == 2 && h < 2; h++)
                p[16 + 16 * h] = m < n ? -(float)a.neg16[2 * g + h] * d : 0;
        }
    }
}

static void copy_apart(batch *b, const void *const *x, int n, int k)
{
    for (int m = 0; m < 16; m++)
        if (m < n)
            memcpy(b->apart[m], x[m], (size_t)k);
        else
            memset(b->apart[m], 0, (size_t)k);
}

/* Rows that go beside the first block of a batch, which holds the numbers of no other block then. */
static void fill_beside(batch *b, int nmin, const void *const *x, int n, int k)
{
    b->beside.n = n;
    if (n == 0)
        return;
    b->beside.q = x[0];
    b->beside.stride = n > 1 ? (size_t)((const char *)x[1] - (const char *)x[0]) : 64;
    b->beside.numbers = b->numbers;
    fill_numbers(b->numbers, nmin, x, n, k);
}

/* Up to nrow rows, as many as go into a batch: rows that are apart end it.  Returns how many. */
static int fill(batch *b, int nmin, const void *const *x, int nrow, int k)
{
    const int numbers = k / 32 * 16 * (1 + nmin), first = b->beside.n ? 1 : 0;
    int m = 0;
    b->nblock = 0;
    b->apart_used = false;
    while (m < nrow && b->nblock < BLOCKS && (first + b->nblock + 1) * numbers <= NUMBERS) {
        int n = nrow - m < 16 ? nrow - m : 16;
        bool apart = n < 16 || !at_equal_distances(x + m, n);
        if (apart && b->apart_used)
            break;
        float *to = b->numbers + (first + b->nblock) * numbers;
        fill_numbers(to, nmin, x + m, n, k);
        b->block[b->nblock++] = apart ? (sixteen){b->apart[0], sizeof b->apart[0], to, n}
                                      : (sixteen){x[m], (size_t)((const char *)x[m + 1] - (const char *)x[m]), to, n};
        if (apart)
            copy_apart(b, x + m, n, k);
        b->apart_used |= apart;
        m += n;
    }
    return m;
}

/* ---- a tile with sixteen rows ------------------------------------------------------------- */

/* Products that wait for their sums, and weights that wait to be multiplied. */
typedef struct ring {
    _Alignas(64) int32_t c[2][16][16];
    sg_wide w; /* RING slots of it */
    float sums[16][SG_TILE];
    int32_t c_beside[2][16][16];
    float sums_beside[16][SG_TILE];
    unsigned slot; /* of the next block's group 0: 0 or 2 */
    bool ready;    /* the next block's first three groups are unpacked, two of them multiplied, one stored */
} ring;

SG_INLINE void unpack(sg_dtype type, bool fetch, ring *r, sg_tile_view t, int g, unsigned slot)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const char *ahead = (const char *)t.planes + g * f.plane_bytes + AHEAD_BYTES;
    if (fetch)
        for (int z = 0; z < f.plane_bytes; z += 64)
            _mm_prefetch(ahead + z, _MM_HINT_T0);
    sg_wide_unpack_group(type, false, &r->w, (int)(slot % RING), t, g);
}

SG_INLINE void multiply(bool odd, const ring *r, sixteen x, int g, unsigned slot)
{
    sg_amx_multiply(odd, r->w.code[slot % RING][0], x.q + g * 32, x.stride);
}

SG_INLINE void collect(int nmin, bool odd, __m512 *acc, const ring *r, sixteen x, int g, unsigned slot)
{
    const float *numbers = x.numbers + g * 16 * (1 + nmin);
    __m512 scale = _mm512_load_ps(r->w.scale[slot % RING][0]), base = _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
#pragma GCC unroll 16
    for (int m = 0; m < 16; m++) {
        __m512 sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_load_si512(r->c[odd][m])), scale, base);
        acc[m] = _mm512_fmadd_ps(sum, _mm512_set1_ps(numbers[m]), acc[m]);
#pragma GCC unroll 2
        for (int i = 0; i < nmin; i++)
            acc[m] = _mm512_fmadd_ps(_mm512_load_ps(r->w.offset[slot % RING][i]), _mm512_set1_ps(numbers[16 + 16 * i + m]), acc[m]);
    }
}

/* The same for the rows beside: B is in its register still; their sums are in memory, because the registers are taken. */
SG_INLINE void multiply_beside(bool odd, const sixteen *x, int g)
{
    SG_AMX_LOAD(6, x->q + g * 32, x->stride);
    if (odd) {
        SG_AMX_LOAD(5, sg_magic, 64);
        SG_AMX_DOT_INT8(5, 6, 3);
    } else {
        SG_AMX_LOAD(4, sg_magic, 64);
        SG_AMX_DOT_INT8(4, 6, 3);
    }
}

SG_INLINE void put_beside(bool odd, ring *r)
{
    if (odd)
        SG_AMX_STORE(5, r->c_beside[1], 64);
    else
        SG_AMX_STORE(4, r->c_beside[0], 64);
}

SG_INLINE void collect_beside(int nmin, bool odd, ring *r, const sixteen *x, int g, unsigned slot)
{
    const float *numbers = x->numbers + g * 16 * (1 + nmin);
    __m512 scale = _mm512_load_ps(r->w.scale[slot % RING][0]), base = _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
    for (int m = 0; m < x->n; m++) {
        __m512 sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_load_si512(r->c_beside[odd][m])), scale, base);
        __m512 acc = _mm512_fmadd_ps(sum, _mm512_set1_ps(numbers[m]), _mm512_load_ps(r->sums_beside[m]));
#pragma GCC unroll 2
        for (int i = 0; i < nmin; i++)
            acc = _mm512_fmadd_ps(_mm512_load_ps(r->w.offset[slot % RING][i]), _mm512_set1_ps(numbers[16 + 16 * i + m]), acc);
        _mm512_store_ps(r->sums_beside[m], acc);
    }
}

/* All n groups of tile t with the rows x, to r->sums; `fetch`: nobody has read the tile yet.  With `next` (n is even then) the last
 * steps begin tile t1 with rows *next.  `beside`: rows y are multiplied along, to r->sums_beside; `with`: the next block has them (too). */
SG_INLINE void block(sg_dtype type, bool fetch, bool beside, ring *r, sg_tile_view t, sixteen x, const sixteen *y, sg_tile_view t1,
                     const sixteen *next, bool with, int n)
{
    const int nmin = sg_wide_kind_of(type).nmin;
    const unsigned s = r->slot, end = s + (unsigned)n;
    __m512 acc[16];
#define UNPACK(g) unpack(type, fetch, r, t, g, s + (unsigned)(g))
#define IF_BESIDE(call) \
    if (beside)         \
        call;
#define MULTIPLY(odd, g)                       \
    multiply(odd, r, x, g, s + (unsigned)(g)); \
    IF_BESIDE(multiply_beside(odd, y, g))
#define PUT(odd)                \
    sg_amx_put(odd, r->c[odd]); \
    IF_BESIDE(put_beside(odd, r))
#define COLLECT(odd, g)                                  \
    collect(nmin, odd, acc, r, x, g, s + (unsigned)(g)); \
    IF_BESIDE(collect_beside(nmin, odd, r, y, g, s + (unsigned)(g)))
    for (int m = 0; beside && m < y->n; m++)
        _mm512_store_ps(r->sums_beside[m], _mm512_setzero_ps());
#pragma GCC unroll 16
    for (int m = 0; m < 16; m++)
        acc[m] = _mm512_setzero_ps();
    if (!r->ready) {
        UNPACK(0);
        if (n > 1)
            UNPACK(1);
        if (n > 2)
            UNPACK(2);
        MULTIPLY(false, 0);
        if (n > 1) {
            MULTIPLY(true, 1);
        }
        PUT(false);
    }
    int g = 0;
    for (; g + 4 < n; g += 2) {
        UNPACK(g + 3);
        MULTIPLY(false, g + 2);
        PUT(true);
        COLLECT(false, g);
        UNPACK(g + 4);
        MULTIPLY(true, g + 3);
        PUT(false);
        COLLECT(true, g + 1);
    }
    const int left = n - g; /* 1 to 4; 4 when there is a next block */
    if (left > 3)
        UNPACK(g + 3);
    if (left > 1) {
        PUT(true);
    }
    if (left > 2) {
        MULTIPLY(false, g + 2);
    }
    COLLECT(false, g);
    if (next)
        unpack(type, fetch, r, t1, 0, end);
    if (left > 2) {
        PUT(false);
    }
    if (left > 3) {
        MULTIPLY(true, g + 3);
    }
    if (left > 1) {
        COLLECT(true, g + 1);
    }
    if (next)
        unpack(type, fetch, r, t1, 1, end + 1);
    if (left > 3) {
        PUT(true);
    }
    if (next) {
        multiply(false, r, *next, 0, end);
        if (with)
            multiply_beside(false, y, 0);
    }
    if (left > 2) {
        COLLECT(false, g + 2);
    }
    if (next) {
        unpack(type, fetch, r, t1, 2, end + 2);
        sg_amx_put(false, r->c[0]);
        if (with)
            put_beside(false, r);
        multiply(true, r, *next, 1, end + 1);
        if (with)
            multiply_beside(true, y, 1);
    }
    if (left > 3) {
        COLLECT(true, g + 3);
    }
    r->ready = next;
    r->slot = next ? end % RING : 0;
#pragma GCC unroll 16
    for (int m = 0; m < 16; m++)
        _mm512_store_ps(r->sums[m], acc[m]);
}

/* `rest`: where the results of the rows beside go. */
SG_INLINE void mul_batch(sg_dtype type, float *const *out, float *const *rest, const batch *b, const void *packed, int tile0, int tile1,
                         int n, int k)
{
    const sixteen *y = b->beside.n ? &b->beside : NULL;
    ring r;
    r.slot = 0;
    r.ready = false;
    for (int tile = tile0; tile < tile1; tile++) {
        sg_tile_view t = sg_tile_view_of(type, packed, tile, k), after = sg_tile_view_of(type, packed, tile + 1, k);
        float *const *to = out;
        for (int i = 0; i < b->nblock; i++) {
            bool last = i + 1 == b->nblock, more = !last || tile + 1 < tile1, with = last && y;
            sixteen x = b->block[i];
            const sixteen *next = more && k >= 4 * 32 && k % 64 == 0 ? &b->block[last ? 0 : i + 1] : NULL;
            if (i == 0 && y)
                block(type, true, true, &r, t, x, y, last ? after : t, next, with, k / 32);
            else if (i == 0)
                block(type, true, false, &r, t, x, y, last ? after : t, next, false, k / 32);
            else
                block(type, false, false, &r, t, x, y, last ? after : t, next, with, k / 32);
            for (int m = 0; m < x.n; m++)
                sg_store_tile_row(to[m], _mm512_load_ps(r.sums[m]), tile, n);
            to += x.n;
        }
        for (int m = 0; y && m < y->n; m++)
            sg_store_tile_row(rest[m], _mm512_load_ps(r.sums_beside[m]), tile, n);
    }
}

/* ---- the table ---------------------------------------------------------------------------- */

/* Rows left over that can go beside a block: at equal distances, and there is room for their numbers. */
static bool can_go_beside(const void *const *x, int n, int nmin, int k)
{
    return (n == 1 || at_equal_distances(x, n)) && 2 * (k / 32 * 16 * (1 + nmin)) <= NUMBERS;
}

#define DEFINE(name, type)                                                                                                 \
    static void name(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        const int nmin = sg_wide_kind_of(type).nmin, few = nrow % 16 < ROWS_MIN ? nrow % 16 : 0, many = nrow - few;        \
        const bool beside = few > 0 && can_go_beside(x + many, few, nmin, k);                                              \
        batch b;                                                                                                           \
        configure(beside ? few : 0);                                                                                       \
        for (int m = 0, done; m < many; m += done) {                                                                       \
            fill_beside(&b, nmin, x + many, beside && m == 0 ? few : 0, k);                                                \
            done = fill(&b, nmin, x + m, many - m, k);                                                                     \
            mul_batch(type, out + m, out + many, &b, packed, tile0, tile1, n, k);                                          \
        }                                                                                                                  \
        SG_AMX_RELEASE();                                                                                                  \
        if (few > 0 && !beside)                                                                                            \
            sg_linear_avx512_find(type, k)->mul(out + many, x + many, few, packed, tile0, tile1, n, k);                    \
    }
SG_TILE_TYPES(DEFINE)

sg_amx_some_fn *sg_amx_some_find(sg_dtype type, const void *const *x, int nrow, int k)
{
    static sg_amx_some_fn *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = name,
        SG_TILE_TYPES(ENTRY)
    };
    const int numbers = k / 32 * 16 * (1 + sg_wide_kind_of(type).nmin);
    bool fit = numbers <= NUMBERS && (k <= COLUMNS || (nrow % 16 < ROWS_MIN && at_equal_distances(x, nrow)));
    bool some = nrow >= 16 && nrow <= (sg_tile_form_of(type).fold ? FOLD_ROWS : 16 * BLOCKS + ROWS_MIN - 1);
    return fit && some && sg_wide_kind_of(type).halves == 1 ? table[type] : NULL;
}
