/* format/hf_granite.c - granite and granitemoe: llama with four multipliers. */
#include "format/hf.h"

static sg_status granite(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_rope(h, h->head_dim, err));
    SG_TRY(sg_hf_pass_u64(h, "vocab_size", "vocab_size", err));
    SG_TRY(sg_hf_set_u64(h, "rope.dimension_count", h->head_dim, err));
    SG_TRY(sg_hf_pass_f64(h, "attention_multiplier", "attention.scale", err));
    SG_TRY(sg_hf_pass_f64(h, "embedding_multiplier", "embedding_scale", err));
    SG_TRY(sg_hf_pass_f64(h, "residual_multiplier", "residual_scale", err));
    return sg_hf_pass_f64(h, "logits_scaling", "logit_scale", err);
}

static sg_status granitemoe(sg_hf *h, sg_error *err)
{
    SG_TRY(granite(h, err));
    SG_TRY(sg_hf_need_u64(h, "num_local_experts", &h->nexpert, err));
    SG_TRY(sg_hf_set_u64(h, "expert_count", h->nexpert, err));
    return sg_hf_pass_u64(h, "num_experts_per_tok", "expert_used_count", err);
}

/* input_linear [expert][gate rows, up rows][hidden]. */
static const sg_hf_row moe_rows[] = {
    {"model.layers.%.block_sparse_moe.router.layer.weight", "blk.%.ffn_gate_inp.weight", NULL, 0},
    {"model.layers.%.block_sparse_moe.input_linear.weight", "blk.%.ffn_gate_exps.weight", sg_hf_half, 0},
    {"model.layers.%.block_sparse_moe.input_linear.weight", "blk.%.ffn_up_exps.weight", sg_hf_half, 1},
    {"model.layers.%.block_sparse_moe.output_linear.weight", "blk.%.ffn_down_exps.weight", NULL, 0},
    {0},
};

static const sg_hf_row *const dense[] = {sg_hf_rows_outer, sg_hf_rows_norms, sg_hf_rows_qkv_pairs, sg_hf_rows_mlp,
                                         NULL};
static const sg_hf_row *const sparse[] = {sg_hf_rows_outer, sg_hf_rows_norms, sg_hf_rows_qkv_pairs, moe_rows, NULL};

static const sg_hf_default defaults[] = {{"rms_norm_eps", 1e-6},      {"attention_multiplier", 1},
                                         {"embedding_multiplier", 1}, {"residual_multiplier", 1},
                                         {"logits_scaling", 1},       {0}};
static const sg_hf_default moe_defaults[] = {
    {"rms_norm_eps", 1e-6},   {"attention_multiplier", 1}, {"embedding_multiplier", 1}, {"residual_multiplier", 1},
    {"logits_scaling", 1},    {"num_local_experts", 8},    {"num_experts_per_tok", 2},  {0}};

const sg_hf_family sg_hf_granite_families[] = {
    {"granite", "granite", dense, granite, defaults, NULL, NULL, "silu"},
    {"granitemoe", "granitemoe", sparse, granitemoe, moe_defaults, NULL, NULL, "silu"},
    {0},
};
