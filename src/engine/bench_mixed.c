/* engine/bench_mixed.c - what it gains that one step takes rows of every kind.
 *
 * A server's step holds chunks of prompts, one row for each decoding sequence, and rows of guesses to be checked.  Engines with a
 * kernel for each stage run three steps; here one forward pass takes them all, and the weights are read once (XY-Serve calls it
 * token-wise scheduling, and reports 1.215x for attention and 1.146x for layers over odd numbers of rows against padding).
 *
 *     together   one step: a chunk of a prompt, 8 decoding sequences, 4 sequences with 3 guesses each
 *     apart      three steps, one a stage
 *     odd rows   chunks of 1, 23, 45, ... 507 tokens, against the same chunks padded to a multiple of a tile of rows
 *
 * Best of `reps`, after one run that is not counted; sequences are cut back after each, so every run does the same work.
 */
#include "engine/bench_mixed.h"

#include "base/clock.h"
#include "base/heap.h"

#include <stdio.h>

enum { DECODE = 8, VERIFY = 4, GUESS = 4, NSEQ = 1 + DECODE + VERIFY, ROWS = 640, DEPTH = 256, CHUNK_MAX = 512 };

typedef struct stage {
    int first, nseq, rows; /* sequences, and rows of each */
} stage;

typedef struct mixed {
    sg_model *model;
    sg_kv_pool *pool;
    const sg_model_info *info;
    sg_kv_seq *seqs[NSEQ], *used[NSEQ]; /* all; those with rows in this step */
    int32_t id[ROWS], pos[ROWS], seq[ROWS], out[NSEQ * GUESS];
    float *logits; /* [NSEQ * GUESS][nvocab] */
} mixed;

/* Adds the rows of a stage to the tables: logits of a prompt's last row only, of every row that decodes or checks. */
static sg_status add_rows(mixed *m, sg_batch *b, const stage *s, sg_error *err)
{
    for (int i = s->first; i < s->first + s->nseq; i++) {
        SG_TRY(sg_kv_seq_extend(m->seqs[i], s->rows, err));
        m->used[b->nseq++] = m->seqs[i];
        for (int j = 0; j < s->rows; j++, b->nrow++) {
            m->id[b->nrow] = (int32_t)((b->nrow * 7919) % m->info->nvocab);
            m->pos[b->nrow] = DEPTH + j;
            m->seq[b->nrow] = b->nseq - 1;
            if (i > 0 || j + 1 == s->rows)
                m->out[b->nout++] = b->nrow;
        }
    }
    return SG_OK;
}

/* One step of some stages, timed; the sequences are as before when it ends.  Nanoseconds. */
static sg_status time_step(mixed *m, const stage *stages, int n, int64_t *ns, sg_error *err)
{
    sg_batch b = {.id = m->id, .pos = m->pos, .seq = m->seq, .seqs = m->used, .out = m->out, .logits = m->logits, .drawn = true};
    sg_status st = SG_OK;
    for (int i = 0; i < n && st == SG_OK; i++)
        st = add_rows(m, &b, &stages[i], err);
    int64_t t = sg_clock_ns();
    if (st == SG_OK)
        st = sg_model_step(m->model, m->pool, &b, err);
    *ns = sg_clock_ns() - t;
    for (int i = 0; i < NSEQ; i++)
        sg_kv_seq_truncate(m->seqs[i], DEPTH);
    return st;
}

static sg_status best_step(mixed *m, const stage *stages, int n, int reps, double *ms, sg_error *err)
{
    int64_t best = INT64_MAX;
    for (int r = -1; r < reps; r++) {
        int64_t ns;
        SG_TRY(time_step(m, stages, n, &ns, err));
        best = r >= 0 && ns < best ? ns : best;
    }
    *ms = (double)best / 1e6;
    return SG_OK;
}

static sg_status add_result(json_t *results, const char *name, double together, double apart, sg_error *err)
{
    json_t *row = json_pack("{s:s, s:f, s:f, s:f}", "test", name, "together_ms", together, "apart_ms", apart, "ratio", apart / together);
    return row && json_array_append_new(results, row) == 0 ? SG_OK : sg_fail_nomem(err, "the results");
}

static sg_status run_stages(mixed *m, json_t *results, int chunk, int reps, sg_error *err)
{
    stage all[3] = {{0, 1, chunk}, {1, DECODE, 1}, {1 + DECODE, VERIFY, GUESS}};
    double together, apart = 0;
    SG_TRY(best_step(m, all, 3, reps, &together, err));
    for (int i = 0; i < 3; i++) {
        double ms;
        SG_TRY(best_step(m, &all[i], 1, reps, &ms, err));
        apart += ms;
    }
    char name[48];
    snprintf(name, sizeof name, "mixed %d + %d + %dx%d", chunk, DECODE, VERIFY, GUESS);
    return add_result(results, name, together, apart, err);
}

/* Chunks of odd sizes against padded ones: the mean of the ratios, as the paper has it. */
static sg_status run_odd(mixed *m, json_t *results, int reps, sg_error *err)
{
    static const int tiles[] = {16, 32, 64, 128};
    double padded[4] = {0}, exact = 0, ratio[4] = {0};
    int n = 0;
    for (int rows = 1; rows < CHUNK_MAX; rows += 22, n++) {
        double own, ms[4];
        SG_TRY(best_step(m, &(stage){0, 1, rows}, 1, reps, &own, err));
        exact += own;
        for (int t = 0; t < 4; t++) {
            SG_TRY(best_step(m, &(stage){0, 1, (rows + tiles[t] - 1) / tiles[t] * tiles[t]}, 1, reps, &ms[t], err));
            padded[t] += ms[t];
            ratio[t] += ms[t] / own;
        }
    }
    for (int t = 0; t < 4; t++) {
        char name[48];
        snprintf(name, sizeof name, "odd rows, padded to %d", tiles[t]);
        json_t *row = json_pack("{s:s, s:f, s:f, s:f}", "test", name, "together_ms", exact / n, "apart_ms", padded[t] / n, "ratio",
                                ratio[t] / n);
        if (!row || json_array_append_new(results, row) != 0)
            return sg_fail_nomem(err, "the results");
    }
    return SG_OK;
}

/* Every sequence holds DEPTH tokens. */
static sg_status fill(mixed *m, sg_error *err)
{
    for (int i = 0; i < NSEQ; i++)
        SG_TRY(sg_kv_seq_new(&m->seqs[i], m->pool, DEPTH + CHUNK_MAX, err));
    for (int i = 0; i < NSEQ; i++) {
        SG_TRY(sg_kv_seq_extend(m->seqs[i], DEPTH, err));
        for (int j = 0; j < DEPTH; j++) {
            m->id[j] = (int32_t)((j * 104729 + i) % m->info->nvocab);
            m->pos[j] = j;
            m->seq[j] = 0;
        }
        sg_batch b = {.nrow = DEPTH, .id = m->id, .pos = m->pos, .seq = m->seq, .nseq = 1, .seqs = &m->seqs[i]};
        SG_TRY(sg_model_step(m->model, m->pool, &b, err));
    }
    return SG_OK;
}

sg_status sg_bench_mixed(sg_model *model, sg_dtype kv_type, int block, int reps, json_t *results, sg_error *err)
{
    const sg_model_info *info = sg_model_info_of(model);
    if (info->ctx < DEPTH + CHUNK_MAX)
        return sg_fail(err, SG_E_UNSUPPORTED, "a context of %d tokens is too short: the mixed test takes %d", info->ctx, DEPTH + CHUNK_MAX);
    mixed *m = sg_calloc(1, sizeof *m);
    if (!m)
        return sg_fail_nomem(err, "the mixed step");
    m->model = model, m->info = info;
    m->logits = sg_calloc(NSEQ * GUESS * (size_t)info->nvocab, sizeof *m->logits);
    sg_status st = m->logits ? SG_OK : sg_fail_nomem(err, "the logits");
    int64_t blocks = NSEQ * sg_kv_blocks_for(DEPTH + CHUNK_MAX, block);
    if (st == SG_OK)
        st = sg_kv_pool_open(&m->pool, info->kv, info->nlayer, kv_type, block, (int)blocks, err);
    if (st == SG_OK)
        st = sg_model_reserve(model, ROWS, NSEQ * GUESS, err);
    if (st == SG_OK)
        st = fill(m, err);
    static const int chunks[] = {16, 64, 256};
    for (int i = 0; i < 3 && st == SG_OK; i++)
        st = run_stages(m, results, chunks[i], reps, err);
    if (st == SG_OK)
        st = run_odd(m, results, reps, err);
    for (int i = 0; i < NSEQ; i++)
        sg_kv_seq_free(m->seqs[i]);
    sg_kv_pool_close(m->pool);
    sg_free(m->logits);
    sg_free(m);
    return st;
}
