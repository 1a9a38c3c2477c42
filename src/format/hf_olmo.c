/* format/hf_olmo.c - olmo 2 and olmoe. */
#include "format/hf.h"

static sg_status olmo2(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    return sg_hf_rope(h, h->head_dim, err);
}

static sg_status olmoe(sg_hf *h, sg_error *err)
{
    bool renorm = false;
    SG_TRY(olmo2(h, err));
    SG_TRY(sg_hf_need_u64(h, "num_experts", &h->nexpert, err));
    SG_TRY(sg_hf_set_u64(h, "expert_count", h->nexpert, err));
    SG_TRY(sg_hf_pass_u64(h, "num_experts_per_tok", "expert_used_count", err));
    SG_TRY(sg_hf_pass_f64(h, "clip_qkv", "attention.clamp_kqv", err));
    SG_TRY(sg_hf_bool(h, "norm_topk_prob", false, &renorm, err));
    return renorm ? sg_hf_set_bool(h, "expert_weights_norm", true, err) : SG_OK;
}

/* Norms only after the blocks, before the residual is added. */
static const sg_hf_row after_norms[] = {
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", NULL, 0},
    {"model.layers.%.post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", NULL, 0},
    {0},
};

static const sg_hf_row *const olmo2_tables[] = {sg_hf_rows_outer, after_norms,         sg_hf_rows_qkv,
                                                sg_hf_rows_mlp,   sg_hf_rows_qk_norms, NULL};
static const sg_hf_row *const olmoe_tables[] = {sg_hf_rows_outer,   sg_hf_rows_norms,    sg_hf_rows_qkv,
                                                sg_hf_rows_experts, sg_hf_rows_qk_norms, NULL};

static const sg_hf_default olmo2_defaults[] = {{"rms_norm_eps", 1e-5}, {0}};
static const sg_hf_default olmoe_defaults[] = {
    {"rms_norm_eps", 1e-5}, {"num_experts", 64}, {"num_experts_per_tok", 8}, {0}};

const sg_hf_family sg_hf_olmo_families[] = {
    {"olmo2", "olmo2", olmo2_tables, olmo2, olmo2_defaults, NULL, NULL, "silu"},
    {"olmoe", "olmoe", olmoe_tables, olmoe, olmoe_defaults, NULL, NULL, "silu"},
    {0},
};
