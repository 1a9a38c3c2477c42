/* model/llama.c - Llama and its near relatives (Touvron et al. 2023, arXiv:2302.13971).
 *
 *     llama        also Mistral, Mixtral, SmolLM2, TinyLlama, ...: GGUF calls them all llama
 *     smollm3      every fourth layer without rotary positions
 *     granite      multipliers on embedding, residual branches, scores and logits
 *     granitemoe   the same with experts; also granite's shared expert
 *
 *     x = E[token] * embed_scale
 *     each layer:  x += r * Attention(norm(x));  x += r * FFN(norm(x))        r = residual_scale, mostly 1
 *     logits = head(norm(x)) * logit_scale
 */
#include "model/families.h"

#include <math.h>
#include <string.h>

sg_status sg_llama_params(sg_hparams *h, const sg_keys *k)
{
    SG_TRY(sg_hparams_decoder(h, k));
    return sg_keys_bool(k, "expert_weights_norm", true, &h->gate_norm); /* mixtral */
}

sg_status sg_granite_params(sg_hparams *h, const sg_keys *k)
{
    float divisor;
    SG_TRY(sg_hparams_decoder(h, k));
    SG_TRY(sg_keys_float(k, "embedding_scale", -1e6, 1e6, 1, &h->embed_scale));
    SG_TRY(sg_keys_float(k, "residual_scale", -1e6, 1e6, 1, &h->residual_scale));
    SG_TRY(sg_keys_float(k, "attention.scale", 0, 1e6, 0, &h->attn_scale));
    SG_TRY(sg_keys_float(k, "logit_scale", -1e6, 1e6, 1, &divisor));
    if (h->attn_scale == 0)
        h->attn_scale = 1.0f / sqrtf((float)h->dk);
    h->logit_scale = divisor != 0 ? 1.0f / divisor : 1;
    if (h->embed_scale == 0)
        h->embed_scale = 1;
    if (h->residual_scale == 0)
        h->residual_scale = 1;
    h->gating = SG_GATING_SOFTMAX_CHOSEN;
    return SG_OK;
}

sg_status sg_llama_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    if (strcmp(h->arch, "smollm3") == 0)
        SG_TRY(sg_load_rotates(ld, w, l, l % 4 != 3));
    SG_TRY(sg_load_vector(ld, &w->attn_norm, l, "attn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_attention(ld, w, l, SG_MAY_BIAS));
    SG_TRY(sg_load_vector(ld, &w->ffn_norm, l, "ffn_norm", "weight", h->dim, SG_NEED));
    if (!h->nexpert)
        return sg_load_glu(ld, w, l, SG_MAY_BIAS);
    SG_TRY(sg_load_experts(ld, w, l, SG_GLU_SILU, SG_NEED));
    return h->nff_shared ? sg_load_shared_expert(ld, w, l) : SG_OK;
}

void sg_llama_forward(sg_model *m, sg_pass *p)
{
    const sg_hparams *h = &m->h;
    float r = h->residual_scale;
    sg_block_embed(m, p); /* x [n][D] */
    for (int l = 0; l < h->nlayer; l++) {
        const sg_layer *w = &m->layers[l];
        sg_block_norm(m, p->y, p->x, p->n, w->attn_norm);
        if (r == 1) {
            sg_block_attention(m, p, l, p->y, p->x, true);
            sg_block_norm(m, p->y, p->x, p->n, w->ffn_norm);
            sg_block_ffn(m, p, l, p->y, p->x, true);
            continue;
        }
        sg_block_attention(m, p, l, p->y, p->y, false); /* y is used up by the projections */
        sg_op_add(m->ops, p->x, p->y, p->n, h->dim, r);
        sg_block_norm(m, p->y, p->x, p->n, w->ffn_norm);
        sg_block_ffn(m, p, l, p->y, p->z, false);
        sg_op_add(m->ops, p->x, p->z, p->n, h->dim, r);
    }
}
