/* engine/bench.c - how fast a model and the kernels run, beside what the machine can do.
 *
 *     ceilings   probes on all workers at once: float32, bfloat16 and int8 operations, reading 192 MB, reading the model's
 *                weights (bench_read.c)
 *     ppN        a prompt of N tokens at once (steps of up to CHUNK rows), logits of the last
 *     tgN        N steps of one token for each of `batch` sequences that hold `depth` tokens already
 *     profile    the same steps once more, counted by op (op/profile.h)
 *     engine     decoding through the engine beside the bare loop (bench_engine.c)
 *     mixed      rows of all kinds in one step (bench_mixed.c)
 *     kernel     one linear layer, random weights, M rows; attention (bench_attention.c)
 *
 * A run is repeated `reps` times after one that is not counted.  Token ids are pseudo-random.  The fraction of the ceiling is
 * for prompts the multiply-adds of the layers over the rate of the narrowest type that the weights reach, for
 * decoding the bytes of weights read over the rate at which the same bytes were read without anything else just before and just
 * after: a bound from one resource, so 1 cannot be reached.
 */
#include "base/clock.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/rng.h"
#include "engine/bench_kernel.h"
#include "engine/bench_engine.h"
#include "engine/bench_mixed.h"
#include "engine/bench_read.h"
#include "format/embedded.h"
#include "kernel/probe.h"
#include "kernel/quant.h"
#include "model/model.h"
#include "op/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { CHUNK = 512, BLOCK = 32, READ_BYTES = 192 << 20, BATCH_MAX = 256, PROBE_NS = 100000000 };

/* ---- ceilings ---------------------------------------------------------------- */

typedef struct probe_run {
    sg_isa isa;
    sg_probe what;
    const char *memory;
    size_t bytes; /* of each task */
    double *done; /* [ntask] */
} probe_run;

static void probe_task(void *arg, int task, int worker)
{
    const probe_run *p = arg;
    (void)worker;
    p->done[task] = sg_probe_run(p->isa, p->what, p->memory ? p->memory + (size_t)task * p->bytes : NULL, p->bytes);
}

/* The best of a few rounds, in 1e9 a second: for long enough that a pool which does with fewer workers for a moment has them all back. */
static double probe(sg_ops *ops, sg_probe what, const char *memory)
{
    double done[256] = {0}, best = 0;
    int n = sg_pool_nworker(sg_ops_pool(ops));
    probe_run p = {sg_ops_isa(ops), what, memory, READ_BYTES / (size_t)n / 1024 * 1024, done};
    for (int64_t begin = sg_clock_ns(), round = 0; round < 6 || sg_clock_ns() - begin < PROBE_NS; round++) {
        int64_t t = sg_clock_ns();
        sg_pool_run(sg_ops_pool(ops), probe_task, &p, n);
        t = sg_clock_ns() - t;
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += done[i];
        best = sum / (double)t > best ? sum / (double)t : best;
    }
    return best;
}

typedef struct ceilings {
    double fp32, bf16, int8, vnni, read;
    double weights; /* reading the model's own: the best so far; 0 without a model */
} ceilings;

static sg_status probe_all(ceilings *c, sg_ops *ops, sg_error *err)
{
    char *memory = sg_alloc_aligned(64, READ_BYTES);
    if (!memory)
        return sg_fail_nomem(err, "the memory probe");
    memset(memory, 1, READ_BYTES);
    c->fp32 = probe(ops, SG_PROBE_FP32, NULL);
    c->bf16 = probe(ops, SG_PROBE_BF16, NULL);
    c->int8 = probe(ops, SG_PROBE_INT8, NULL);
    c->vnni = probe(ops, SG_PROBE_VNNI, NULL);
    c->read = probe(ops, SG_PROBE_READ, memory);
    sg_free_aligned(memory, READ_BYTES);
    return SG_OK;
}

static double rounded(double x) { return isfinite(x) ? round(x * 10000) / 10000 : 0; }

static json_t *machine_json(sg_ops *ops, const ceilings *c)
{
    return json_pack("{s:s, s:i, s:s, s:{s:f, s:f, s:f, s:f, s:f, s:f}}", "isa", sg_isa_name(sg_ops_isa(ops)), "threads",
                     sg_pool_nworker(sg_ops_pool(ops)), "cpu", sg_cpu_name(), "ceiling", "fp32_gflops",
                     rounded(c->fp32), "bf16_gflops", rounded(c->bf16), "int8_gops", rounded(c->int8), "vnni_gops",
                     rounded(c->vnni), "read_gbps", rounded(c->read), "weights_gbps", rounded(c->weights));
}

/* ---- models --------------------------------------------------------------------- */

typedef struct bench {
    sg_ops *ops;
    sg_weights *weights;
    sg_model *model;
    const sg_model_info *info;
    sg_kv_pool *pool;
    sg_bench_reader *reader;
    ceilings ceiling;
    sg_rng rng;
    struct {
        double seconds, file, peak; /* from opening to ready; bytes */
    } load;
    int32_t *rows; /* [5][CHUNK] */
    float *logits; /* [BATCH_MAX][nvocab], as many as needed */
    int nlogits;
} bench;

static void bench_fini(bench *b)
{
    sg_bench_reader_free(b->reader);
    sg_kv_pool_close(b->pool);
    sg_model_free(b->model);
    sg_ops_close(b->ops);
    sg_weights_close(b->weights);
    sg_free(b->rows);
    sg_free(b->logits);
}

static sg_status open_ops(bench *b, const sg_bench_options *o, sg_error *err)
{
    sg_ops_options ops = {.nthread = o->threads, .exact = o->exact};
    SG_TRY(sg_isa_choose(&ops.isa, err));
    return sg_ops_open(&b->ops, &ops, err);
}

/* The most memory that this process has had. */
static double peak_bytes(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss * 1024 : 0;
}

static sg_status open_model(bench *b, const sg_bench_options *o, sg_error *err)
{
    int64_t t = sg_clock_us();
    SG_TRY(o->model ? sg_weights_open(&b->weights, o->model, err)
                    : sg_weights_open_memory(&b->weights, sg_default_model, sg_default_model_bytes(), "the embedded default", err));
    SG_TRY(sg_model_load(&b->model, b->weights, b->ops, err));
    b->load.seconds = (double)(sg_clock_us() - t) / 1e6;
    b->load.file = (double)sg_weights_file_bytes(b->weights);
    b->load.peak = peak_bytes();
    b->info = sg_model_info_of(b->model);
    if (b->info->kind != SG_MODEL_DECODER)
        return sg_fail(err, SG_E_UNSUPPORTED, "%s is an encoder: it has no prompt and no next token", b->info->architecture);
    sg_dtype type = b->info->kv_type;
    if (o->kv_type && (!sg_dtype_parse(o->kv_type, &type) || !sg_kv_block_bytes(b->info->kv, b->info->nlayer, type, BLOCK)))
        return sg_fail(err, SG_E_ARGUMENT,
                       "KV type '%s': f32, f16, bf16 and q8_0 (head sizes that are multiples of 32) are possible",
                       o->kv_type);
    int batch = 1;
    for (int i = 0; i < o->nbatch; i++)
        batch = o->batch[i] > batch ? o->batch[i] : batch;
    int64_t per = sg_kv_blocks_for(o->depth + o->generate + 1, BLOCK), prompt = sg_kv_blocks_for(o->depth + o->prompt + 1, BLOCK);
    int64_t need = per * batch > prompt ? per * batch : prompt;
    if (need > SG_KV_BLOCKS_MAX)
        return sg_fail(err, SG_E_LIMIT, "%lld blocks of keys and values: too many", (long long)need);
    SG_TRY(sg_kv_pool_open(&b->pool, b->info->kv, b->info->nlayer, type, BLOCK, (int)need, err));
    b->nlogits = batch;
    b->rows = sg_calloc(5 * CHUNK, sizeof *b->rows);
    b->logits = sg_calloc((size_t)batch * (size_t)b->info->nvocab, sizeof *b->logits);
    if (!b->rows || !b->logits)
        return sg_fail_nomem(err, "the logits");
    return sg_model_reserve(b->model, CHUNK, batch, err);
}

/* One step: n random tokens at the end of each of nseq sequences (n 1, or nseq 1). */
static sg_status step(bench *b, sg_kv_seq *const *seqs, int nseq, int n, bool logits, sg_error *err)
{
    int32_t *id = b->rows, *pos = id + CHUNK, *seq = pos + CHUNK, *out = seq + CHUNK;
    int nrow = 0;
    for (int s = 0; s < nseq; s++) {
        SG_TRY(sg_kv_seq_extend(seqs[s], n, err));
        for (int i = 0; i < n; i++, nrow++) {
            id[nrow] = (int32_t)sg_rng_below(&b->rng, (uint64_t)b->info->nvocab);
            pos[nrow] = seqs[s]->len - n + i;
            seq[nrow] = s;
        }
        out[s] = nrow - 1;
    }
    sg_batch batch = {.nrow = nrow,
                      .id = id,
                      .pos = pos,
                      .seq = seq,
                      .nseq = nseq,
                      .seqs = seqs,
                      .nout = logits ? nseq : 0,
                      .out = out,
                      .logits = b->logits,
                      .drawn = true};
    return sg_model_step(b->model, b->pool, &batch, err);
}

static sg_status prompt(bench *b, sg_kv_seq *const *seq, int n, bool logits, sg_error *err)
{
    for (int at = 0; at < n; at += CHUNK)
        SG_TRY(step(b, seq, 1, n - at < CHUNK ? n - at : CHUNK, logits && at + CHUNK >= n, err));
    return SG_OK;
}

/* One timed run: a prompt of `n` tokens (decode false) or n steps of `batch` sequences, all at `depth`.  Microseconds; counted in a
 * profile when there is one. */
static sg_status time_run(bench *b, bool decode, int n, int batch, int depth, int64_t *us, sg_profile *profile, sg_error *err)
{
    sg_kv_seq *seqs[BATCH_MAX] = {0};
    sg_status st = SG_OK;
    for (int s = 0; s < batch && st == SG_OK; s++) {
        st = sg_kv_seq_new(&seqs[s], b->pool, depth + n + 1, err);
        if (st == SG_OK && depth)
            st = prompt(b, &seqs[s], depth, false, err);
    }
    sg_ops_profile(b->ops, profile);
    int64_t t = sg_clock_us();
    if (st == SG_OK && !decode)
        st = prompt(b, seqs, n, true, err);
    for (int i = 0; decode && i < n && st == SG_OK; i++)
        st = step(b, seqs, batch, 1, true, err);
    *us = sg_clock_us() - t;
    sg_ops_profile(b->ops, NULL);
    for (int s = 0; s < batch; s++)
        sg_kv_seq_free(seqs[s]);
    return st;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The part of the int8, bfloat16 or float32 ceiling that a prompt's rate of tokens uses. */
static double prompt_fraction(const bench *b, double tps)
{
    double bytes = (double)b->info->packed_bytes, embedding = (double)b->info->nvocab * b->info->dim;
    double weights = (double)b->info->parameters - embedding, width = bytes / (double)b->info->parameters;
    return 2 * weights * tps / 1e9 / (width < 1.7 ? b->ceiling.int8 : width < 3 ? b->ceiling.bf16 : b->ceiling.fp32);
}

/* The parts of what was read just before and after (`gbps`), and of what the probe of 192 MB reads, that decoding uses, and of what
 * VNNI (or the table's own int8 instructions) multiplies.  With experts and several sequences more is read than for one: a lower bound. */
static bool add_reading(const bench *b, json_t *row, double gbps, double steps, int batch)
{
    double used = steps * (double)sg_bench_reader_bytes(b->reader) / 1e9;
    double gops = 2 * steps * batch * sg_bench_reader_values(b->reader) / 1e9;
    return json_object_set_new(row, "weights_gbps", json_real(rounded(gbps))) == 0 &&
           json_object_set_new(row, "fraction_of_ceiling", json_real(rounded(used / gbps))) == 0 &&
           json_object_set_new(row, "fraction_of_read", json_real(rounded(used / b->ceiling.read))) == 0 &&
           json_object_set_new(row, "fraction_of_vnni", json_real(rounded(gops / b->ceiling.vnni))) == 0;
}

static sg_status run_test(bench *b, json_t *results, bool decode, int n, int batch, const sg_bench_options *o, sg_error *err)
{
    double tps[64];
    int reps = o->reps < 1 ? 1 : o->reps > 64 ? 64 : o->reps;
    double before = decode ? sg_bench_reader_run(b->reader) : 0, after;
    for (int r = -1; r < reps; r++) {
        int64_t us;
        SG_TRY(time_run(b, decode, r < 0 && decode && n > 8 ? 8 : n, batch, o->depth, &us, NULL, err));
        if (r >= 0)
            tps[r] = (double)n * batch * 1e6 / (double)(us > 0 ? us : 1);
    }
    after = decode ? sg_bench_reader_run(b->reader) : 0;
    after = after > before ? after : before;
    b->ceiling.weights = after > b->ceiling.weights ? after : b->ceiling.weights;
    qsort(tps, (size_t)reps, sizeof *tps, compare);
    double median = reps % 2 ? tps[reps / 2] : (tps[reps / 2 - 1] + tps[reps / 2]) / 2;
    char name[32];
    snprintf(name, sizeof name, "%s%d", decode ? "tg" : "pp", n);
    json_t *row = json_pack("{s:s, s:i, s:i, s:{s:f, s:f, s:f}, s:f}", "test", name, "batch", batch, "depth", o->depth, "tps", "min",
                            rounded(tps[0]), "median", rounded(median), "max", rounded(tps[reps - 1]), "fraction_of_ceiling",
                            decode ? 0.0 : rounded(prompt_fraction(b, tps[reps - 1])));
    bool ok = row && (!decode || add_reading(b, row, after, tps[reps - 1] / batch, batch)) && json_array_append(results, row) == 0;
    json_decref(row);
    return ok ? SG_OK : sg_fail_nomem(err, "the results");
}

/* Rows in the order of their first calls: microseconds of a step, the share of the workers' time that was work, and how fast weights
 * were read. */
static json_t *profile_json(const sg_profile *p, int nstep, int nworker, double step_us)
{
    json_t *rows = json_array();
    double between = step_us;
    for (int i = 0; i < p->nrow && rows; i++) {
        const sg_profile_row *r = &p->row[i];
        double wall = r->wall_ns > 0 ? (double)r->wall_ns : 1, us = wall / nstep / 1e3;
        between -= us;
        json_t *row = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "op", r->name, "calls", (double)r->calls / nstep, "us", rounded(us),
                                "share", rounded(us / step_us), "busy", rounded((double)r->busy_ns / nworker / wall), "gbps",
                                rounded((double)r->bytes / wall));
        if (!row || json_array_append_new(rows, row) != 0) {
            json_decref(rows);
            return NULL;
        }
    }
    json_t *row = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "op", "between", "calls", 1.0, "us", rounded(between), "share",
                            rounded(between / step_us), "busy", 1.0 / nworker, "gbps", 0.0);
    if (rows && row && json_array_append(rows, row) != 0) {
        json_decref(rows);
        rows = NULL;
    }
    json_decref(row);
    return rows;
}

/* The steps of a test, counted by op: n decode steps, or `reps` prompts of n tokens.  The clock is read some hundred times more in a step
 * than without: its length is given. */
static sg_status run_profile(bench *b, json_t *results, bool decode, int n, int batch, const sg_bench_options *o, sg_error *err)
{
    sg_profile profile = {0};
    int64_t us = 0, sum = 0;
    int runs = decode ? 1 : o->reps < 1 ? 1 : o->reps, nstep = decode ? n : runs;
    char name[32];
    for (int r = 0; r < runs; r++) {
        SG_TRY(time_run(b, decode, n, batch, o->depth, &us, &profile, err));
        sum += us;
    }
    snprintf(name, sizeof name, decode ? "profile%d" : "profile-pp%d", n);
    double step_us = (double)(sum > 0 ? sum : 1) / nstep;
    json_t *rows = profile_json(&profile, nstep, sg_pool_nworker(sg_ops_pool(b->ops)), step_us);
    json_t *row = rows ? json_pack("{s:s, s:i, s:i, s:f, s:o}", "test", name, "batch", batch, "depth", o->depth, "step_us",
                                   rounded(step_us), "ops", rows) : NULL;
    return row && json_array_append_new(results, row) == 0 ? SG_OK : sg_fail_nomem(err, "the results");
}

static sg_status run_model(bench *b, json_t *results, const sg_bench_options *o, sg_error *err)
{
    SG_TRY(open_model(b, o, err)); /* before the probes, whose memory would hide its peak */
    SG_TRY(probe_all(&b->ceiling, b->ops, err));
    SG_TRY(sg_bench_reader_new(&b->reader, b->model, b->ops, err));
    if (o->prompt)
        SG_TRY(run_test(b, results, false, o->prompt, 1, o, err));
    for (int i = 0; o->generate && i < o->nbatch; i++)
        SG_TRY(run_test(b, results, true, o->generate, o->batch[i], o, err));
    if (o->profile && o->prompt)
        SG_TRY(run_profile(b, results, false, o->prompt, 1, o, err));
    for (int i = 0; o->profile && o->generate && i < o->nbatch; i++)
        SG_TRY(run_profile(b, results, true, o->generate, o->batch[i], o, err));
    if (o->mixed)
        SG_TRY(sg_bench_mixed(b->model, sg_kv_pool_type(b->pool), BLOCK, o->reps, results, err));
    return o->engine ? sg_bench_engine(results, o, err) : SG_OK;
}

/* ---- kernels ------------------------------------------------------------------------- */

/* Weights of random blocks: any bytes are a weight, but for the scales, so values are encoded row by row. */
static sg_status make_linear(bench *b, sg_linear *w, void **stored, sg_dtype type, int n, int k, sg_error *err)
{
    size_t row = sg_dtype_row_bytes(type, (uint64_t)k);
    float *value = sg_alloc((size_t)k * sizeof *value);
    unsigned char *bytes = sg_alloc(row * (size_t)n);
    *stored = bytes;
    if (!value || !bytes) {
        sg_free(value);
        return sg_fail_nomem(err, "a weight");
    }
    for (int j = 0; j < n; j++) {
        if (j < 16) {
            for (int i = 0; i < k; i++)
                value[i] = (float)(sg_rng_unit(&b->rng) - 0.5);
            sg_quant_encode(type, bytes + (size_t)j * row, value, 1, (size_t)k, NULL);
        } else {
            memcpy(bytes + (size_t)j * row, bytes + (size_t)(j % 16) * row, row);
        }
    }
    sg_free(value);
    return sg_linear_init(w, b->ops, type, n, k, bytes, NULL, err);
}

/* A row of results.  The ceiling is the lower of what the table multiplies and what reading the weights leaves of it. */
static sg_status add_linear(const bench *b, json_t *results, const sg_linear *w, int m, double gops, sg_error *err)
{
    const ceilings *c = &b->ceiling;
    sg_act act = w->kernel ? w->kernel->act : SG_ACT_F32;
    double work = 2.0 * m * w->n * w->k, reading = w->packed_bytes ? work / ((double)w->packed_bytes / c->read) : 0; /* GOP/s */
    double top = act == SG_ACT_Q8 ? c->int8 : act == SG_ACT_BF16 ? c->bf16 : c->fp32;
    json_t *row = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:s, s:f}", "kernel", "linear", "isa", sg_isa_name(sg_ops_isa(b->ops)),
                            "type", sg_dtype_name(w->type), "m", m, "n", w->n, "k", w->k, "value", rounded(gops), "unit", "GOP/s",
                            "fraction_of_ceiling", rounded(gops / (reading > 0 && reading < top ? reading : top)));
    bool ok = row && json_object_set_new(row, "fraction_of_multiplying", json_real(rounded(gops / top))) == 0;
    if (ok && act == SG_ACT_Q8)
        ok = json_object_set_new(row, "fraction_of_vnni", json_real(rounded(gops / c->vnni))) == 0;
    if (ok && reading > 0)
        ok = json_object_set_new(row, "fraction_of_reading", json_real(rounded(gops / reading))) == 0;
    if (ok && json_array_append(results, row) == 0) {
        json_decref(row);
        return SG_OK;
    }
    json_decref(row);
    return sg_fail_nomem(err, "the results");
}

static sg_status time_linear(bench *b, json_t *results, const sg_linear *w, int m, sg_error *err)
{
    float *x = sg_alloc((size_t)m * (size_t)w->k * sizeof *x), *out = sg_alloc((size_t)m * (size_t)w->n * sizeof *out);
    sg_status st = x && out ? sg_ops_reserve(b->ops, m, w->k > w->n ? w->k : w->n, err) : sg_fail_nomem(err, "activations");
    if (st == SG_OK) {
        for (size_t i = 0; i < (size_t)m * (size_t)w->k; i++)
            x[i] = (float)(sg_rng_unit(&b->rng) - 0.5);
        sg_linear_job job = {w, out, (size_t)w->n, false};
        int64_t best = INT64_MAX, end = sg_clock_ns() + 200000000;
        do {
            int64_t t = sg_clock_ns();
            sg_op_linear(b->ops, x, (size_t)w->k, m, &job, 1);
            t = sg_clock_ns() - t;
            best = t < best ? t : best;
        } while (sg_clock_ns() < end);
        st = add_linear(b, results, w, m, 2.0 * m * w->n * w->k / (double)best, err);
    }
    sg_free(x);
    sg_free(out);
    return st;
}

static sg_status run_kernels(bench *b, json_t *results, const sg_bench_options *o, sg_error *err)
{
    static const sg_dtype types[] = {SG_F32,  SG_F16,  SG_BF16, SG_Q4_0, SG_Q4_1, SG_Q5_0,   SG_Q5_1,   SG_Q8_0,
                                     SG_Q2_K, SG_Q3_K, SG_Q4_K, SG_Q5_K, SG_Q6_K, SG_IQ4_NL, SG_IQ4_XS, SG_MXFP4};
    static const int rows[] = {1, 2, 3, 4, 6, 8, 12, 16, 17, 24, 32, 33, 48, 64, 65, 100, 128, 129, 256};
    int n = o->n ? o->n : 4096, k = o->k ? o->k : 4096;
    bool found = false;
    SG_TRY(probe_all(&b->ceiling, b->ops, err));
    if (sg_bench_attention_wanted(o->only) && !o->n) {
        sg_bench_ceiling top = {b->ceiling.fp32, b->ceiling.bf16, b->ceiling.int8, b->ceiling.read};
        SG_TRY(sg_bench_attention(results, b->ops, &top, o->only, err));
        if (o->only)
            return SG_OK;
    }
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        char name[32];
        snprintf(name, sizeof name, "linear_%s", sg_dtype_name(types[t]));
        if (o->only && strcmp(o->only, "linear") != 0 && strcmp(o->only, sg_dtype_name(types[t])) != 0 && strcmp(o->only, name) != 0)
            continue;
        found = true;
        if ((uint32_t)k % sg_dtype_of(types[t])->block)
            continue;
        sg_linear w = {0};
        void *stored = NULL;
        sg_status st = make_linear(b, &w, &stored, types[t], n, k, err);
        for (size_t i = 0; i < sizeof rows / sizeof *rows && st == SG_OK; i++)
            if (!o->m || i == 0)
                st = time_linear(b, results, &w, o->m ? o->m : rows[i], err);
        sg_linear_fini(&w);
        sg_free(stored);
        SG_TRY(st);
    }
    return found ? SG_OK : sg_fail(err, SG_E_ARGUMENT, "no kernel is called '%s'; names: linear, attention, or a type such as q4_0",
                                   o->only);
}

/* ---- entry ------------------------------------------------------------------------------ */

static sg_status check(const sg_bench_options *o, sg_error *err)
{
    if (o->prompt < 0 || o->generate < 0 || o->depth < 0 || o->prompt > 1 << 24 || o->generate > 1 << 24 || o->depth > 1 << 24)
        return sg_fail(err, SG_E_ARGUMENT, "lengths are from 0 to %d", 1 << 24);
    if (o->m < 0 || o->n < 0 || o->k < 0 || o->m > 1 << 16 || o->n > 1 << 20 || o->k > 1 << 20)
        return sg_fail(err, SG_E_ARGUMENT, "a shape has at most 65536 rows and 1048576 columns");
    int longest = o->prompt > o->generate ? o->prompt : o->generate;
    if (!o->kernels && o->ctx > 0 && o->depth + longest > o->ctx)
        return sg_fail(err, SG_E_LIMIT, "a test of %d tokens: the context is to have %d", o->depth + longest, o->ctx);
    for (int i = 0; i < o->nbatch; i++)
        if (o->batch[i] < 1 || o->batch[i] > BATCH_MAX)
            return sg_fail(err, SG_E_ARGUMENT, "a batch has from 1 to %d sequences", BATCH_MAX);
    return SG_OK;
}

sg_status sg_bench_json(char **out, const sg_bench_options *o, sg_error *err)
{
    bench b = {.rng = {o->seed ? o->seed : 1}};
    json_t *root = NULL, *results = NULL;
    SG_TRY(check(o, err));
    if (o->memory_bytes)
        sg_heap_cap(o->memory_bytes);
    sg_json_init();
    results = json_array();
    sg_status st = results ? open_ops(&b, o, err) : sg_fail_nomem(err, "the results");
    if (st == SG_OK)
        st = o->kernels ? run_kernels(&b, results, o, err) : run_model(&b, results, o, err);
    if (st == SG_OK) {
        root = json_pack("{s:o, s:s?, s:O}", "machine", machine_json(b.ops, &b.ceiling), "model",
                         o->kernels ? NULL : o->model ? o->model : "default", "results", results);
        if (root && !o->kernels)
            json_object_set_new(root, "load", json_pack("{s:f, s:f, s:f}", "seconds", rounded(b.load.seconds), "file_bytes", b.load.file,
                                                        "peak_bytes", b.load.peak));
        char *text = root ? json_dumps(root, JSON_REAL_PRECISION(9)) : NULL;
        if (text)
            *out = text;
        else
            st = sg_fail_nomem(err, "the results");
    }
    json_decref(root);
    json_decref(results);
    bench_fini(&b);
    return st;
}
