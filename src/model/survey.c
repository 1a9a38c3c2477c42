/* model/survey.c - a first step that nobody reads, so that layers learn which columns of activations are too large for 8 bits
 * (op/apart.c).
 *
 * The rows are tokens spread over the vocabulary, the same ones each time, so that a model has the same bits whenever it is loaded.  That
 * they make no sense does not matter: the columns in question are large whatever the token is.
 */
#include "model/internal.h"

enum { ROWS = 32, POSITIONS = 16 };

static sg_status run(sg_model *m, sg_kv_pool *pool, sg_kv_seq *seq, int n, sg_error *err)
{
    int32_t id[ROWS], pos[ROWS], no[ROWS] = {0};
    for (int i = 0; i < n; i++) {
        id[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)m->h.nvocab);
        pos[i] = i;
    }
    SG_TRY(sg_kv_seq_extend(seq, n, err));
    const sg_batch b = {.nrow = n, .id = id, .pos = pos, .seq = no, .nseq = 1, .seqs = &seq};
    sg_ops_survey_begin(m->ops);
    sg_status st = sg_model_step(m, pool, &b, err), end = sg_ops_survey_end(m->ops, err);
    return st != SG_OK ? st : end;
}

sg_status sg_model_survey(sg_model *m, sg_error *err)
{
    const sg_model_info *i = &m->info;
    int n = i->ctx > 0 && i->ctx < ROWS ? i->ctx : ROWS;
    if (sg_ops_exact(m->ops) || i->kind != SG_MODEL_DECODER)
        return SG_OK;
    sg_kv_pool *pool = NULL;
    sg_kv_seq *seq = NULL;
    SG_TRY(sg_kv_pool_open(&pool, i->kv, i->nlayer, i->kv_type, POSITIONS, sg_kv_blocks_for(n, POSITIONS), err));
    sg_status st = sg_kv_seq_new(&seq, pool, n, err);
    if (st == SG_OK)
        st = run(m, pool, seq, n, err);
    sg_kv_seq_free(seq);
    sg_kv_pool_close(pool);
    return st;
}
