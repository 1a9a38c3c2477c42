/* model/qwen.c - Qwen 2, 2.5 and 3, dense and with experts (Yang et al. 2024, arXiv:2407.10671; 2025,
 * arXiv:2505.09388).
 *
 * Llama's pass with other tensors: biases on q, k, v (2), RMS norm of each head's q and k before rotation (3), a shared
 * expert with its own gate (2, experts).  Rotation is by halves.
 */
#include "model/families.h"

#include <string.h>

sg_status sg_qwen_params(sg_hparams *h, const sg_keys *k)
{
    SG_TRY(sg_hparams_decoder(h, k));
    return sg_keys_bool(k, "expert_weights_norm", strcmp(h->arch, "qwen3moe") == 0, &h->gate_norm);
}

sg_status sg_qwen_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    bool v3 = strncmp(h->arch, "qwen3", 5) == 0;
    SG_TRY(sg_load_vector(ld, &w->attn_norm, l, "attn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(sg_load_attention(ld, w, l, v3 ? SG_MAY_BIAS : SG_NEED_BIAS));
    if (v3) {
        SG_TRY(sg_load_vector(ld, &w->q_norm, l, "attn_q_norm", "weight", h->dk, SG_NEED));
        SG_TRY(sg_load_vector(ld, &w->k_norm, l, "attn_k_norm", "weight", h->dk, SG_NEED));
    }
    SG_TRY(sg_load_vector(ld, &w->ffn_norm, l, "ffn_norm", "weight", h->dim, SG_NEED));
    if (!h->nexpert || !sg_load_have(ld, l, "ffn_gate_inp", "weight")) /* some layers may be dense */
        return sg_load_glu(ld, w, l, SG_MAY_BIAS);
    SG_TRY(sg_load_experts(ld, w, l, SG_GLU_SILU, SG_NEED));
    return h->nff_shared ? sg_load_shared_expert(ld, w, l) : SG_OK;
}
