/* format/hf_phi.c - phi 3.  GGUF keeps q, k, v and gate, up fused as they are stored. */
#include "format/hf.h"

static sg_status phi3(sg_hf *h, sg_error *err)
{
    double partial = 0;
    uint64_t original = 0, window = 0, context = 0;
    json_t *newer = json_object_get(h->config, "rope_parameters");
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_f64(h, "partial_rotary_factor", 1, &partial, err));
    json_t *own = json_object_get(newer, "partial_rotary_factor");
    if (json_is_number(own))
        partial = json_number_value(own);
    if (!(partial > 0 && partial <= 1))
        return sg_fail(err, SG_E_FORMAT, "config.json: partial_rotary_factor is %g", partial);
    uint64_t rot = (uint64_t)(partial * (double)h->head_dim);
    SG_TRY(sg_hf_rope(h, rot, err));
    SG_TRY(sg_hf_set_u64(h, "rope.dimension_count", rot, err));
    SG_TRY(sg_hf_u64(h, "sliding_window", 0, &window, err));
    SG_TRY(sg_hf_set_u64(h, "attention.sliding_window", window, err));
    SG_TRY(sg_hf_u64(h, "max_position_embeddings", 0, &context, err));
    json_t *stated = json_object_get(newer, "original_max_position_embeddings");
    if (json_is_integer(stated) && json_integer_value(stated) > 0 && json_integer_value(stated) <= UINT32_MAX)
        context = (uint64_t)json_integer_value(stated);
    SG_TRY(sg_hf_u64(h, "original_max_position_embeddings", context, &original, err));
    return sg_hf_set_u64(h, "rope.scaling.original_context_length", original, err);
}

static const sg_hf_row rows[] = {
    {"model.layers.%.self_attn.qkv_proj.weight", "blk.%.attn_qkv.weight", NULL, 0},
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", NULL, 0},
    {"model.layers.%.mlp.gate_up_proj.weight", "blk.%.ffn_up.weight", NULL, 0},
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", NULL, 0},
    {0},
};

static const sg_hf_row *const tables[] = {sg_hf_rows_outer, sg_hf_rows_norms, rows, NULL};
static const sg_hf_default defaults[] = {{"rms_norm_eps", 1e-5}, {0}};

const sg_hf_family sg_hf_phi_families[] = {
    {"phi3", "phi3", tables, phi3, defaults, NULL, NULL, "silu"},
    {0},
};
