/* engine/eval.c - a model run directly: what `segue eval`, `embed` and `rank` are made of.
 *
 * One sequence at a time, in steps of CHUNK rows, so that the logits of a long text never stand in memory all at
 * once.  How the text is cut does not matter to the numbers (same bits with any chunking).  The KV pool is made for the
 * longest sequence seen so far.
 */
#include "base/heap.h"
#include "engine/tokenizer_open.h"
#include "format/embedded.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32 };

struct sg_eval {
    sg_weights *weights;
    sg_ops *ops;
    sg_model *model;
    const sg_model_info *info;
    sg_tokenizer *tokens; /* opened when text first comes */
    char *tokenizer;      /* path of its file, or NULL */
    sg_kv_pool *pool;
    sg_dtype kv_type;
    int ctx, chunk;
    float *logits; /* [chunk][nvocab] */
    int32_t *rows; /* [4][chunk]: positions, sequence numbers, results, and one spare */
};

static sg_status read_kv_type(sg_eval *e, const char *name, sg_error *err)
{
    e->kv_type = e->info->kv_type;
    if (!name)
        return SG_OK;
    if (!sg_dtype_parse(name, &e->kv_type) || !sg_kv_block_bytes(e->info->kv, e->info->nlayer, e->kv_type, BLOCK))
        return sg_fail(err, SG_E_ARGUMENT,
                       "KV type '%s': f32, f16, bf16 and q8_0 (head sizes that are multiples of 32) are possible",
                       name);
    return SG_OK;
}

static sg_status make_buffers(sg_eval *e, sg_error *err)
{
    enum { VALUES = 8 << 20 }; /* of logits at once */
    int most = VALUES / (e->info->nvocab > 0 ? e->info->nvocab : 1);
    e->chunk = most < 8 ? 8 : most > 256 ? 256 : most;
    e->rows = sg_calloc(4 * (size_t)e->chunk, sizeof *e->rows);
    if (e->info->kind == SG_MODEL_DECODER)
        e->logits = sg_calloc((size_t)e->chunk * (size_t)e->info->nvocab, sizeof *e->logits);
    return e->rows && (e->logits || e->info->kind != SG_MODEL_DECODER) ? SG_OK : sg_fail_nomem(err, "the logits");
}

static sg_status open_all(sg_eval *e, const sg_eval_options *o, sg_error *err)
{
    sg_ops_options ops = {.nthread = o->threads, .exact = o->exact};
    if (o->memory_bytes)
        sg_heap_cap(o->memory_bytes);
    SG_TRY(sg_isa_choose(&ops.isa, err));
    if (o->tokenizer && !(e->tokenizer = sg_strdup(o->tokenizer)))
        return sg_fail_nomem(err, "a path");
    SG_TRY(o->model ? sg_weights_open(&e->weights, o->model, err)
                    : sg_weights_open_memory(&e->weights, sg_default_model, sg_default_model_bytes(),
                                             "the embedded default", err));
    SG_TRY(sg_ops_open(&e->ops, &ops, err));
    SG_TRY(sg_model_load(&e->model, e->weights, e->ops, err));
    e->info = sg_model_info_of(e->model);
    e->ctx = o->ctx > 0 ? o->ctx : e->info->ctx;
    SG_TRY(read_kv_type(e, o->kv_type, err));
    return make_buffers(e, err);
}

sg_status sg_eval_open(sg_eval **out, const sg_eval_options *o, sg_error *err)
{
    sg_eval *e = sg_calloc(1, sizeof *e);
    if (!e)
        return sg_fail_nomem(err, "an evaluation");
    sg_status st = open_all(e, o, err);
    if (st != SG_OK) {
        sg_eval_close(e);
        return st;
    }
    *out = e;
    return SG_OK;
}

void sg_eval_close(sg_eval *e)
{
    if (!e)
        return;
    sg_kv_pool_close(e->pool);
    sg_model_free(e->model);
    sg_ops_close(e->ops);
    sg_weights_close(e->weights);
    sg_tokenizer_free(e->tokens);
    sg_free(e->tokenizer);
    sg_free(e->logits);
    sg_free(e->rows);
    sg_free(e);
}

sg_eval_kind sg_eval_kind_of(const sg_eval *e) { return (sg_eval_kind)e->info->kind; }
int sg_eval_nvocab(const sg_eval *e) { return e->info->nvocab; }
int sg_eval_dim(const sg_eval *e) { return e->info->dim; }
int sg_eval_ctx(const sg_eval *e) { return e->ctx; }

static sg_status need_blocks(sg_eval *e, int need, sg_error *err)
{
    if (e->pool && sg_kv_pool_nblock(e->pool) >= need)
        return SG_OK;
    sg_kv_pool_close(e->pool);
    e->pool = NULL;
    return sg_kv_pool_open(&e->pool, e->info->kv, e->info->nlayer, e->kv_type, BLOCK, need, err);
}

static sg_status check_length(const sg_eval *e, int n, sg_error *err)
{
    return n > e->ctx ? sg_fail(err, SG_E_LIMIT, "%d tokens: the context has %d", n, e->ctx) : SG_OK;
}

/* A new sequence of n positions, in a pool that is large enough. */
static sg_status begin(sg_eval *e, sg_kv_seq **seq, int n, sg_error *err)
{
    SG_TRY(check_length(e, n, err));
    SG_TRY(need_blocks(e, sg_kv_blocks_for(n, BLOCK), err));
    return sg_kv_seq_new(seq, e->pool, n, err);
}

/* Run ids[0..n) (n <= chunk) at the sequence's end; logits of the last nout rows go to e->logits. */
static sg_status step(sg_eval *e, sg_kv_seq *seq, const int32_t *ids, int n, int nout, sg_error *err)
{
    int32_t *pos = e->rows, *number = pos + e->chunk, *out = number + e->chunk;
    int first = seq->len;
    SG_TRY(sg_kv_seq_extend(seq, n, err));
    for (int i = 0; i < n; i++) {
        pos[i] = first + i;
        number[i] = 0;
    }
    for (int i = 0; i < nout; i++)
        out[i] = n - nout + i;
    sg_batch b = {.nrow = n,
                  .id = ids,
                  .pos = pos,
                  .seq = number,
                  .nseq = 1,
                  .seqs = &seq,
                  .nout = nout,
                  .out = out,
                  .logits = e->logits};
    return sg_model_step(e->model, e->pool, &b, err);
}

static double log_sum_exp(const float *x, int n)
{
    float most = x[0];
    for (int i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)most);
    return (double)most + log(sum);
}

static int32_t argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

typedef struct outputs {
    double *logprobs;
    float *logits;
    int nlogits;
} outputs;

static sg_status run_prompt(sg_eval *e, sg_kv_seq *seq, const int32_t *ids, int n, const outputs *o, sg_error *err)
{
    size_t V = (size_t)e->info->nvocab;
    for (int at = 0; at < n; at += e->chunk) {
        int m = n - at < e->chunk ? n - at : e->chunk, first_wanted = n - (o->nlogits > 1 ? o->nlogits : 1);
        int nout = o->logprobs ? m : at + m - (first_wanted > at ? first_wanted : at);
        nout = nout < 0 ? 0 : nout;
        SG_TRY(step(e, seq, ids + at, m, nout, err));
        for (int i = 0; i < nout; i++) {
            const float *row = e->logits + (size_t)i * V;
            int p = at + m - nout + i; /* position of the row */
            if (o->logprobs && p + 1 < n)
                o->logprobs[p + 1] = (double)row[ids[p + 1]] - log_sum_exp(row, (int)V);
            if (o->logits && p >= n - o->nlogits)
                memcpy(o->logits + (size_t)(p - (n - o->nlogits)) * V, row, V * sizeof *row);
        }
        if (at + m == n && nout > 1) /* the last row first, where greedy looks for it */
            memmove(e->logits, e->logits + (size_t)(nout - 1) * V, V * sizeof(float));
    }
    return SG_OK;
}

static sg_status run_tokens(sg_eval *e, sg_kv_seq *seq, const int32_t *ids, int n, const outputs *o, int32_t *greedy,
                            int ngreedy, sg_error *err)
{
    SG_TRY(run_prompt(e, seq, ids, n, o, err));
    for (int i = 0; i < ngreedy; i++) {
        greedy[i] = argmax(e->logits, e->info->nvocab);
        if (i + 1 < ngreedy)
            SG_TRY(step(e, seq, &greedy[i], 1, 1, err));
    }
    return SG_OK;
}

sg_status sg_eval_tokens(sg_eval *e, const int32_t *ids, int n, double *logprobs, float *logits, int nlogits,
                         int32_t *greedy, int ngreedy, sg_error *err)
{
    if (e->info->kind != SG_MODEL_DECODER)
        return sg_fail(err, SG_E_UNSUPPORTED, "%s is an encoder: it has no next token", e->info->architecture);
    if (n < 1 || ngreedy < 0 || nlogits < 0 || nlogits > n)
        return sg_fail(err, SG_E_ARGUMENT,
                       "%d tokens, logits of %d: at least one token, and no more logits than tokens", n, nlogits);
    if (ngreedy > e->ctx - n)
        return sg_fail(err, SG_E_LIMIT, "%d tokens and %d more: the context has %d", n, ngreedy, e->ctx);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= e->info->nvocab)
            return sg_fail(err, SG_E_ARGUMENT, "token %d is %d, must be from 0 to %d", i, ids[i], e->info->nvocab - 1);
    sg_kv_seq *seq = NULL;
    outputs o = {logprobs, logits, logits ? nlogits : 0};
    SG_TRY(begin(e, &seq, n + ngreedy, err));
    if (logprobs)
        logprobs[0] = NAN;
    sg_status st = run_tokens(e, seq, ids, n, &o, greedy, greedy ? ngreedy : 0, err);
    sg_kv_seq_free(seq);
    return st;
}

/* ---- encoders ------------------------------------------------------------------------------ */

/* The token table of several texts, all their rows, because every row of a text sees all others of it. */
typedef struct texts {
    const sg_embed_text *text;
    int n, nrow;
    int32_t *id, *pos, *number, *type, *row; /* [nrow] */
    sg_kv_seq *seq[SG_EMBED_MAX];
} texts;

static sg_status lay_out(sg_eval *e, texts *t, sg_error *err)
{
    int block = 0, at = 0;
    bool typed = false;
    for (int i = 0; i < t->n; i++) {
        const sg_embed_text *x = &t->text[i];
        if (x->n < 1)
            return sg_fail(err, SG_E_ARGUMENT, "no tokens");
        SG_TRY(check_length(e, x->n, err));
        if (x->n > INT32_MAX / 8 - t->nrow)
            return sg_fail(err, SG_E_LIMIT, "%d texts have too many tokens together", t->n);
        t->nrow += x->n;
        block += sg_kv_blocks_for(x->n, BLOCK);
        typed = typed || x->types;
    }
    SG_TRY(need_blocks(e, block, err));
    t->id = sg_calloc(5 * (size_t)t->nrow, sizeof *t->id);
    if (!t->id)
        return sg_fail_nomem(err, "an embedding");
    t->pos = t->id + t->nrow;
    t->number = t->pos + t->nrow;
    t->row = t->number + t->nrow;
    t->type = typed ? t->row + t->nrow : NULL;
    for (int i = 0; i < t->n; i++) {
        const sg_embed_text *x = &t->text[i];
        SG_TRY(sg_kv_seq_new(&t->seq[i], e->pool, x->n, err));
        SG_TRY(sg_kv_seq_extend(t->seq[i], x->n, err));
        for (int k = 0; k < x->n; k++, at++) {
            t->id[at] = x->ids[k];
            t->pos[at] = k;
            t->number[at] = i;
            t->row[at] = at;
            if (typed && x->types)
                t->type[at] = x->types[k];
        }
    }
    return SG_OK;
}

/* Hidden states of all positions of all texts (or the score of the one text) in one step. */
static sg_status encode(sg_eval *e, const sg_embed_text *text, int ntext, float *hidden, float *score, sg_error *err)
{
    texts t = {.text = text, .n = ntext};
    sg_status st = lay_out(e, &t, err);
    if (st == SG_OK) {
        sg_batch b = {.nrow = t.nrow, .id = t.id, .pos = t.pos, .seq = t.number, .type = t.type, .nseq = ntext, .seqs = t.seq,
                      .nout = score ? 1 : t.nrow, .out = t.row, .hidden = hidden, .score = score};
        st = sg_model_step(e->model, e->pool, &b, err);
    }
    sg_free(t.id);
    for (int i = 0; i < ntext; i++)
        sg_kv_seq_free(t.seq[i]);
    return st;
}

static void pool_rows(float *out, const float *hidden, int n, int dim, sg_pool_kind kind)
{
    if (kind == SG_POOL_CLS || kind == SG_POOL_LAST) {
        memcpy(out, hidden + (kind == SG_POOL_LAST ? (size_t)(n - 1) * (size_t)dim : 0), (size_t)dim * sizeof *out);
        return;
    }
    for (int d = 0; d < dim; d++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += (double)hidden[(size_t)i * (size_t)dim + (size_t)d];
        out[d] = (float)(sum / n);
    }
}

static void normalize_row(float *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int i = 0; i < n; i++)
        x[i] = (float)((double)x[i] * scale);
}

/* What the model's files say of pooling; mean for encoders and last for decoders that say nothing. */
static sg_pool_kind model_pooling(const sg_eval *e)
{
    sg_pooling p = e->info->pooling;
    if (p == SG_POOLING_NONE || p == SG_POOLING_RANK)
        return e->info->kind == SG_MODEL_DECODER ? SG_POOL_LAST : SG_POOL_MEAN;
    return (sg_pool_kind)p;
}

sg_status sg_eval_embed_many(sg_eval *e, const sg_embed_text *text, int ntext, sg_pool_kind pooling, bool normalize, sg_error *err)
{
    size_t dim = (size_t)e->info->dim, nrow = 0;
    sg_pool_kind kind = pooling == SG_POOL_MODEL ? model_pooling(e) : pooling;
    if (ntext < 1 || ntext > SG_EMBED_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "%d texts: from 1 to %d", ntext, (int)SG_EMBED_MAX);
    for (int i = 0; i < ntext; i++)
        nrow += text[i].n > 0 ? (size_t)text[i].n : 0;
    float *hidden = sg_calloc(nrow + 1, dim * sizeof *hidden);
    if (!hidden)
        return sg_fail_nomem(err, "an embedding");
    sg_status st = encode(e, text, ntext, hidden, NULL, err);
    const float *from = hidden;
    for (int i = 0; i < ntext && st == SG_OK; from += (size_t)text[i++].n * dim) {
        int rows = kind == SG_POOL_NONE ? text[i].n : 1;
        if (kind == SG_POOL_NONE)
            memcpy(text[i].out, from, (size_t)rows * dim * sizeof *from);
        else
            pool_rows(text[i].out, from, text[i].n, (int)dim, kind);
        for (int r = 0; r < rows && normalize; r++)
            normalize_row(text[i].out + (size_t)r * dim, (int)dim);
    }
    sg_free(hidden);
    return st;
}

sg_status sg_eval_embed(sg_eval *e, const int32_t *ids, const int32_t *types, int n, sg_pool_kind pooling, bool normalize, float *out,
                        sg_error *err)
{
    return sg_eval_embed_many(e, &(sg_embed_text){ids, types, n, out}, 1, pooling, normalize, err);
}

sg_status sg_eval_rank(sg_eval *e, const int32_t *ids, const int32_t *types, int n, float *score, sg_error *err)
{
    if (e->info->kind != SG_MODEL_RERANKER)
        return sg_fail(err, SG_E_UNSUPPORTED, "%s: this model has no classifier, so it cannot rank",
                       e->info->architecture);
    return encode(e, &(sg_embed_text){ids, types, n, NULL}, 1, NULL, score, err);
}

void sg_eval_free_ids(int32_t *ids) { sg_free(ids); }

/* ---- text -------------------------------------------------------------------------------------- */

static sg_status need_tokenizer(sg_eval *e, sg_error *err)
{
    return e->tokens ? SG_OK : sg_tokenizer_of_weights(&e->tokens, e->weights, e->tokenizer, err);
}

/* [CLS] a [SEP] b [SEP]; models of the RoBERTa kind put two marks between the texts. */
static sg_status encode_pair(sg_eval *e, const char *text, size_t n, const char *pair, size_t npair, sg_tokens *ids,
                             size_t *first, sg_error *err)
{
    SG_TRY(sg_tokenizer_encode(e->tokens, text, n, SG_ENCODE_AROUND, ids, err));
    *first = ids->n;
    if (!pair)
        return SG_OK;
    sg_token sep = sg_tokenizer_sep(e->tokens);
    sep = sep == SG_TOKEN_NONE ? sg_tokenizer_eos(e->tokens) : sep;
    if (sep == SG_TOKEN_NONE)
        return sg_fail(err, SG_E_UNSUPPORTED, "the tokenizer has no separator for pairs of texts");
    if (strcmp(sg_tokenizer_kind(e->tokens), "unigram") == 0)
        SG_TRY(sg_tokens_add(ids, sep, err));
    SG_TRY(sg_tokenizer_encode(e->tokens, pair, npair, 0, ids, err));
    return sg_tokens_add(ids, sep, err);
}

sg_status sg_eval_tokenize(sg_eval *e, const char *text, size_t n, const char *pair, size_t npair, int32_t **ids,
                           int32_t **types, int *nid, sg_error *err)
{
    sg_tokens list = {0};
    size_t first = 0;
    int32_t *kinds = NULL;
    SG_TRY(need_tokenizer(e, err));
    sg_status st = encode_pair(e, text, n, pair, npair, &list, &first, err);
    if (st == SG_OK && (list.n == 0 || list.n > INT32_MAX / 2))
        st = sg_fail(err, SG_E_ARGUMENT, "the text has %zu tokens", list.n);
    if (st == SG_OK && types && !(kinds = sg_calloc(list.n, sizeof *kinds)))
        st = sg_fail_nomem(err, "token types");
    if (st != SG_OK) {
        sg_tokens_fini(&list);
        return st;
    }
    for (size_t i = first; kinds && i < list.n; i++)
        kinds[i] = e->info->ntype > 1;
    if (types)
        *types = kinds;
    *ids = list.data;
    *nid = (int)list.n;
    return SG_OK;
}

int32_t sg_eval_begin_token(sg_eval *e)
{
    if (need_tokenizer(e, NULL) != SG_OK || !sg_tokenizer_adds_bos(e->tokens))
        return -1;
    return sg_tokenizer_bos(e->tokens);
}
