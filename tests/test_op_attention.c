/* Attention over paged KV: every table against a double-precision reference, and the same bits for a
 * row alone, in a batch, and whatever the tiles. */
#include "tap.h"

#include "kernel/attention.h"
#include "op/op.h"

#include <stdlib.h>

enum { NSEQ = 3, MAXPOS = 300 };

typedef struct setup {
    sg_kv_layer kv;
    sg_attention a;
    int32_t table[NSEQ][MAXPOS];
    const int32_t *tables[NSEQ];
    int32_t len[NSEQ];
    float *q, *k, *v, *out; /* rows of all sequences, one after another */
    int32_t seq[NSEQ * MAXPOS], pos[NSEQ * MAXPOS];
    int nrow;
    float sinks[64], alibi[64];
    size_t kbytes, vbytes;
} setup;

static float *noise(size_t n, sg_rng *r)
{
    float *x = sg_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(sg_rng_unit(r) * 4 - 2);
    return x;
}

static void setup_init(setup *t, sg_rng *r, sg_dtype type, int block, int nkv, int group, int dk, int dv, bool alias)
{
    memset(t, 0, sizeof *t);
    t->kv = (sg_kv_layer){.type = type, .block = block, .nkv = nkv, .dk = dk, .dv = dv};
    t->kv.k_row_bytes = sg_dtype_row_bytes(type, (uint64_t)dk);
    t->kv.v_row_bytes = alias ? t->kv.k_row_bytes : sg_dtype_row_bytes(type, (uint64_t)dv);
    t->kv.k_block_bytes = (size_t)nkv * (size_t)block * t->kv.k_row_bytes;
    t->kv.v_block_bytes = (size_t)nkv * (size_t)block * t->kv.v_row_bytes;
    int nblock = NSEQ * MAXPOS / block + NSEQ + 1, next = nblock;
    t->kbytes = (size_t)nblock * t->kv.k_block_bytes;
    t->vbytes = alias ? 0 : (size_t)nblock * t->kv.v_block_bytes;
    t->kv.k = sg_alloc_aligned(64, t->kbytes);
    t->kv.v = alias ? t->kv.k : sg_alloc_aligned(64, t->vbytes);
    for (int s = 0; s < NSEQ; s++) {
        t->len[s] = 1 + (int32_t)sg_rng_below(r, MAXPOS - 1);
        t->tables[s] = t->table[s];
        for (int b = 0; b <= t->len[s] / block; b++)
            t->table[s][b] = --next;
        for (int p = 0; p < t->len[s]; p++) {
            t->seq[t->nrow] = s;
            t->pos[t->nrow++] = p;
        }
    }
    t->a = (sg_attention){.nhead = nkv * group, .scale = 0.3f, .causal = true};
    t->q = noise((size_t)(t->nrow * t->a.nhead * dk), r);
    t->k = noise((size_t)(t->nrow * nkv * dk), r);
    t->v = noise((size_t)(t->nrow * nkv * dv), r);
    t->out = sg_calloc((size_t)(t->nrow * t->a.nhead * dv), sizeof(float));
    for (int h = 0; h < 64; h++) {
        t->sinks[h] = (float)(sg_rng_unit(r) * 2);
        t->alibi[h] = 0.01f * (float)(h + 1);
    }
}

static void setup_fini(setup *t)
{
    if (t->kv.v != t->kv.k)
        sg_free_aligned(t->kv.v, t->vbytes);
    sg_free_aligned(t->kv.k, t->kbytes);
    sg_free(t->q);
    sg_free(t->k);
    sg_free(t->v);
    sg_free(t->out);
}

/* x as it comes back from the cache. */
static void through_cache(sg_dtype type, float *x, int n)
{
    unsigned char row[4096];
    sg_attention_kernel_c.store_row(type, row, x, n);
    sg_attention_kernel_c.load_v(type, x, 0, row, row, 0, 1, n);
}

static void reference(const setup *t, const float *k, const float *v, int vstride, int r, int h, double *out)
{
    int dk = t->kv.dk, dv = t->kv.dv, kvh = h / (t->a.nhead / t->kv.nkv), s = t->seq[r], start = r - t->pos[r], w = t->a.window;
    double p[MAXPOS], most = t->a.sinks ? (double)t->a.sinks[h] : -1e300, sum = 0;
    int lo = 0, hi = t->a.causal ? t->pos[r] + 1 : t->len[s];
    if (w && t->a.causal && t->pos[r] - w + 1 > 0)
        lo = t->pos[r] - w + 1;
    if (w && !t->a.causal) {
        lo = t->pos[r] - w / 2 > 0 ? t->pos[r] - w / 2 : 0;
        hi = t->pos[r] + w / 2 + 1 < hi ? t->pos[r] + w / 2 + 1 : hi;
    }
    for (int j = lo; j < hi; j++) {
        double x = 0;
        for (int d = 0; d < dk; d++)
            x += (double)t->q[(r * t->a.nhead + h) * dk + d] * (double)k[((start + j) * t->kv.nkv + kvh) * dk + d];
        x *= (double)t->a.scale;
        if (t->a.softcap > 0)
            x = (double)t->a.softcap * tanh(x / (double)t->a.softcap);
        if (t->a.alibi)
            x += (double)t->a.alibi[h] * j;
        p[j] = x;
        most = fmax(most, x);
    }
    for (int j = lo; j < hi; j++)
        sum += p[j] = exp(p[j] - most);
    if (t->a.sinks)
        sum += exp((double)t->a.sinks[h] - most);
    for (int d = 0; d < dv; d++) {
        out[d] = 0;
        for (int j = lo; j < hi; j++)
            out[d] += p[j] / sum * (double)v[((start + j) * t->kv.nkv + kvh) * vstride + d];
    }
}

/* Run as one batch, compare with the reference, then again row by row and in odd pieces: equal bits. */
static void examine(setup *t, sg_ops *ops, sg_isa isa, sg_rng *r)
{
    int dk = t->kv.dk, dv = t->kv.dv, nkv = t->kv.nkv, nhead = t->a.nhead;
    bool alias = t->kv.v == t->kv.k;
    sg_rows all = {t->nrow, NSEQ, t->seq, t->pos, t->tables, t->len};
    sg_op_kv_write(ops, &t->kv, &all, t->k, (size_t)(nkv * dk), alias ? NULL : t->v, (size_t)(nkv * dv));
    sg_op_attention(ops, t->out, (size_t)(nhead * dv), t->q, (size_t)(nhead * dk), &t->a, &t->kv, &all);
    for (int i = 0; i < t->nrow * nkv; i++) {
        through_cache(t->kv.type, t->k + (size_t)i * (size_t)dk, dk);
        through_cache(t->kv.type, t->v + (size_t)i * (size_t)dv, dv);
    }
    double near = isa != SG_ISA_AMX ? 2e-5 : t->kv.type == SG_Q8_0 ? 1e-2 : 1e-4; /* bfloat16 probabilities: one term, two */
    for (int i = 0; i < 60; i++) {
        int row = (int)sg_rng_below(r, (uint64_t)t->nrow), h = (int)sg_rng_below(r, (uint64_t)nhead);
        double want[1024];
        reference(t, t->k, alias ? t->k : t->v, alias ? dk : dv, row, h, want);
        for (int d = 0; d < dv; d++)
            CHECK_NEAR(t->out[(row * nhead + h) * dv + d], want[d], near);
    }
    float *again = sg_calloc((size_t)(t->nrow * nhead * dv), sizeof *again);
    for (int i = 0; i < t->nrow;) {
        int n = 1 + (int)sg_rng_below(r, sg_rng_below(r, 3) ? 3 : 40);
        n = n < t->nrow - i ? n : t->nrow - i;
        sg_rows some = {n, NSEQ, t->seq + i, t->pos + i, t->tables, t->len};
        sg_op_attention(ops, again + (size_t)(i * nhead * dv), (size_t)(nhead * dv), t->q + (size_t)(i * nhead * dk), (size_t)(nhead * dk),
                        &t->a, &t->kv, &some);
        i += n;
    }
    bool same = memcmp(again, t->out, (size_t)(t->nrow * nhead * dv) * sizeof *again) == 0;
    sg_free(again);
    CHECK(same);
}

static void all_forms(sg_isa isa)
{
    static const sg_dtype types[] = {SG_F32, SG_F16, SG_BF16, SG_Q8_0};
    sg_error err;
    sg_ops *ops;
    sg_rng *r = tap_rng();
    CHECK_OK(sg_ops_open(&ops, &(sg_ops_options){.nthread = 2, .isa = isa}, &err));
    CHECK_OK(sg_ops_reserve(ops, NSEQ * MAXPOS, 4096, &err));
    for (int i = 0; i < 40 && !tap_failed(); i++) {
        setup *t = sg_alloc(sizeof *t);
        sg_dtype type = types[i % 4];
        int dk = type == SG_Q8_0 ? 32 * (1 + (int)sg_rng_below(r, 3)) : 8 * (1 + (int)sg_rng_below(r, 20));
        int dv = type == SG_Q8_0 || sg_rng_below(r, 2) ? dk : 8 * (1 + (int)sg_rng_below(r, 20));
        bool alias = i % 5 == 4 && dv <= dk;
        setup_init(t, r, type, sg_rng_below(r, 3) ? 16 : (int)(1 + sg_rng_below(r, 40)), alias ? 1 : 1 + (int)sg_rng_below(r, 3),
                   1 + (int)sg_rng_below(r, 9), dk, dv, alias);
        t->a.window = sg_rng_below(r, 3) ? 0 : 1 + (int)sg_rng_below(r, 100);
        t->a.causal = sg_rng_below(r, 4) != 0;
        t->a.softcap = sg_rng_below(r, 3) ? 0 : 5;
        t->a.sinks = sg_rng_below(r, 3) ? NULL : t->sinks;
        t->a.alibi = sg_rng_below(r, 3) ? NULL : t->alibi;
        examine(t, ops, isa, r);
        if (tap_failed())
            tap_note("case %d: %s dk %d dv %d block %d window %d causal %d softcap %g sinks %d alibi %d", i, sg_dtype_name(type), dk, dv,
                     t->kv.block, t->a.window, t->a.causal, (double)t->a.softcap, t->a.sinks != NULL, t->a.alibi != NULL);
        setup_fini(t);
        sg_free(t);
    }
    sg_ops_close(ops);
}

static void on_table(sg_isa isa)
{
    if (!sg_isa_available(isa))
        tap_skip("this machine has no %s", sg_isa_name(isa));
    else
        all_forms(isa);
}

TEST(plain_c) { on_table(SG_ISA_C); }
TEST(avx2) { on_table(SG_ISA_AVX2); }
TEST(avx512) { on_table(SG_ISA_AVX512); }
TEST(amx) { on_table(SG_ISA_AMX); }

/* ---- long contexts and shared beginnings --------------------------------------------------- */

enum { LONG = 3300, LONG_SEQ = 20, LONG_BLOCK = 32, LONG_TABLE = LONG / LONG_BLOCK + 2 };

typedef struct long_case {
    sg_kv_layer kv;
    sg_attention a;
    int32_t table[LONG_SEQ][LONG_TABLE], seq[LONG_SEQ * 8], pos[LONG_SEQ * 8], len[LONG_SEQ];
    const int32_t *tables[LONG_SEQ];
    int nrow, nblock;
    size_t kbytes, vbytes;
    float *q, *out, *want;
} long_case;

/* A cache of which every block has its own noise; sequences begin with the same `common` blocks, in two families. */
static void long_init(long_case *t, sg_ops *ops, sg_dtype type, int nkv, int group, int d, int common)
{
    sg_rng *r = tap_rng();
    t->nblock = LONG_SEQ * LONG_TABLE;
    size_t row = sg_dtype_row_bytes(type, (uint64_t)d), block = row * (size_t)(nkv * LONG_BLOCK);
    t->kv = (sg_kv_layer){.type = type, .block = LONG_BLOCK, .nkv = nkv, .dk = d, .dv = d, .k_row_bytes = row, .v_row_bytes = row};
    t->kv.k_block_bytes = t->kv.v_block_bytes = block;
    t->kbytes = t->vbytes = (size_t)t->nblock * block;
    t->kv.k = sg_alloc_aligned(64, t->kbytes);
    t->kv.v = sg_alloc_aligned(64, t->vbytes);
    t->a = (sg_attention){.nhead = nkv * group, .scale = 0.2f, .causal = true, .window = sg_rng_below(r, 3) ? 0 : 1500};
    for (int s = 0; s < LONG_SEQ; s++) {
        t->tables[s] = t->table[s];
        t->len[s] = LONG - (int)sg_rng_below(r, 2500);
        for (int b = 0; b < LONG_TABLE; b++)
            t->table[s][b] = b < common ? s % 2 * LONG_TABLE + b : s * LONG_TABLE + b;
    }
    float *x = noise((size_t)(LONG_BLOCK * nkv * d), r);
    int32_t seq[LONG_BLOCK] = {0}, pos[LONG_BLOCK], number;
    const int32_t *one = &number;
    for (int i = 0; i < LONG_BLOCK; i++)
        pos[i] = i;
    for (number = 0; number < t->nblock; number++) { /* the noise, turned by the number of the block */
        for (int i = 0; i < 40; i++)
            x[sg_rng_below(r, (uint64_t)(LONG_BLOCK * nkv * d))] = (float)(sg_rng_unit(r) * 4 - 2);
        sg_rows rows = {LONG_BLOCK, 1, seq, pos, &one, NULL};
        sg_op_kv_write(ops, &t->kv, &rows, x, (size_t)(nkv * d), x, (size_t)(nkv * d));
    }
    sg_free(x);
    t->nrow = 0;
    for (int s = 0; s < LONG_SEQ; s++)
        for (int n = s % 5 == 4 ? 8 : 1; n > 0; n--) { /* most decode one token, some check guesses */
            t->seq[t->nrow] = s;
            t->pos[t->nrow++] = t->len[s] - n;
        }
    size_t n = (size_t)(t->nrow * nkv * group * d);
    t->q = noise(n, r);
    t->out = sg_calloc(n, sizeof *t->out);
    t->want = sg_calloc(n, sizeof *t->want);
}

static void long_fini(long_case *t)
{
    sg_free_aligned(t->kv.k, t->kbytes);
    sg_free_aligned(t->kv.v, t->vbytes);
    sg_free(t->q);
    sg_free(t->out);
    sg_free(t->want);
}

static void long_run(long_case *t, sg_ops *ops, float *out, int from, int n)
{
    size_t width = (size_t)(t->a.nhead * t->kv.dk);
    sg_rows rows = {n, LONG_SEQ, t->seq + from, t->pos + from, t->tables, t->len};
    sg_op_attention(ops, out + (size_t)from * width, width, t->q + (size_t)from * width, width, &t->a, &t->kv, &rows);
}

/* Rows alone on one thread against all rows at once on 1 to 8: cut contexts, shared prefixes, stealing. */
static void long_table(sg_isa isa)
{
    static const sg_dtype types[] = {SG_F16, SG_Q8_0, SG_BF16, SG_F32};
    sg_error err;
    if (!sg_isa_available(isa)) {
        tap_skip("this machine has no %s", sg_isa_name(isa));
        return;
    }
    static long_case t;
    for (int i = 0; i < 4 && !tap_failed(); i++) {
        sg_ops *ops;
        CHECK_OK(sg_ops_open(&ops, &(sg_ops_options){.nthread = 1, .isa = isa}, &err));
        long_init(&t, ops, types[i], 1 + i % 2, i == 1 ? 7 : 3, i == 2 ? 128 : 32, i == 3 ? 0 : 70);
        for (int r = 0; r < t.nrow; r++)
            long_run(&t, ops, t.want, r, 1);
        sg_ops_close(ops);
        for (int nthread = 1; nthread <= 8; nthread += nthread < 3 ? 1 : 5) {
            CHECK_OK(sg_ops_open(&ops, &(sg_ops_options){.nthread = nthread, .isa = isa}, &err));
            uint64_t calls = sg_heap_calls();
            for (int round = 0; round < 2; round++) {
                memset(t.out, 0, (size_t)(t.nrow * t.a.nhead * t.kv.dk) * sizeof(float));
                long_run(&t, ops, t.out, 0, t.nrow);
                CHECK(memcmp(t.out, t.want, (size_t)(t.nrow * t.a.nhead * t.kv.dk) * sizeof(float)) == 0);
            }
            CHECK_INT(sg_heap_calls(), calls);
            sg_ops_close(ops);
        }
        long_fini(&t);
    }
}

TEST(long_contexts_c) { long_table(SG_ISA_C); }
TEST(long_contexts_avx2) { long_table(SG_ISA_AVX2); }
TEST(long_contexts_avx512) { long_table(SG_ISA_AVX512); }
TEST(long_contexts_amx) { long_table(SG_ISA_AMX); }

TAP_MAIN
