/* model/gptoss.c - gpt-oss (OpenAI 2025, arXiv:2508.10925).
 *
 *     x += Attention(norm(x));  x += Experts(norm(x))
 *
 * Attention has a learned sink for each head: a logit in the softmax's sum without a value, so that a head may look at
 * nothing.  Even layers have a window.  Everything has biases but the head.  The experts' activation is clamped; the
 * router takes the softmax over the chosen logits only.  GGUF calls the second norm post_attention_norm.
 */
#include "model/families.h"

sg_status sg_gptoss_params(sg_hparams *h, const sg_keys *k)
{
    SG_TRY(sg_hparams_decoder(h, k));
    if (!h->nexpert)
        return sg_fail(k->err, SG_E_FORMAT, "key %s.expert_count is missing or 0", k->arch);
    h->gating = SG_GATING_SOFTMAX_CHOSEN;
    return SG_OK;
}

sg_status sg_gptoss_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    SG_TRY(sg_load_window(ld, w, l, l % 2 == 0));
    SG_TRY(sg_load_vector(ld, &w->attn_norm, l, "attn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_attention(ld, w, l, SG_NEED_BIAS));
    SG_TRY(sg_load_vector(ld, &w->sinks, l, "attn_sinks", "weight", h->nhead, SG_NEED));
    SG_TRY(sg_load_vector(ld, &w->ffn_norm, l, "post_attention_norm", "weight", h->dim, SG_NEED));
    return sg_load_experts(ld, w, l, SG_GLU_OAI, SG_NEED_BIAS);
}

void sg_gptoss_forward(sg_model *m, sg_pass *p)
{
    sg_block_embed(m, p); /* x [n][D] */
    for (int l = 0; l < m->h.nlayer; l++) {
        const sg_layer *w = &m->layers[l];
        sg_block_norm(m, p->y, p->x, p->n, w->attn_norm);
        sg_block_attention(m, p, l, p->y, p->x, true);
        sg_block_norm(m, p->y, p->x, p->n, w->ffn_norm);
        sg_block_experts(m, p, l, p->y, p->x, true);
    }
}
