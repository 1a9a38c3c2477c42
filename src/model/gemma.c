/* model/gemma.c - Gemma 1, 2 and 3 (Gemma Team 2024, arXiv:2403.08295, arXiv:2408.00118; 2025, arXiv:2503.19786).
 *
 *     x = E[token] * sqrt(D)
 *     each layer:  x += post(Attention(norm(x)));  x += post(GLU(norm(x)))        post: from 2 on
 *     logits = cap * tanh(E norm(x) / cap)                                        cap: 2
 *
 * Gemma 2 alternates window and full attention, beginning with a window, and caps the scores; 3 has five window layers
 * to one full layer, a rotation base of its own for the former, and norms of each head's q and k.  Files hold norm
 * weights with the 1 already added.
 */
#include "model/families.h"

#include <math.h>
#include <string.h>

/* 1 / sqrt(query_pre_attn_scalar).  Files without the key imply the head's size, but for the 27B models, which take D /
 * H. */
static sg_status read_scale(sg_hparams *h, const sg_keys *k)
{
    int big = strcmp(h->arch, "gemma2") == 0 ? 46 : 62;
    double scalar, implied = h->nlayer == big ? (double)h->dim / h->nhead : h->dk;
    SG_TRY(sg_keys_num(k, "attention.query_pre_attn_scalar", 1e-6, 1e6, implied, &scalar));
    h->attn_scale = (float)(1 / sqrt(scalar));
    return SG_OK;
}

sg_status sg_gemma_params(sg_hparams *h, const sg_keys *k)
{
    bool v2 = strcmp(h->arch, "gemma2") == 0, v3 = strcmp(h->arch, "gemma3") == 0;
    SG_TRY(sg_hparams_decoder(h, k));
    h->embed_scale = (float)sqrt((double)h->dim);
    if (!v2 && !v3)
        return SG_OK;
    SG_TRY(sg_keys_float(k, "attn_logit_softcapping", 0, 1e6, v2 ? 50 : 0, &h->attn_softcap));
    SG_TRY(sg_keys_float(k, "final_logit_softcapping", 0, 1e6, v2 ? 30 : 0, &h->final_softcap));
    if (v3)
        SG_TRY(sg_keys_num(k, "rope.freq_base_swa", 1e-3, 1e15, 10000, &h->rope_base_local));
    return read_scale(h, k);
}

sg_status sg_gemma_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    bool v2 = strcmp(h->arch, "gemma2") == 0, v3 = strcmp(h->arch, "gemma3") == 0;
    SG_TRY(sg_load_vector(ld, &w->attn_norm, l, "attn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_attention(ld, w, l, SG_MAY_BIAS));
    SG_TRY(sg_load_vector(ld, &w->ffn_norm, l, "ffn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_glu(ld, w, l, SG_NEED));
    if (!v2 && !v3)
        return SG_OK;
    SG_TRY(sg_load_window(ld, w, l, v2 ? l % 2 == 0 : l % 6 != 5));
    SG_TRY(sg_load_vector(ld, &w->attn_post_norm, l, "post_attention_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_vector(ld, &w->ffn_post_norm, l, "post_ffw_norm", "weight", h->dim, SG_NEED));
    if (v2)
        return SG_OK;
    w->rope = w->window ? 1 : 0;
    SG_TRY(sg_load_vector(ld, &w->q_norm, l, "attn_q_norm", "weight", h->dk, SG_NEED));
    return sg_load_vector(ld, &w->k_norm, l, "attn_k_norm", "weight", h->dk, SG_NEED);
}

void sg_gemma_forward(sg_model *m, sg_pass *p)
{
    const sg_hparams *h = &m->h;
    sg_block_embed(m, p); /* x [n][D] */
    for (int l = 0; l < h->nlayer; l++) {
        const sg_layer *w = &m->layers[l];
        sg_block_norm(m, p->y, p->x, p->n, w->attn_norm);
        sg_block_attention(m, p, l, p->y, p->z, false);
        if (w->attn_post_norm)
            sg_block_norm(m, p->z, p->z, p->n, w->attn_post_norm);
        sg_op_add(m->ops, p->x, p->z, p->n, h->dim, 1);

        sg_block_norm(m, p->y, p->x, p->n, w->ffn_norm);
        sg_block_glu(m, p, l, p->y, p->z, SG_GLU_GELU_TANH, false);
        if (w->ffn_post_norm)
            sg_block_norm(m, p->z, p->z, p->n, w->ffn_post_norm);
        sg_op_add(m->ops, p->x, p->z, p->n, h->dim, 1);
    }
}
