/* format/hf_deepseek.c - deepseek 2 and 3: latent attention (MLA), shared and routed experts.
 *
 * kv_b_proj [head][nope + v][rank] becomes attn_k_b [head][rank][nope], transposed so that it is multiplied
 * with the query, and attn_v_b [head][v][rank]: GGUF describes attention over the compressed cache, with
 * one key-value head of rank + rope values.
 */
#include "format/hf.h"

#include <inttypes.h>
#include <string.h>

static sg_status heads(sg_hf *h, sg_error *err)
{
    uint64_t rank = 0, rope = 0, nope = 0, v = 0, q_rank = 0;
    SG_TRY(sg_hf_need_u64(h, "kv_lora_rank", &rank, err));
    SG_TRY(sg_hf_need_u64(h, "qk_rope_head_dim", &rope, err));
    SG_TRY(sg_hf_need_u64(h, "qk_nope_head_dim", &nope, err));
    SG_TRY(sg_hf_need_u64(h, "v_head_dim", &v, err));
    SG_TRY(sg_hf_u64(h, "q_lora_rank", 0, &q_rank, err));
    if (q_rank)
        SG_TRY(sg_hf_set_u64(h, "attention.q_lora_rank", q_rank, err));
    SG_TRY(sg_hf_set_u64(h, "attention.head_count_kv", 1, err));
    SG_TRY(sg_hf_set_u64(h, "attention.kv_lora_rank", rank, err));
    SG_TRY(sg_hf_set_u64(h, "attention.key_length", rank + rope, err));
    SG_TRY(sg_hf_set_u64(h, "attention.value_length", rank, err));
    SG_TRY(sg_hf_set_u64(h, "attention.key_length_mla", nope + rope, err));
    SG_TRY(sg_hf_set_u64(h, "attention.value_length_mla", v, err));
    SG_TRY(sg_hf_set_u64(h, "rope.dimension_count", rope, err));
    return sg_hf_rope(h, rope, err);
}

static sg_status experts(sg_hf *h, bool sigmoid, sg_error *err)
{
    uint64_t group = 0, used = 0;
    bool renorm = false;
    const char *method = json_string_value(json_object_get(h->config, "topk_method"));
    SG_TRY(sg_hf_need_u64(h, "n_routed_experts", &h->nexpert, err));
    SG_TRY(sg_hf_set_u64(h, "expert_count", h->nexpert, err));
    SG_TRY(sg_hf_pass_u64(h, "first_k_dense_replace", "leading_dense_block_count", err));
    SG_TRY(sg_hf_pass_u64(h, "num_experts_per_tok", "expert_used_count", err));
    SG_TRY(sg_hf_pass_u64(h, "moe_intermediate_size", "expert_feed_forward_length", err));
    SG_TRY(sg_hf_pass_u64(h, "n_shared_experts", "expert_shared_count", err));
    SG_TRY(sg_hf_pass_f64(h, "routed_scaling_factor", "expert_weights_scale", err));
    SG_TRY(sg_hf_set_u64(h, "expert_gating_func", sigmoid ? 2 : 1, err));
    bool grouped = sigmoid || (method && strcmp(method, "greedy") != 0);
    SG_TRY(sg_hf_u64(h, "n_group", 1, &group, err));
    SG_TRY(sg_hf_u64(h, "topk_group", 1, &used, err));
    SG_TRY(sg_hf_set_u64(h, "expert_group_count", grouped ? group : 1, err));
    SG_TRY(sg_hf_set_u64(h, "expert_group_used_count", grouped ? used : 1, err));
    SG_TRY(sg_hf_bool(h, "norm_topk_prob", sigmoid, &renorm, err));
    return sigmoid && renorm ? sg_hf_set_bool(h, "expert_weights_norm", true, err) : SG_OK; /* 2 ignores the key */
}

static sg_status common(sg_hf *h, bool sigmoid, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_pass_u64(h, "vocab_size", "vocab_size", err));
    SG_TRY(heads(h, err));
    return experts(h, sigmoid, err);
}

static sg_status deepseek2(sg_hf *h, sg_error *err) { return common(h, false, err); }
static sg_status deepseek3(sg_hf *h, sg_error *err) { return common(h, true, err); }

/* arg 0: attn_k_b, 1: attn_v_b. */
static sg_status split_kv_b(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    uint64_t rank = 0, nope = 0, v = 0;
    sg_part p;
    SG_TRY(sg_hf_need_u64(h, "kv_lora_rank", &rank, err));
    SG_TRY(sg_hf_need_u64(h, "qk_nope_head_dim", &nope, err));
    SG_TRY(sg_hf_need_u64(h, "v_head_dim", &v, err));
    SG_TRY(sg_hf_part(&p, s, err));
    if (s->ndim != 2 || s->shape[0] != h->nhead * (nope + v) || s->shape[1] != rank || !nope || !v)
        return sg_fail(err, SG_E_FORMAT,
                       "tensor '%s': %" PRIu64 "x%" PRIu64 " does not fit the head sizes of config.json", s->name,
                       s->shape[0], s->shape[1]);
    bool value = row->arg == 1;
    memcpy(p.n, (uint64_t[]){1, 1, h->nhead, value ? v : rank, value ? rank : nope}, sizeof p.n);
    memcpy(p.stride, (uint64_t[]){0, 0, (nope + v) * rank, value ? rank : 1, value ? 1 : rank}, sizeof p.stride);
    p.start = value ? nope * rank : 0;
    return sg_hf_emit(h, name, 3, (uint64_t[]){p.n[4], p.n[3], h->nhead}, &p, 1, SG_RECIPE_COPY, err);
}

static const sg_hf_row attention[] = {
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", NULL, 0},
    {"model.layers.%.self_attn.q_a_proj.weight", "blk.%.attn_q_a.weight", NULL, 0},
    {"model.layers.%.self_attn.q_a_layernorm.weight", "blk.%.attn_q_a_norm.weight", NULL, 0},
    {"model.layers.%.self_attn.q_b_proj.weight", "blk.%.attn_q_b.weight", NULL, 0},
    {"model.layers.%.self_attn.kv_a_proj_with_mqa.weight", "blk.%.attn_kv_a_mqa.weight", NULL, 0},
    {"model.layers.%.self_attn.kv_a_layernorm.weight", "blk.%.attn_kv_a_norm.weight", NULL, 0},
    {"model.layers.%.self_attn.kv_b_proj.weight", "blk.%.attn_k_b.weight", split_kv_b, 0},
    {"model.layers.%.self_attn.kv_b_proj.weight", "blk.%.attn_v_b.weight", split_kv_b, 1},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", NULL, 0},
    {0},
};

static const sg_hf_row shared[] = {
    {"model.layers.%.mlp.gate.e_score_correction_bias", "blk.%.exp_probs_b.bias", NULL, 0},
    {"model.layers.%.mlp.shared_experts.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", NULL, 0},
    {"model.layers.%.mlp.shared_experts.up_proj.weight", "blk.%.ffn_up_shexp.weight", NULL, 0},
    {"model.layers.%.mlp.shared_experts.down_proj.weight", "blk.%.ffn_down_shexp.weight", NULL, 0},
    {0},
};

static const sg_hf_row *const tables[] = {sg_hf_rows_outer, sg_hf_rows_norms,   attention, sg_hf_rows_mlp,
                                          shared,           sg_hf_rows_experts, NULL};

static const sg_hf_default defaults[] = {
    {"rms_norm_eps", 1e-6}, {"routed_scaling_factor", 1}, {"first_k_dense_replace", 0}, {0}};

const sg_hf_family sg_hf_deepseek_families[] = {
    {"deepseek_v2", "deepseek2", tables, deepseek2, defaults, NULL, NULL, "silu"},
    {"deepseek_v3", "deepseek2", tables, deepseek3, defaults, NULL, NULL, "silu"},
    {0},
};
