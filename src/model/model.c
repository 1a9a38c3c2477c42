/* model/model.c - load, check, reserve, step: what is the same for every family.
 *
 * A step is:  check the token table -> rope tables -> the family's forward -> gather the rows that want
 * results -> last norm, head, scale, cap.  Scratch memory is one piece that is carved anew for each step; its size is a
 * function of the reserved rows, so a step within the reservation allocates nothing.
 */
#include "base/heap.h"
#include "model/internal.h"

#include <stdio.h>
#include <string.h>

/* ---- load and check ----------------------------------------------------------------------- */

static sg_status read_params(sg_model *m, const sg_weights *weights, sg_error *err)
{
    const sg_dict *meta = sg_weights_meta(weights);
    sg_str arch;
    SG_TRY(sg_dict_need_str(meta, "general.architecture", &arch, err));
    m->family = sg_family_find(arch.data);
    if (!m->family)
        return sg_fail(err, SG_E_UNSUPPORTED,
                       "general.architecture is '%s' (keys %s.*): segue does not run this architecture", arch.data,
                       arch.data);
    snprintf(m->h.arch, sizeof m->h.arch, "%s", m->family->arch);
    sg_keys keys = {meta, m->family->arch, err};
    SG_TRY(m->family->params(&m->h, &keys));
    m->rope_pairs = m->family->rope_pairs;
    return SG_OK;
}

/* Logits that far below the largest of a row, e^-8 of its probability, do without the second term of activations. */
static const float head_window = 8;

static sg_status load_head(sg_loader *ld)
{
    sg_model *m = ld->m;
    SG_TRY(sg_load_vector(ld, &m->output_norm, -1, "output_norm", "weight", m->h.dim, SG_NEED));
    bool tied = !sg_load_have(ld, -1, "output", "weight");
    SG_TRY(sg_load_linear(ld, &m->head, -1, tied ? "token_embd" : "output", m->h.nvocab, m->h.dim, SG_NEED));
    m->head.name = "head";
    sg_linear_refine(&m->head); /* its error is the logits' error, and it only sees the rows that need them */
    return SG_OK;
}

/* Every tensor, in the order of the layers. */
static sg_status load_tensors(sg_loader *ld)
{
    sg_model *m = ld->m;
    sg_hparams *h = &m->h;
    void *p;
    SG_TRY(sg_load_table(ld, &m->embed, &m->embed_type, &h->nvocab, -1, "token_embd", h->dim, SG_NEED));
    SG_TRY(sg_load_rope(ld));
    if (m->family->globals)
        SG_TRY(m->family->globals(ld));
    SG_TRY(sg_load_alloc(ld, &p, (size_t)h->nlayer, sizeof(sg_layer)));
    m->layers = p;
    SG_TRY(sg_load_alloc(ld, &p, (size_t)h->nlayer, sizeof(sg_kv_spec)));
    m->kv = p;
    for (int l = 0; l < h->nlayer; l++) {
        SG_TRY(sg_load_window(ld, &m->layers[l], l, true));
        SG_TRY(sg_load_rotates(ld, &m->layers[l], l, true));
        m->kv[l] = (sg_kv_spec){.nkv = h->nkv, .dk = h->dk, .dv = h->dv, .alias = h->kv_rank > 0};
        SG_TRY(m->family->layer(ld, &m->layers[l], l));
    }
    return m->family->kind == SG_MODEL_DECODER ? load_head(ld) : SG_OK;
}

static void fill_info(sg_model *m)
{
    const sg_hparams *h = &m->h;
    sg_model_info *i = &m->info;
    i->kind = m->cls_out.n ? SG_MODEL_RERANKER : m->family->kind;
    i->architecture = m->family->arch;
    i->nvocab = h->nvocab;
    i->dim = h->dim;
    i->nlayer = h->nlayer;
    i->ctx = m->nposition && m->nposition < h->ctx ? m->nposition : h->ctx;
    i->extent_switch = h->rope.scaling == SG_SCALING_LONGROPE ? h->rope.original_ctx : 0;
    i->nexpert = h->nexpert;
    i->nexpert_used = h->nexpert_used;
    i->ntype = h->ntype;
    i->pooling = h->pooling;
    i->kv = m->kv;
    i->kv_type = m->family->kind != SG_MODEL_DECODER || (m->ops && sg_ops_exact(m->ops)) ? SG_F32 : SG_F16;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* A tensor that nothing asked for means that the model is not what it says: its results would be wrong.  Tables of
 * angles that some converters write are computed here and may stay unused. */
static sg_status check_unused(const sg_loader *ld)
{
    for (size_t i = 0; i < sg_weights_count(ld->w); i++) {
        const char *name = sg_weights_at(ld->w, i)->name;
        if (!ld->used[i] && !ends_with(name, "rot_embd.weight") && !ends_with(name, "rope_freqs.weight"))
            return sg_fail(ld->err, SG_E_FORMAT, "tensor '%s' has no place in architecture %s with %d layers", name,
                           ld->m->h.arch, ld->m->h.nlayer);
    }
    return SG_OK;
}

/* GGUF files list their tokens: one for each row of the embedding. */
static sg_status check_vocabulary(const sg_loader *ld)
{
    const sg_value *v = sg_dict_find(sg_weights_meta(ld->w), "tokenizer.ggml.tokens");
    if (v && v->kind == SG_KIND_ARRAY && v->a.n != (size_t)ld->m->h.nvocab)
        return sg_fail(ld->err, SG_E_FORMAT, "tokenizer.ggml.tokens has %zu tokens, token_embd.weight %d rows", v->a.n,
                       ld->m->h.nvocab);
    return SG_OK;
}

static sg_status load_all(sg_loader *ld)
{
    SG_TRY(read_params(ld->m, ld->w, ld->err));
    SG_TRY(load_tensors(ld));
    SG_TRY(check_vocabulary(ld));
    return check_unused(ld);
}

static sg_status build(sg_model **out, const sg_weights *weights, sg_ops *ops, bool check, sg_error *err)
{
    sg_model *m = sg_calloc(1, sizeof *m);
    if (!m)
        return sg_fail_nomem(err, "the model");
    m->weights = weights;
    m->ops = ops;
    sg_loader ld = {
        .m = m, .w = weights, .check = check, .err = err, .used = sg_calloc(sg_weights_count(weights) + 1, 1)};
    sg_status st = ld.used ? load_all(&ld) : sg_fail_nomem(err, "the model");
    sg_free(ld.used);
    if (st != SG_OK) {
        sg_model_free(m);
        return st;
    }
    fill_info(m);
    *out = m;
    return SG_OK;
}

sg_status sg_model_load(sg_model **model, const sg_weights *weights, sg_ops *ops, sg_error *err)
{
    sg_model *m;
    SG_TRY(build(&m, weights, ops, false, err));
    sg_status st = sg_model_survey(m, err);
    if (st != SG_OK) {
        sg_model_free(m);
        return st;
    }
    *model = m;
    return SG_OK;
}

sg_status sg_model_check(const sg_weights *weights, sg_model_info *info, sg_error *err)
{
    sg_model *m = NULL;
    SG_TRY(build(&m, weights, NULL, true, err));
    if (info) {
        *info = m->info;
        info->kv = NULL;
    }
    sg_model_free(m);
    return SG_OK;
}

static void fini_linears(const sg_linear *w, int n)
{
    for (int i = 0; w && i < n; i++)
        sg_linear_fini((sg_linear *)(uintptr_t)&w[i]);
}

enum { LAYER_LINEARS = 16 };

/* The single linear layers of a layer, there or not. */
static void linears_of(sg_layer *w, sg_linear *out[LAYER_LINEARS])
{
    sg_linear *all[LAYER_LINEARS] = {&w->q,           &w->k,         &w->v,           &w->qkv,          &w->o,    &w->q_a,
                                     &w->q_b,         &w->kv_a,      &w->gate,        &w->up,           &w->down, &w->router,
                                     &w->shared_gate, &w->shared_up, &w->shared_down, &w->shared_router};
    memcpy(out, all, sizeof all);
}

static void fini_layer(const sg_hparams *h, sg_layer *w)
{
    sg_linear *all[LAYER_LINEARS];
    linears_of(w, all);
    for (int i = 0; i < LAYER_LINEARS; i++)
        sg_linear_fini(all[i]);
    fini_linears(w->k_b, h->nhead);
    fini_linears(w->v_b, h->nhead);
    fini_linears(w->experts.gate, h->nexpert);
    fini_linears(w->experts.up, h->nexpert);
    fini_linears(w->experts.down, h->nexpert);
}

void sg_model_free(sg_model *m)
{
    if (!m)
        return;
    for (int l = 0; m->layers && l < m->h.nlayer; l++)
        fini_layer(&m->h, &m->layers[l]);
    sg_linear_fini(&m->head);
    sg_linear_fini(&m->cls);
    sg_linear_fini(&m->cls_out);
    for (size_t i = 0; i < m->nowned; i++)
        if (m->owned_bytes[i])
            sg_free_aligned(m->owned[i], m->owned_bytes[i]);
        else
            sg_free(m->owned[i]);
    sg_free(m->owned);
    sg_free(m->owned_bytes);
    if (m->arena)
        sg_free_aligned(m->arena, m->arena_bytes);
    sg_free(m);
}

const sg_model_info *sg_model_info_of(const sg_model *m) { return &m->info; }

/* ---- what a step reads ---------------------------------------------------------------------------- */

static void tell_weights(const sg_linear *w, int n, sg_model_weight_fn *fn, void *arg)
{
    for (int i = 0; w && i < n; i++) {
        double values = (double)w[i].n * w[i].k;
        if (w[i].packed)
            fn(arg, w[i].packed, w[i].packed_bytes, values);
        else if (w[i].stored)
            fn(arg, w[i].stored, sg_dtype_row_bytes(w[i].type, (uint64_t)w[i].k) * (size_t)w[i].n, values);
    }
}

void sg_model_each_weight(const sg_model *m, sg_model_weight_fn *fn, void *arg)
{
    for (int l = 0; l < m->h.nlayer; l++) {
        sg_layer *w = &m->layers[l];
        sg_linear *all[LAYER_LINEARS];
        linears_of(w, all);
        for (int i = 0; i < LAYER_LINEARS; i++)
            tell_weights(all[i], 1, fn, arg);
        tell_weights(w->k_b, m->h.nhead, fn, arg);
        tell_weights(w->v_b, m->h.nhead, fn, arg);
        tell_weights(w->experts.gate, m->info.nexpert_used, fn, arg);
        tell_weights(w->experts.up, m->info.nexpert_used, fn, arg);
        tell_weights(w->experts.down, m->info.nexpert_used, fn, arg);
    }
    tell_weights(&m->head, 1, fn, arg);
}

/* ---- scratch of a step --------------------------------------------------------------------------- */

static int most(int a, int b) { return a > b ? a : b; }

static int ff_width(const sg_hparams *h) { return most(h->nff, h->nff_shared); }

/* Columns of a pass's arrays. */
static int latent_width(const sg_hparams *h)
{
    return h->kv_rank ? h->q_rank + h->nhead * (h->nope + h->rope.rot) + h->dk + h->nhead * h->dv_mla : 0;
}

typedef struct carver {
    unsigned char *base; /* NULL: only count */
    size_t at;
} carver;

static void *carve(carver *c, size_t n, size_t width, size_t bytes)
{
    size_t at = c->at;
    c->at += (n * width * bytes + 63) & ~(size_t)63;
    return c->base ? c->base + at : NULL;
}

/* gate and up are one after another without a gap, so that a fused block may use both as rows of twice the width. */
static size_t carve_pass(const sg_model *m, sg_pass *p, unsigned char *base, int nrow, int nout)
{
    const sg_hparams *h = &m->h;
    carver c = {base, 0};
    size_t n = (size_t)nrow, F = sizeof(float), D = (size_t)h->dim, rot = (size_t)h->rope.rot;
    size_t nq = (size_t)(h->nhead * h->dk), nk = (size_t)(h->nkv * h->dk), nv = (size_t)(h->nkv * h->dv);
    p->x = carve(&c, n, D, F);
    p->y = carve(&c, n, D, F);
    p->z = carve(&c, n, D, F);
    p->q = carve(&c, n, nq + nk + nv, F);
    p->k = carve(&c, n, nk, F);
    p->v = carve(&c, n, nv, F);
    p->att = carve(&c, n, (size_t)(h->nhead * h->dv), F);
    p->gate = carve(&c, n, 2 * (size_t)ff_width(h), F);
    p->up = base ? p->gate + n * (size_t)ff_width(h) : NULL;
    p->score = carve(&c, n, (size_t)h->nexpert, F);
    p->expert_id = carve(&c, n, (size_t)h->nexpert_used, sizeof(int32_t));
    p->expert_weight = carve(&c, n, (size_t)h->nexpert_used, F);
    p->latent = carve(&c, n, (size_t)latent_width(h), F);
    for (int i = 0; i < 2; i++) {
        p->rope[i] = (sg_rope_table){.rot = h->rope.rot, .pairs = m->rope_pairs};
        p->rope[i].cos = carve(&c, n, rot / 2, F);
        p->rope[i].sin = carve(&c, n, rot / 2, F);
    }
    p->zero = carve(&c, n, 1, sizeof(int32_t));
    p->seq_len = carve(&c, n, 1, sizeof(int32_t));
    p->table = carve(&c, n, 1, sizeof *p->table);
    p->last = carve(&c, (size_t)nout, D, F);
    p->last2 = carve(&c, (size_t)nout, D, F);
    return c.at;
}

size_t sg_model_reserve_bytes(const sg_model *m, int nrow, int nout)
{
    sg_pass p;
    return carve_pass(m, &p, NULL, nrow, nout);
}

sg_status sg_model_need_of(sg_model_need *need, const sg_weights *weights, sg_ops *ops, int nrow, int nout, sg_dtype kv_type, int block,
                           sg_error *err)
{
    sg_model *m = NULL;
    SG_TRY(build(&m, weights, ops, true, err));
    uint64_t file = sg_weights_file_bytes(weights);
    *need = (sg_model_need){.packed_bytes = m->info.packed_bytes + m->apart_bytes,
                            .mapped_bytes = file > m->info.dropped_bytes ? (size_t)file - m->info.dropped_bytes : 0,
                            .scratch_bytes = sg_model_reserve_bytes(m, nrow, nout),
                            .block_bytes = sg_kv_block_bytes(m->info.kv, m->info.nlayer, kv_type, block),
                            .ctx = m->info.ctx, .nvocab = m->info.nvocab};
    sg_model_free(m);
    return SG_OK;
}

/* Widest input or output of a linear layer but the head. */
static int widest(const sg_hparams *h)
{
    int w = most(h->dim, h->nhead * most(h->dk, h->dv));
    w = most(w, ff_width(h));
    w = most(w, h->nff_expert);
    return most(w, most(h->q_rank, h->kv_rank));
}

sg_status sg_model_reserve(sg_model *m, int nrow, int nout, sg_error *err)
{
    const sg_hparams *h = &m->h;
    nrow = most(most(nrow, nout), m->cap_row);
    nout = most(nout, m->cap_out);
    if (nrow <= m->cap_row && nout <= m->cap_out)
        return SG_OK;
    if (nrow > 1 << 22)
        return sg_fail(err, SG_E_LIMIT, "a step of %d rows, at most %d", nrow, 1 << 22);
    SG_TRY(sg_ops_reserve(m->ops, nrow, widest(h), err));
    if (h->nexpert)
        SG_TRY(sg_ops_reserve_experts(m->ops, nrow, h->nexpert_used, h->dim, h->nff_expert, h->nexpert, err));
    size_t bytes = sg_model_reserve_bytes(m, nrow, nout);
    void *p = sg_alloc_aligned(64, bytes);
    if (!p)
        return sg_fail(err, SG_E_NOMEM, "out of memory for steps of %d rows (%zu MiB)", nrow, bytes >> 20);
    if (m->arena)
        sg_free_aligned(m->arena, m->arena_bytes);
    m->arena = p;
    m->arena_bytes = bytes;
    m->cap_row = nrow;
    m->cap_out = nout;
    return SG_OK;
}

/* ---- a step -------------------------------------------------------------------------------------------- */

static sg_status check_batch(const sg_model *m, const sg_kv_pool *pool, const sg_batch *b, sg_error *err)
{
    int npos = m->nposition ? m->nposition : INT32_MAX;
    if (b->nrow < 1 || b->nseq < 1 || b->nseq > b->nrow || b->nout < 0 || b->nout > b->nrow ||
        sg_kv_pool_nlayer(pool) != m->h.nlayer)
        return sg_fail(err, SG_E_ARGUMENT, "a step of %d rows of %d sequences with %d results", b->nrow, b->nseq,
                       b->nout);
    for (int r = 0; r < b->nrow; r++) {
        if (b->id[r] < 0 || b->id[r] >= m->h.nvocab)
            return sg_fail(err, SG_E_ARGUMENT, "token %d is %d, must be from 0 to %d", r, b->id[r], m->h.nvocab - 1);
        if (b->seq[r] < 0 || b->seq[r] >= b->nseq || b->pos[r] < 0 || b->pos[r] >= b->seqs[b->seq[r]]->len)
            return sg_fail(err, SG_E_ARGUMENT, "row %d: position %d of sequence %d does not exist", r, b->pos[r],
                           b->seq[r]);
        if (b->pos[r] >= npos)
            return sg_fail(err, SG_E_LIMIT, "position %d: the model has %d", b->pos[r], npos);
        if (b->type && (b->type[r] < 0 || b->type[r] >= most(m->h.ntype, 1)))
            return sg_fail(err, SG_E_ARGUMENT, "token type %d: the model has %d", b->type[r], m->h.ntype);
    }
    for (int i = 0; i < b->nout; i++)
        if (b->out[i] < (i ? b->out[i - 1] + 1 : 0) || b->out[i] >= b->nrow)
            return sg_fail(err, SG_E_ARGUMENT, "result %d is of row %d of %d: rows rise", i, b->out[i], b->nrow);
    return SG_OK;
}

/* Tables for runs of rows of a sequence: longrope's frequencies depend on how long the sequence is to become. */
static void longrope_table(sg_model *m, sg_pass *p)
{
    const sg_batch *b = p->batch;
    const sg_rope_set *set = &m->rope[0];
    size_t half = (size_t)m->h.rope.rot / 2;
    for (int r = 0, end; r < p->n; r = end) {
        int s = b->seq[r], extent = b->extent ? b->extent[s] : b->seqs[s]->max_len;
        for (end = r + 1; end < p->n && b->seq[end] == s; end++)
            ;
        sg_rope_table part = p->rope[0];
        part.cos += (size_t)r * half;
        part.sin += (size_t)r * half;
        sg_op_rope_table(m->ops, &part, b->pos + r, end - r,
                         extent > m->h.rope.original_ctx ? set->inv_freq_long : set->inv_freq, set->factor);
    }
}

static void make_rope_tables(sg_model *m, sg_pass *p)
{
    for (int i = 0; i < 2; i++) {
        if (!m->rope[i].inv_freq)
            continue;
        if (m->rope[i].inv_freq_long)
            longrope_table(m, p);
        else
            sg_op_rope_table(m->ops, &p->rope[i], p->batch->pos, p->n, m->rope[i].inv_freq, m->rope[i].factor);
    }
}

/* Results of the rows that want them: last norm, head. */
static void finish(sg_model *m, sg_pass *p)
{
    const sg_batch *b = p->batch;
    size_t D = (size_t)m->h.dim, V = (size_t)m->h.nvocab;
    for (int i = 0; i < b->nout; i++)
        memcpy(p->last + (size_t)i * D, p->x + (size_t)(p->kept ? i : b->out[i]) * D, D * sizeof(float));
    if (m->output_norm)
        sg_block_norm(m, p->last, p->last, b->nout, m->output_norm);
    if (b->hidden && b->nout)
        memcpy(b->hidden, p->last, (size_t)b->nout * D * sizeof(float));
    if (b->logits && m->head.n && b->nout) {
        float scale = m->h.logit_scale > 0 ? m->h.logit_scale : 1;
        if (b->drawn)
            sg_op_head(m->ops, &m->head, b->logits, V, p->last, D, b->nout, head_window / scale);
        else
            sg_op_linear(m->ops, p->last, D, b->nout, &(sg_linear_job){&m->head, b->logits, V, false}, 1);
        if (m->h.logit_scale != 1.0f)
            sg_op_scale(m->ops, b->logits, b->nout, (int)V, m->h.logit_scale);
        if (m->h.final_softcap > 0)
            sg_op_softcap(m->ops, b->logits, b->nout, (int)V, m->h.final_softcap);
    }
    if (b->score && m->cls_out.n && b->nout) {
        sg_linear_job dense = {&m->cls, p->last2, D, false}, out = {&m->cls_out, b->score, (size_t)m->cls_out.n, false};
        if (m->cls.n) {
            sg_op_linear(m->ops, p->last, D, b->nout, &dense, 1);
            sg_op_unary(m->ops, p->last2, D, b->nout, m->h.dim, SG_UNARY_TANH);
        } else {
            memcpy(p->last2, p->last, (size_t)b->nout * D * sizeof(float));
        }
        sg_op_linear(m->ops, p->last2, D, b->nout, &out, 1);
    }
}

sg_status sg_model_step(sg_model *m, sg_kv_pool *pool, const sg_batch *b, sg_error *err)
{
    SG_TRY(check_batch(m, pool, b, err));
    SG_TRY(sg_model_reserve(m, b->nrow, b->nout, err));
    sg_pass p = {0};
    carve_pass(m, &p, m->arena, m->cap_row, m->cap_out);
    p.batch = b;
    p.pool = pool;
    p.n = b->nrow;
    for (int s = 0; s < b->nseq; s++) {
        p.seq_len[s] = b->seqs[s]->len;
        p.table[s] = b->seqs[s]->table;
    }
    p.rows = (sg_rows){
        .nrow = b->nrow, .nseq = b->nseq, .seq = b->seq, .pos = b->pos, .table = p.table, .seq_len = p.seq_len};
    memset(p.zero, 0, (size_t)p.n * sizeof *p.zero);
    make_rope_tables(m, &p);
    m->family->forward(m, &p);
    finish(m, &p);
    return SG_OK;
}
