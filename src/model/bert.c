/* model/bert.c - BERT encoders (Devlin et al. 2019, arXiv:1810.04805), for embeddings and as cross-encoders.
 *
 *     x = LN(word[token] + position[pos] + type[type])
 *     each layer:  x = LN(x + Attention(x));  x = LN(x + W2 gelu(W1 x))       everything with biases
 *     cross-encoder:  score = classifier(tanh(dense(x of the first token)))
 *
 * Every row sees its whole sequence, so a sequence must be in one step.  XLM-RoBERTa is the same once its converter has
 * dropped the two position rows that it never uses.
 */
#include "model/families.h"

sg_status sg_bert_params(sg_hparams *h, const sg_keys *k)
{
    bool causal;
    SG_TRY(sg_hparams_encoder(h, k));
    SG_TRY(sg_keys_bool(k, "attention.causal", false, &causal));
    return causal
               ? sg_fail(k->err, SG_E_UNSUPPORTED, "%s.attention.causal is true: only encoders are supported", k->arch)
               : SG_OK;
}

/* A cross-encoder's head: cls (which some lack) and cls.output with one label. */
static sg_status load_classifier(sg_loader *ld)
{
    sg_model *m = ld->m;
    SG_TRY(sg_load_linear(ld, &m->cls, -1, "cls", m->h.dim, m->h.dim, SG_MAY | SG_MAY_BIAS));
    return sg_load_linear(ld, &m->cls_out, -1, "cls.output", 1, m->h.dim, SG_MAY | SG_MAY_BIAS);
}

sg_status sg_bert_globals(sg_loader *ld)
{
    sg_model *m = ld->m;
    int dim = m->h.dim;
    SG_TRY(sg_load_table(ld, &m->position, &m->position_type, &m->nposition, -1, "position_embd", dim, SG_NEED));
    SG_TRY(sg_load_table(ld, &m->token_type, &m->token_type_type, &m->h.ntype, -1, "token_types", dim, SG_NEED));
    SG_TRY(sg_load_vector(ld, &m->embed_norm, -1, "token_embd_norm", "weight", dim, SG_NEED));
    SG_TRY(sg_load_vector(ld, &m->embed_norm_b, -1, "token_embd_norm", "bias", dim, SG_NEED));
    return load_classifier(ld);
}

sg_status sg_bert_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    w->rope = -1;
    w->window = 0;
    SG_TRY(sg_load_attention(ld, w, l, SG_NEED_BIAS));
    SG_TRY(sg_load_vector(ld, &w->attn_post_norm, l, "attn_output_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_vector(ld, &w->attn_post_norm_b, l, "attn_output_norm", "bias", h->dim, SG_NEED));
    SG_TRY(sg_load_linear(ld, &w->up, l, "ffn_up", h->nff, h->dim, SG_NEED_BIAS));
    SG_TRY(sg_load_linear(ld, &w->down, l, "ffn_down", h->dim, h->nff, SG_NEED_BIAS));
    SG_TRY(sg_load_vector(ld, &w->ffn_post_norm, l, "layer_output_norm", "weight", h->dim, SG_NEED));
    return sg_load_vector(ld, &w->ffn_post_norm_b, l, "layer_output_norm", "bias", h->dim, SG_NEED);
}

void sg_bert_forward(sg_model *m, sg_pass *p)
{
    const sg_hparams *h = &m->h;
    const sg_batch *b = p->batch;
    size_t D = (size_t)h->dim, F = (size_t)h->nff;

    sg_block_embed(m, p); /* x [n][D] */
    sg_op_embed(m->ops, p->y, m->position_type, m->position, h->dim, b->pos, p->n, 1);
    sg_op_add(m->ops, p->x, p->y, p->n, h->dim, 1);
    sg_op_embed(m->ops, p->y, m->token_type_type, m->token_type, h->dim, b->type ? b->type : p->zero, p->n, 1);
    sg_op_add(m->ops, p->x, p->y, p->n, h->dim, 1);
    sg_op_layer_norm(m->ops, p->x, p->x, D, p->n, h->dim, m->embed_norm, m->embed_norm_b, h->eps);

    for (int l = 0; l < h->nlayer; l++) {
        const sg_layer *w = &m->layers[l];
        sg_block_attention(m, p, l, p->x, p->x, true);
        sg_op_layer_norm(m->ops, p->x, p->x, D, p->n, h->dim, w->attn_post_norm, w->attn_post_norm_b, h->eps);

        sg_linear_job up = {&w->up, p->gate, F, false}, down = {&w->down, p->x, D, true};
        sg_op_linear(m->ops, p->x, D, p->n, &up, 1);
        sg_op_unary(m->ops, p->gate, F, p->n, h->nff, SG_UNARY_GELU);
        sg_op_linear(m->ops, p->gate, F, p->n, &down, 1);
        sg_op_layer_norm(m->ops, p->x, p->x, D, p->n, h->dim, w->ffn_post_norm, w->ffn_post_norm_b, h->eps);
    }
}
