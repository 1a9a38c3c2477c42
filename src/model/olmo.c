/* model/olmo.c - OLMo 2, OLMo 3 and OLMoE (Groeneveld et al. 2024, arXiv:2402.00838; 2025, arXiv:2501.00656;
 * Muennighoff et al. 2024, arXiv:2409.02060).
 *
 *     OLMo 2, 3   x += norm(Attention(x));  x += norm(GLU(x))      norms after the blocks only
 *     OLMoE       llama's order, experts
 *
 * All have RMS norms of q and k over their full width, before the split in heads.  OLMo 3 (also "olmo2" in GGUF) has
 * windows in three of four layers, and these rotate without scaling.
 */
#include "model/families.h"

sg_status sg_olmo_params(sg_hparams *h, const sg_keys *k)
{
    double clamp;
    SG_TRY(sg_hparams_decoder(h, k));
    SG_TRY(sg_keys_num(k, "attention.clamp_kqv", 0, 1e30, 0, &clamp));
    if (clamp > 0)
        return sg_fail(k->err, SG_E_UNSUPPORTED, "%s.attention.clamp_kqv is %g: clamping q, k and v is not supported",
                       k->arch, clamp);
    if (h->window)
        h->rope_base_local = h->rope.base;
    return SG_OK;
}

static sg_status full_norms(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    w->qk_norm_full = true;
    SG_TRY(sg_load_vector(ld, &w->q_norm, l, "attn_q_norm", "weight", h->nhead * h->dk, SG_NEED));
    return sg_load_vector(ld, &w->k_norm, l, "attn_k_norm", "weight", h->nkv * h->dk, SG_NEED);
}

sg_status sg_olmo2_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    SG_TRY(sg_load_window(ld, w, l, l % 4 != 3));
    w->rope = w->window ? 1 : 0;
    SG_TRY(sg_load_attention(ld, w, l, SG_MAY_BIAS));
    SG_TRY(full_norms(ld, w, l));
    SG_TRY(sg_load_vector(ld, &w->attn_post_norm, l, "post_attention_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_glu(ld, w, l, SG_NEED));
    return sg_load_vector(ld, &w->ffn_post_norm, l, "post_ffw_norm", "weight", h->dim, SG_NEED);
}

void sg_olmo2_forward(sg_model *m, sg_pass *p)
{
    const sg_hparams *h = &m->h;
    sg_block_embed(m, p); /* x [n][D] */
    for (int l = 0; l < h->nlayer; l++) {
        const sg_layer *w = &m->layers[l];
        sg_block_attention(m, p, l, p->x, p->y, false);
        sg_block_norm(m, p->y, p->y, p->n, w->attn_post_norm);
        sg_op_add(m->ops, p->x, p->y, p->n, h->dim, 1);
        sg_block_glu(m, p, l, p->x, p->y, SG_GLU_SILU, false);
        sg_block_norm(m, p->y, p->y, p->n, w->ffn_post_norm);
        sg_op_add(m->ops, p->x, p->y, p->n, h->dim, 1);
    }
}

sg_status sg_olmoe_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    SG_TRY(sg_load_vector(ld, &w->attn_norm, l, "attn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_attention(ld, w, l, SG_MAY_BIAS));
    SG_TRY(full_norms(ld, w, l));
    SG_TRY(sg_load_vector(ld, &w->ffn_norm, l, "ffn_norm", "weight", h->dim, SG_NEED));
    return sg_load_experts(ld, w, l, SG_GLU_SILU, SG_NEED);
}
