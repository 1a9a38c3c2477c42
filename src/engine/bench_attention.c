/* engine/bench_attention.c - `segue bench kernel --only attention`: one layer's attention over a cache.
 *
 *     queries   the last m positions of one sequence of n (m = 1: decoding, 8: guesses, 64 and 512: a prompt's chunk)
 *     value     GFLOP/s: 4 x head size for each query head, query and position that it sees
 *     gbps      bytes of the cache that the queries see, read once, over the time
 *
 * Small m reads another part of a cache of 128 MiB each time, as the layers of a model do: what is timed is memory, not
 * the second level cache.  The ceiling of a row is the lower of two: the arithmetic (bfloat16 where tiles do it), and
 * reading the cache at the machine's rate.
 */
#include "engine/bench_kernel.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 32, CACHE_BYTES = 128 << 20, QUERIES_MAX = 512, BEST_NS = 150000000 };

typedef struct shape {
    int nhead, nkv, d;
} shape;

typedef struct cache {
    sg_kv_layer kv;
    size_t bytes;
    int nblock, ncopy; /* blocks of a sequence; sequences */
    int32_t *table;    /* [ncopy][nblock] */
    float *q, *out;    /* [QUERIES_MAX][nhead * d] */
} cache;

bool sg_bench_attention_wanted(const char *only) { return !only || strncmp(only, "attention", 9) == 0; }

static void cache_fini(cache *c)
{
    if (c->kv.k)
        sg_free_aligned(c->kv.k, c->bytes);
    if (c->kv.v)
        sg_free_aligned(c->kv.v, c->bytes);
    sg_free(c->table);
    sg_free(c->q);
    sg_free(c->out);
}

/* Every position is written by the op, so that the bytes are what a model would leave there. */
static void fill(cache *c, sg_ops *ops, const shape *s, sg_rng *rng)
{
    int32_t seq[BLOCK] = {0}, pos[BLOCK], number = 0;
    const int32_t *table = &number;
    size_t width = (size_t)(s->nkv * s->d);
    for (int i = 0; i < BLOCK; i++)
        pos[i] = i;
    for (size_t i = 0; i < BLOCK * width; i++)
        c->out[i] = (float)(sg_rng_unit(rng) - 0.5);
    sg_rows rows = {BLOCK, 1, seq, pos, &table, NULL};
    for (; number < c->nblock * c->ncopy; number++)
        sg_op_kv_write(ops, &c->kv, &rows, c->out, width, c->out, width);
}

static sg_status cache_init(cache *c, sg_ops *ops, const shape *s, sg_dtype type, int n, sg_error *err)
{
    size_t row = sg_dtype_row_bytes(type, (uint64_t)s->d), width = (size_t)(s->nhead * s->d);
    sg_rng rng = {7};
    c->kv = (sg_kv_layer){.type = type, .block = BLOCK, .nkv = s->nkv, .dk = s->d, .dv = s->d, .k_row_bytes = row, .v_row_bytes = row};
    c->kv.k_block_bytes = c->kv.v_block_bytes = row * (size_t)(s->nkv * BLOCK);
    c->nblock = (n + BLOCK - 1) / BLOCK;
    c->ncopy = (int)((size_t)CACHE_BYTES / (2 * c->kv.k_block_bytes * (size_t)c->nblock)) + 1;
    c->bytes = c->kv.k_block_bytes * (size_t)(c->nblock * c->ncopy);
    c->kv.k = sg_alloc_aligned(64, c->bytes);
    c->kv.v = sg_alloc_aligned(64, c->bytes);
    c->table = sg_calloc((size_t)(c->nblock * c->ncopy), sizeof *c->table);
    c->q = sg_alloc(QUERIES_MAX * width * sizeof *c->q);
    c->out = sg_alloc(QUERIES_MAX * width * sizeof *c->out);
    if (!c->kv.k || !c->kv.v || !c->table || !c->q || !c->out)
        return sg_fail_nomem(err, "a cache for attention");
    for (int i = 0; i < c->nblock * c->ncopy; i++)
        c->table[i] = i;
    for (size_t i = 0; i < QUERIES_MAX * width; i++)
        c->q[i] = (float)(sg_rng_unit(&rng) * 2 - 1);
    fill(c, ops, s, &rng);
    return SG_OK;
}

/* The shortest time of m queries at the end of n positions. */
static int64_t best_ns(cache *c, sg_ops *ops, const shape *s, int m, int n)
{
    int32_t seq[QUERIES_MAX] = {0}, pos[QUERIES_MAX], len = n;
    sg_attention a = {.nhead = s->nhead, .scale = 1 / sqrtf((float)s->d), .causal = true};
    size_t width = (size_t)(s->nhead * s->d);
    for (int i = 0; i < m; i++)
        pos[i] = n - m + i;
    int64_t best = INT64_MAX, end = sg_clock_ns() + BEST_NS;
    for (int turn = 0; turn < 3 || sg_clock_ns() < end; turn++) {
        const int32_t *table = c->table + (size_t)(turn % c->ncopy) * (size_t)c->nblock;
        sg_rows rows = {m, 1, seq, pos, &table, &len};
        int64_t t = sg_clock_ns();
        sg_op_attention(ops, c->out, width, c->q, width, &a, &c->kv, &rows);
        t = sg_clock_ns() - t;
        best = t < best ? t : best;
    }
    return best > 0 ? best : 1;
}

static sg_status time_one(json_t *results, cache *c, sg_ops *ops, const sg_bench_ceiling *top, const shape *s, int m, int n, sg_error *err)
{
    double ns = (double)best_ns(c, ops, s, m, n);
    double seen = (double)m * n - (double)m * (m - 1) / 2, flop = 4.0 * s->nhead * s->d * seen;
    double bytes = 2.0 * n * s->nkv * (double)c->kv.k_row_bytes;
    double arithmetic = sg_ops_isa(ops) == SG_ISA_AMX && c->kv.type != SG_F32 ? top->bf16 : top->fp32, reading = flop / bytes * top->read;
    double ceiling = reading < arithmetic && reading > 0 ? reading : arithmetic;
    json_t *row = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:s, s:f, s:f}", "kernel", "attention", "isa",
                            sg_isa_name(sg_ops_isa(ops)), "type", sg_dtype_name(c->kv.type), "m", m, "n", n, "k", s->d, "heads", s->nhead,
                            "kv_heads", s->nkv, "value", flop / ns, "unit", "GFLOP/s", "gbps", bytes / ns, "fraction_of_ceiling",
                            ceiling > 0 ? flop / ns / ceiling : 0.0);
    return row && json_array_append_new(results, row) == 0 ? SG_OK : sg_fail_nomem(err, "the results");
}

sg_status sg_bench_attention(json_t *results, sg_ops *ops, const sg_bench_ceiling *top, const char *only, sg_error *err)
{
    static const shape shapes[] = {{32, 8, 64}, {16, 8, 128}};
    static const int lengths[] = {2048, 8192}, queries[] = {1, 8, 64, 512};
    static const sg_dtype types[] = {SG_F16, SG_BF16, SG_Q8_0};
    bool found = false;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        char name[32];
        snprintf(name, sizeof name, "attention_%s", sg_dtype_name(types[t]));
        if (only && strcmp(only, "attention") != 0 && strcmp(only, name) != 0)
            continue;
        found = true;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                cache c = {0};
                sg_status st = cache_init(&c, ops, &shapes[i], types[t], lengths[l], err);
                for (size_t q = 0; q < sizeof queries / sizeof *queries && st == SG_OK; q++)
                    st = time_one(results, &c, ops, top, &shapes[i], queries[q], lengths[l], err);
                cache_fini(&c);
                SG_TRY(st);
            }
    }
    if (!found)
        return sg_fail(err, SG_E_ARGUMENT, "no kernel is called '%s'; names: attention, attention_f16, attention_bf16, attention_q8_0",
                       only);
    return SG_OK;
}
