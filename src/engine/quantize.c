/* engine/quantize.c - a model file with smaller weights.
 *
 *     open the model and the importance data
 *     plan     for each tensor its new type (quantize_types.c, --keep), all checks that can fail early
 *     write    format/gguf.h asks for rows in order; the rows of a request are shared out to the threads,
 *              each of which reads, decodes, checks and encodes one row at a time in its own scratch
 *
 * Rows are independent, so the file does not depend on the number of threads.  Memory is the writer's few
 * MiB and one row a thread, whatever the model's size.
 */
#include "engine/quantize.h"

#include "base/cpu.h"
#include "base/heap.h"
#include "base/pool.h"
#include "format/gguf.h"
#include "format/imatrix.h"
#include "format/tokenizer_meta.h"
#include "format/weights.h"
#include "kernel/quant.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <inttypes.h>
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One "REGEX=TYPE". */
typedef struct keep {
    pcre2_code *regex;
    sg_dtype type;
} keep;

typedef struct worker {
    void *stored;  /* a row as it is in the file */
    float *values; /* the same row */
    sg_status status;
    sg_error err;
    uint64_t row; /* where it failed */
} worker;

typedef struct job {
    const sg_quantize_options *options;
    sg_weights *w;
    sg_imatrix *imatrix; /* or NULL */
    sg_dict *meta;
    keep *keeps;
    pcre2_general_context *regex_memory;
    pcre2_match_context *regex_limits;
    pcre2_match_data *match;
    sg_gguf_tensor *out;  /* [n] */
    const float **weight; /* [n] importance or NULL */
    size_t n;
    unsigned *values;     /* [nvalue] */
    size_t nvalue;
    sg_pool *pool;
    worker *workers;
    uint64_t bytes_done;
    sg_quantize_report report;

    /* The request that the workers are on. */
    const sg_tensor *tensor;
    size_t index;
    uint64_t row, nrow, step;
    uint8_t *dst;
} job;

const char *sg_quantize_types(void) { return sg_mix_names(); }

/* ---- --keep --------------------------------------------------------------------------------------- */

static void *regex_alloc(size_t n, void *arg)
{
    (void)arg;
    return sg_alloc(n);
}

static void regex_free(void *p, void *arg)
{
    (void)arg;
    sg_free(p);
}

static sg_status compile_keep(job *j, keep *k, const char *text, sg_error *err)
{
    const char *equals = strrchr(text, '=');
    if (!equals || !sg_dtype_parse(equals + 1, &k->type) || !sg_quant_can_encode(k->type))
        return sg_fail(err, SG_E_ARGUMENT, "--keep '%s': must be REGEX=TYPE with a type such as q8_0", text);
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *c = pcre2_compile_context_create(j->regex_memory);
    if (!c)
        return sg_fail_nomem(err, "a regular expression");
    k->regex = pcre2_compile((PCRE2_SPTR)text, (size_t)(equals - text), 0, &code, &at, c);
    pcre2_compile_context_free(c);
    if (k->regex)
        return SG_OK;
    char why[120] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return sg_fail(err, SG_E_ARGUMENT, "--keep '%s': at character %zu: %s", text, (size_t)at, why);
}

static sg_status compile_keeps(job *j, sg_error *err)
{
    j->regex_memory = pcre2_general_context_create(regex_alloc, regex_free, NULL);
    j->regex_limits = j->regex_memory ? pcre2_match_context_create(j->regex_memory) : NULL;
    j->match = j->regex_memory ? pcre2_match_data_create(1, j->regex_memory) : NULL;
    j->keeps = sg_calloc(j->options->nkeep, sizeof *j->keeps);
    if (!j->regex_limits || !j->match || !j->keeps)
        return sg_fail_nomem(err, "regular expressions");
    pcre2_set_match_limit(j->regex_limits, 1000000);
    for (size_t i = 0; i < j->options->nkeep; i++)
        SG_TRY(compile_keep(j, &j->keeps[i], j->options->keep[i], err));
    return SG_OK;
}

/* The first rule that matches, or NULL. */
static const keep *find_keep(const job *j, const char *name)
{
    for (size_t i = 0; i < j->options->nkeep; i++)
        if (pcre2_match(j->keeps[i].regex, (PCRE2_SPTR)name, strlen(name), 0, 0, j->match, j->regex_limits) >= 0)
            return &j->keeps[i];
    return NULL;
}

/* ---- the plan ------------------------------------------------------------------------------------- */

static unsigned layer_of(const char *name)
{
    unsigned layer = 0;
    return sscanf(name, "blk.%9u.", &layer) == 1 ? layer : 0;
}

static int compare_layers(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

/* The layers that have attention values, in order: the mixes count those and not all layers. */
static sg_status list_values(job *j, sg_error *err)
{
    j->values = sg_alloc((j->n + 1) * sizeof *j->values);
    if (!j->values)
        return sg_fail_nomem(err, "the list of layers");
    for (size_t i = 0; i < j->n; i++)
        if (sg_mix_is_value(sg_weights_at(j->w, i)->name))
            j->values[j->nvalue++] = layer_of(sg_weights_at(j->w, i)->name);
    qsort(j->values, j->nvalue, sizeof *j->values, compare_layers);
    return SG_OK;
}

/* How many of them come before this tensor's. */
static uint64_t rank_of(const job *j, const char *name)
{
    size_t lo = 0, hi = j->nvalue;
    for (unsigned layer = layer_of(name); lo < hi;) {
        size_t mid = (lo + hi) / 2;
        if (j->values[mid] < layer)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static sg_status choose(job *j, const sg_mix *mix, const sg_mix_model *model, const sg_tensor *t, sg_dtype *type, sg_error *err)
{
    const keep *k = t->ndim > 1 ? find_keep(j, t->name) : NULL;
    if (k && t->ne[0] % sg_dtype_of(k->type)->block != 0)
        return sg_fail(err, SG_E_ARGUMENT, "--keep: tensor '%s' has rows of %" PRIu64 " values, no multiple of %s's %" PRIu32, t->name,
                       t->ne[0], sg_dtype_name(k->type), sg_dtype_of(k->type)->block);
    bool floats = t->type == SG_F16 || t->type == SG_BF16 || t->type == SG_F32;
    *type = t->type;
    if (k)
        *type = k->type;
    else if (t->ndim == 1 && floats)
        *type = SG_F32;
    else if (sg_mix_applies(t->name, t->ndim) && (floats || sg_dtype_of(t->type)->block > 1)) {
        bool fallback;
        *type = sg_mix_choose(mix, model, t->name, t->ne[0], t->ne[2] > 1, rank_of(j, t->name), j->nvalue, j->options->pure,
                              &fallback);
        j->report.nfallback += fallback;
    }
    if (*type != t->type && !sg_quant_can_decode(t->type))
        return sg_fail(err, SG_E_UNSUPPORTED, "tensor '%s' is %s, which is not decoded here", t->name, sg_dtype_name(t->type));
    return SG_OK;
}

static sg_status find_importance(job *j, const sg_tensor *t, const float **weight, sg_error *err)
{
    size_t n = 0;
    *weight = j->imatrix ? sg_imatrix_find(j->imatrix, t->name, &n) : NULL;
    if (!*weight)
        return SG_OK;
    if (n != t->ne[0] * t->ne[2])
        return sg_fail(err, SG_E_FORMAT, "importance entry '%s' has %zu values, the tensor %" PRIu64 " columns in %" PRIu64 " matrices",
                       t->name, n, t->ne[0], t->ne[2]);
    j->report.nimportance++;
    return SG_OK;
}

static sg_status plan(job *j, const sg_mix *mix, sg_error *err)
{
    sg_mix_model model = {.tied = !sg_weights_find(j->w, "output.weight"), .imatrix = j->imatrix != NULL};
    SG_TRY(sg_mix_model_read(&model, j->meta, err));
    j->n = sg_weights_count(j->w);
    SG_TRY(list_values(j, err));
    j->out = sg_calloc(j->n, sizeof *j->out);
    j->weight = sg_calloc(j->n, sizeof *j->weight);
    if (!j->out || !j->weight)
        return sg_fail_nomem(err, "the list of tensors");
    for (size_t i = 0; i < j->n; i++) {
        const sg_tensor *t = sg_weights_at(j->w, i);
        sg_gguf_tensor *o = &j->out[i];
        *o = (sg_gguf_tensor){.name = t->name, .ndim = t->ndim};
        memcpy(o->ne, t->ne, sizeof o->ne);
        SG_TRY(choose(j, mix, &model, t, &o->type, err));
        if (o->type != t->type)
            SG_TRY(find_importance(j, t, &j->weight[i], err));
        j->report.nquantized += o->type != t->type;
        j->report.nvalue += sg_tensor_values(t);
        j->report.bytes_in += t->bytes;
        j->report.bytes_out += sg_dtype_row_bytes(o->type, t->ne[0]) * sg_tensor_rows(t);
    }
    j->report.ntensor = j->n;
    return SG_OK;
}

/* Models that are no GGUF file keep their tokenizer beside them. */
static sg_status plan_tokenizer(job *j, sg_error *err)
{
    const sg_tensor *embedding = sg_weights_find(j->w, "token_embd.weight");
    uint64_t nvocab = embedding ? embedding->ne[1] : 0;
    if (sg_weights_source(j->w) == SG_SOURCE_HF)
        return sg_tokenizer_meta_hf(j->meta, j->w, nvocab, err);
    if (sg_weights_source(j->w) == SG_SOURCE_LLAMA2C && j->options->tokenizer)
        return sg_tokenizer_meta_llama2c(j->meta, j->options->tokenizer, nvocab, err);
    return SG_OK;
}

/* A copy of the metadata that says what was done. */
static sg_status plan_meta(job *j, const sg_mix *mix, sg_error *err)
{
    const sg_dict *from = sg_weights_meta(j->w);
    j->meta = sg_dict_new();
    if (!j->meta)
        return sg_fail_nomem(err, "metadata");
    for (size_t i = 0; i < sg_dict_count(from); i++)
        SG_TRY(sg_dict_set(j->meta, sg_dict_key(from, i), sg_dict_at(from, i), err));
    static const char *const gone[] = {"split.no", "split.count", "split.tensors.count"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        sg_dict_remove(j->meta, gone[i]);
    SG_TRY(plan_tokenizer(j, err));
    SG_TRY(sg_dict_set_u64(j->meta, "general.quantization_version", 2, err));
    SG_TRY(sg_dict_set_u64(j->meta, "general.file_type", mix->file_type, err));
    if (!j->imatrix)
        return SG_OK;
    const char *name = strrchr(j->options->imatrix, '/');
    name = name ? name + 1 : j->options->imatrix;
    SG_TRY(sg_dict_set_str(j->meta, "quantize.imatrix.file", name, strlen(name), err));
    return sg_dict_set_u64(j->meta, "quantize.imatrix.entries_count", sg_imatrix_count(j->imatrix), err);
}

/* ---- the work ------------------------------------------------------------------------------------- */

static sg_status one_row(const job *j, worker *k, uint64_t row)
{
    const sg_tensor *t = j->tensor;
    size_t n = (size_t)t->ne[0];
    SG_TRY(sg_weights_read_rows(j->w, t, row, 1, k->stored, &k->err));
    sg_quant_decode(t->type, k->values, k->stored, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(k->values[i]))
            return sg_fail(&k->err, SG_E_FORMAT, "tensor '%s': row %" PRIu64 ", column %zu is %g", t->name, row, i, (double)k->values[i]);
    const float *weight = j->weight[j->index];
    if (weight)
        weight += row / t->ne[1] % t->ne[2] * t->ne[0]; /* the row's matrix in a stack of experts */
    sg_dtype type = j->out[j->index].type;
    sg_quant_encode(type, j->dst + (row - j->row) * sg_dtype_row_bytes(type, n), k->values, 1, n, weight);
    return SG_OK;
}

static void some_rows(void *arg, int task, int number)
{
    job *j = arg;
    worker *k = &j->workers[number];
    uint64_t first = j->row + (uint64_t)task * j->step, end = first + j->step < j->row + j->nrow ? first + j->step : j->row + j->nrow;
    for (uint64_t row = first; row < end && k->status == SG_OK; row++) {
        k->status = one_row(j, k, row);
        k->row = row;
    }
}

static bool report_progress(const job *j, uint64_t row)
{
    if (!j->options->progress)
        return true;
    const sg_tensor *t = sg_weights_at(j->w, j->index);
    sg_write_progress p = {
        .tensor = j->index, .ntensor = j->n, .name = t->name, .from = sg_dtype_name(t->type), .to = sg_dtype_name(j->out[j->index].type),
        .row = row, .nrow = sg_tensor_rows(t), .bytes_done = j->bytes_done, .bytes = j->report.bytes_out,
    };
    return j->options->progress(j->options->arg, &p);
}

static sg_status make_rows(void *arg, size_t tensor, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    job *j = arg;
    const sg_tensor *t = sg_weights_at(j->w, tensor);
    sg_dtype type = j->out[tensor].type;
    if (tensor != j->index)
        sg_weights_drop(j->w, sg_weights_at(j->w, j->index));
    j->index = tensor;
    if (!report_progress(j, row))
        return sg_fail(err, SG_E_CANCELLED, "stopped");
    j->bytes_done += nrow * sg_dtype_row_bytes(type, t->ne[0]);
    if (type == t->type)
        return sg_weights_read_rows(j->w, t, row, nrow, dst, err);
    j->tensor = t;
    j->row = row;
    j->nrow = nrow;
    j->dst = dst;
    j->step = nrow / (uint64_t)(4 * sg_pool_nworker(j->pool)) + 1;
    sg_pool_run(j->pool, some_rows, j, (int)((nrow + j->step - 1) / j->step));
    const worker *failed = NULL;
    for (int i = 0; i < sg_pool_nworker(j->pool); i++)
        if (j->workers[i].status != SG_OK && (!failed || j->workers[i].row < failed->row))
            failed = &j->workers[i];
    if (failed && err)
        *err = failed->err;
    return failed ? failed->status : SG_OK;
}

static sg_status hire(job *j, sg_error *err)
{
    int threads = j->options->threads > 0 ? j->options->threads : sg_cpu_count();
    SG_TRY(sg_pool_open(&j->pool, threads < 256 ? threads : 256, err));
    size_t stored = 1, values = 1;
    for (size_t i = 0; i < j->n; i++) {
        const sg_tensor *t = sg_weights_at(j->w, i);
        if (j->out[i].type == t->type)
            continue;
        size_t row = sg_dtype_row_bytes(t->type, t->ne[0]);
        stored = row > stored ? row : stored;
        values = t->ne[0] > values ? (size_t)t->ne[0] : values;
    }
    j->workers = sg_calloc((size_t)sg_pool_nworker(j->pool), sizeof *j->workers);
    for (int i = 0; j->workers && i < sg_pool_nworker(j->pool); i++) {
        worker *k = &j->workers[i];
        k->stored = sg_alloc(stored);
        k->values = sg_calloc(values, sizeof *k->values);
        if (!k->stored || !k->values)
            return sg_fail_nomem(err, "rows to work on");
    }
    return j->workers ? SG_OK : sg_fail_nomem(err, "rows to work on");
}

static void clean(job *j)
{
    for (int i = 0; j->workers && i < sg_pool_nworker(j->pool); i++) {
        sg_free(j->workers[i].stored);
        sg_free(j->workers[i].values);
    }
    sg_free(j->workers);
    sg_pool_close(j->pool);
    for (size_t i = 0; j->keeps && i < j->options->nkeep; i++)
        pcre2_code_free(j->keeps[i].regex);
    sg_free(j->keeps);
    pcre2_match_data_free(j->match);
    pcre2_match_context_free(j->regex_limits);
    pcre2_general_context_free(j->regex_memory);
    sg_free(j->values);
    sg_free(j->weight);
    sg_free(j->out);
    sg_dict_free(j->meta);
    sg_imatrix_close(j->imatrix);
    sg_weights_close(j->w);
}

static sg_status run(job *j, const char *in, const char *out, sg_error *err)
{
    const sg_mix *mix = sg_mix_find(j->options->type);
    if (!mix)
        return sg_fail(err, SG_E_ARGUMENT, "unknown type '%s'; the types are: %s", j->options->type, sg_mix_names());
    SG_TRY(compile_keeps(j, err));
    SG_TRY(sg_weights_open(&j->w, in, err));
    if (j->options->imatrix)
        SG_TRY(sg_imatrix_open(&j->imatrix, j->options->imatrix, err));
    SG_TRY(plan_meta(j, mix, err));
    SG_TRY(plan(j, mix, err));
    SG_TRY(hire(j, err));
    return sg_gguf_write(out, j->meta, j->out, j->n, make_rows, j, err);
}

sg_status sg_quantize(const char *in, const char *out, const sg_quantize_options *options, sg_quantize_report *report,
                      sg_error *err)
{
    job j = {.options = options};
    sg_status st = run(&j, in, out, err);
    if (st == SG_OK && report)
        *report = j.report;
    clean(&j);
    return st;
}
