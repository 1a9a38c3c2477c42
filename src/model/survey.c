/* model/survey.c - a first step that nobody reads, so that layers learn which columns of activations are too large for 8 bits
 * (op/apart.c).
 *
 * The rows are tokens spread over the vocabulary, the same ones each time, so that a model has the same bits whenever it is loaded.  That
 * they make no sense does not matter: the columns in question are large whatever the token is.  Their embeddings are copied one by one,
 * and the pages of the file that came with each, 64 KB to 2 MB of neighbours, are given back.
 */
#include "base/heap.h"
#include "model/internal.h"

#include <string.h>

enum { ROWS = 32, POSITIONS = 16 };

/* The embeddings of n tokens, in the form of the table. */
static void copy_embeddings(const sg_model *m, unsigned char *to, size_t row_bytes, int n)
{
    const sg_tensor *t = sg_weights_find(m->weights, "token_embd.weight");
    for (int i = 0; i < n; i++) {
        uint32_t id = (uint32_t)i * 2654435761u % (uint32_t)m->h.nvocab;
        const unsigned char *row = (const unsigned char *)m->embed + id * row_bytes;
        memcpy(to + (size_t)i * row_bytes, row, row_bytes);
        if (t)
            sg_weights_drop_part(m->weights, t, row, row_bytes);
    }
}

/* A step over tokens 0 to n - 1 of the model's table. */
static sg_status run(sg_model *m, sg_kv_pool *pool, sg_kv_seq *seq, int n, sg_error *err)
{
    int32_t id[ROWS], pos[ROWS], no[ROWS] = {0};
    for (int i = 0; i < n; i++)
        id[i] = pos[i] = i;
    SG_TRY(sg_kv_seq_extend(seq, n, err));
    const sg_batch b = {.nrow = n, .id = id, .pos = pos, .seq = no, .nseq = 1, .seqs = &seq};
    sg_ops_survey_begin(m->ops);
    sg_status st = sg_model_step(m, pool, &b, err), end = sg_ops_survey_end(m->ops, err);
    return st != SG_OK ? st : end;
}

static sg_status run_with_copies(sg_model *m, sg_kv_pool *pool, sg_kv_seq *seq, int n, sg_error *err)
{
    size_t row_bytes = sg_dtype_row_bytes(m->embed_type, (uint64_t)m->h.dim);
    unsigned char *rows = sg_calloc((size_t)n, row_bytes);
    const void *table = m->embed;
    if (!rows)
        return sg_fail_nomem(err, "embeddings");
    copy_embeddings(m, rows, row_bytes, n);
    m->embed = rows;
    sg_status st = run(m, pool, seq, n, err);
    m->embed = table;
    sg_free(rows);
    return st;
}

sg_status sg_model_survey(sg_model *m, sg_error *err)
{
    const sg_model_info *i = &m->info;
    int n = i->ctx > 0 && i->ctx < ROWS ? i->ctx : ROWS;
    n = n < m->h.nvocab ? n : m->h.nvocab;
    if (sg_ops_exact(m->ops) || i->kind != SG_MODEL_DECODER)
        return SG_OK;
    sg_kv_pool *pool = NULL;
    sg_kv_seq *seq = NULL;
    SG_TRY(sg_kv_pool_open(&pool, i->kv, i->nlayer, i->kv_type, POSITIONS, sg_kv_blocks_for(n, POSITIONS), err));
    sg_status st = sg_kv_seq_new(&seq, pool, n, err);
    if (st == SG_OK)
        st = run_with_copies(m, pool, seq, n, err);
    sg_kv_seq_free(seq);
    sg_kv_pool_close(pool);
    return st;
}
