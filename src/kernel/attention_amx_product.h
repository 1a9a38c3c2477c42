/* kernel/attention_amx_product.h - products of A and B tiles with sums in four C tiles: at once, or in quarters that the caller deals
 * out between vector instructions.  Private to the attention of the AMX table.
 *
 * Tile registers: C 0 to 3, A's two terms 4 and 5, B's two terms 6 and 7.  A row of a tile is computed from that row of A alone and
 * all 16 rows are always computed, so a query's bits do not depend on the others; and a sum takes its steps in the same order whichever
 * way is used.
 *
 * Tile instructions wait in the core's queues for one another while vector instructions pass them, if they stand close
 * together: so a step, one tile of A with four of B, comes a tile of B at a time.
 */
#ifndef SG_KERNEL_ATTENTION_AMX_PRODUCT_H
#define SG_KERNEL_ATTENTION_AMX_PRODUCT_H

#include "kernel/attention_amx.h"

/* A C tile begins as what is in memory, or at 0. */
#define BEGIN(C, at, stride, join)          \
    do {                                    \
        if (join)                           \
            SG_AMX_LOAD(C, at, stride);     \
        else                                \
            SG_AMX_ZERO(C);                 \
    } while (0)

/* A tile of B with both terms of A, then its lo with A's hi. */
#define TERMS(C, at)                                       \
    do {                                                   \
        SG_AMX_LOAD(6, b + (at), 64);                      \
        SG_AMX_DOT_BF16(C, 4, 6);                          \
        SG_AMX_DOT_BF16(C, 5, 6);                          \
        if (low) {                                         \
            SG_AMX_LOAD(7, b + (at) + TILE, 64);           \
            SG_AMX_DOT_BF16(C, 4, 7);                      \
        }                                                  \
    } while (0)

/* Tiles of A: from row to row, from hi to lo, from a step to the next. */
typedef struct a_tiles {
    const uint8_t *at;
    size_t stride, low, step;
} a_tiles;

/* Queries stand tile by tile; the probabilities of a query are its row of 256 bytes, which takes the place of its scores.  Q8_0: half
 * of the row, one term, for each 32 dimensions of values, in the place of the scores of as many dimensions of keys. */
static inline a_tiles queries_at(const void *q) { return (a_tiles){q, 64, TILE, PAIR}; }
static inline a_tiles probabilities_at(const void *p) { return (a_tiles){p, 256, 64, 128}; }

/* c [16][n * 16], rows `stride` bytes apart, = A x B over nstep steps, or that joins it; B tiles of a step lie b_step bytes from those
 * of the last. */
VEC_INLINE void product_n(float *c, size_t stride, bool join, a_tiles a, const uint8_t *b, size_t b_step, int nstep, bool low, const int n)
{
    const size_t unit = low ? PAIR : TILE;
    BEGIN(0, c, stride, join);
    if (n > 1)
        BEGIN(1, c + 16, stride, join);
    if (n > 2) {
        BEGIN(2, c + 32, stride, join);
        BEGIN(3, c + 48, stride, join);
    }
    for (int s = 0; s < nstep; s++, a.at += a.step, b += b_step) {
        SG_AMX_LOAD(4, a.at, a.stride);
        SG_AMX_LOAD(5, a.at + a.low, a.stride);
        TERMS(0, 0);
        if (n > 1)
            TERMS(1, unit);
        if (n > 2) {
            TERMS(2, 2 * unit);
            TERMS(3, 3 * unit);
        }
    }
    SG_AMX_STORE(0, c, stride);
    if (n > 1)
        SG_AMX_STORE(1, c + 16, stride);
    if (n > 2) {
        SG_AMX_STORE(2, c + 32, stride);
        SG_AMX_STORE(3, c + 48, stride);
    }
}

static inline void product(float *c, size_t stride, bool join, a_tiles a, const uint8_t *b, size_t b_step, int nstep, bool low, int n)
{
    if (n == 4)
        product_n(c, stride, join, a, b, b_step, nstep, low, 4);
    else if (n == 2)
        product_n(c, stride, join, a, b, b_step, nstep, low, 2);
    else
        product_n(c, stride, join, a, b, b_step, nstep, low, 1);
}

/* ---- in quarters ------------------------------------------------------------------------ */

typedef struct flow_step {
    a_tiles a;
    const uint8_t *b;
    float *c;      /* where the four C tiles end, 64 columns */
    size_t stride; /* bytes between its rows */
    bool join;     /* the C tiles begin as what is there */
    bool first, last; /* step of the product */
    size_t scaled; /* Q8_0 values: from B tiles of the first 32 positions to those of the others; else 0 */
} flow_step;

enum { FLOW_DIM = 256, FLOW_STEPS = FLOW_DIM / 32 * 2 };

static inline int flow_product(flow_step *to, float *c, size_t stride, bool join, a_tiles a, const uint8_t *b, size_t b_step, int nstep)
{
    for (int s = 0; s < nstep; s++, a.at += a.step, b += b_step)
        to[s] = (flow_step){a, b, c, stride, join, s == 0, s + 1 == nstep, 0};
    return nstep;
}

/* Queries q of a block with all keys; Q8_0: sums of each 32 dimensions in a slot of their own. */
static inline int flow_scores(flow_step *to, const sg_attention_chunk *c, float *s, const uint8_t *q)
{
    const size_t b_step = 4 * unit_of(c->type);
    int nstep = steps_of(c->dk);
    if (c->type != SG_Q8_0)
        return flow_product(to, s, 256, false, queries_at(q), c->k, b_step, nstep);
    for (int i = 0; i < nstep; i++)
        flow_product(to + i, s + i * SCORES, 256, false, queries_at(q + (size_t)i * PAIR), (const uint8_t *)c->k + (size_t)i * b_step, 0,
                     1);
    return nstep;
}

/* Probabilities p of the block whose sums are at acc with all values. */
static inline int flow_values(flow_step *to, const sg_attention_chunk *c, float *acc, const float *p)
{
    const size_t unit = unit_of(c->type), stride = (size_t)c->dv * sizeof(float);
    const uint8_t *v = c->v;
    int n = 0;
    for (int d = 0; d < c->dv && c->type == SG_Q8_0; d += 32, v += 2 * TILE)
        to[n++] = (flow_step){probabilities_at(p + d / 32 * SCORES), v, acc + d, stride, true, .scaled = (size_t)c->dv / 16 * TILE};
    if (c->type == SG_Q8_0)
        return n;
    for (int d = 0; d < c->dv; d += 64)
        n += flow_product(to + n, acc + d, stride, true, probabilities_at(p), v + (size_t)(d / 16) * unit, (size_t)(c->dv / 16) * unit, 2);
    return n;
}

/* Quarter q of a step of scaled probabilities, one term: 32 dimensions of values in two C tiles. */
VEC_INLINE void flow_scaled(const flow_step *s, const int q)
{
    if (q == 0) {
        SG_AMX_LOAD(0, s->c, s->stride);
        SG_AMX_LOAD(1, s->c + 16, s->stride);
        SG_AMX_LOAD(4, s->a.at, s->a.stride);
        SG_AMX_LOAD(6, s->b, 64);
        SG_AMX_DOT_BF16(0, 4, 6);
    } else if (q == 1) {
        SG_AMX_LOAD(7, s->b + TILE, 64);
        SG_AMX_DOT_BF16(1, 4, 7);
    } else if (q == 2) {
        SG_AMX_LOAD(5, s->a.at + s->a.low, s->a.stride);
        SG_AMX_LOAD(6, s->b + s->scaled, 64);
        SG_AMX_DOT_BF16(0, 5, 6);
    } else {
        SG_AMX_LOAD(7, s->b + s->scaled + TILE, 64);
        SG_AMX_DOT_BF16(1, 5, 7);
        SG_AMX_STORE(0, s->c, s->stride);
        SG_AMX_STORE(1, s->c + 16, s->stride);
    }
}

/* Quarter q of a step. */
VEC_INLINE void flow_quarter(const flow_step *s, const int q, const sg_dtype type)
{
    const bool low = type == SG_F16;
    const size_t unit = low ? PAIR : TILE;
    const uint8_t *b = s->b;
    if (type == SG_Q8_0 && s->scaled) {
        flow_scaled(s, q);
        return;
    }
    if (q == 0) {
        if (s->first) {
            BEGIN(0, s->c, s->stride, s->join);
            BEGIN(1, s->c + 16, s->stride, s->join);
            BEGIN(2, s->c + 32, s->stride, s->join);
            BEGIN(3, s->c + 48, s->stride, s->join);
        }
        SG_AMX_LOAD(4, s->a.at, s->a.stride);
        SG_AMX_LOAD(5, s->a.at + s->a.low, s->a.stride);
        TERMS(0, 0);
    } else if (q == 1) {
        TERMS(1, unit);
    } else if (q == 2) {
        TERMS(2, 2 * unit);
    } else {
        TERMS(3, 3 * unit);
        if (s->last) {
            SG_AMX_STORE(0, s->c, s->stride);
            SG_AMX_STORE(1, s->c + 16, s->stride);
            SG_AMX_STORE(2, s->c + 32, s->stride);
            SG_AMX_STORE(3, s->c + 48, s->stride);
        }
    }
}

/* All of n steps at once. */
VEC_INLINE void flow_run(const flow_step *s, int n, const sg_dtype type)
{
    for (const flow_step *end = s + n; s < end; s++) {
        flow_quarter(s, 0, type);
        flow_quarter(s, 1, type);
        flow_quarter(s, 2, type);
        flow_quarter(s, 3, type);
    }
}

/* P x V of the dimensions from d on for the block whose first sums are at acc: n tiles from v on, those of the other positions v_step
 * bytes further. */
VEC_INLINE void values_product(const sg_attention_chunk *c, const sg_dtype type, float *acc, int d, const uint8_t *v, size_t v_step, int n)
{
    const size_t stride = (size_t)c->dv * sizeof(float);
    for (int b = 0; b < n / 2 && type == SG_Q8_0; b++) {
        flow_step s = {
            probabilities_at(c->s + (d / 32 + b) * SCORES), v + (size_t)b * PAIR, acc + d + b * 32, stride, true, .scaled = v_step};
        flow_run(&s, 1, type);
    }
    if (type != SG_Q8_0)
        product(acc + d, stride, true, probabilities_at(c->s), v, v_step, 2, type == SG_F16, n);
}

#endif
