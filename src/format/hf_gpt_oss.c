/* format/hf_gpt_oss.c - gpt-oss: experts in bfloat16 or MXFP4, attention sinks.
 *
 * gate_up_proj holds gate and up interleaved: column 2j (or row 2j, in MXFP4) is gate j, 2j + 1 is up j.
 * The bfloat16 form is [expert][in][out] and is transposed; the MXFP4 form is [expert][out][in / 32][16]
 * with the exponents apart, and only moves its nibbles.
 */
#include "format/hf.h"

#include <stdio.h>
#include <string.h>

static bool every_second(uint64_t layer) { return layer % 2 == 0; }

static sg_status gpt_oss(sg_hf *h, sg_error *err)
{
    uint64_t ff = 0;
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_rope(h, h->head_dim, err));
    SG_TRY(sg_hf_need_u64(h, "num_local_experts", &h->nexpert, err));
    SG_TRY(sg_hf_set_u64(h, "expert_count", h->nexpert, err));
    SG_TRY(sg_hf_pass_u64(h, "num_experts_per_tok", "expert_used_count", err));
    SG_TRY(sg_hf_need_u64(h, "intermediate_size", &ff, err));
    SG_TRY(sg_hf_set_u64(h, "expert_feed_forward_length", ff, err));
    return sg_hf_window(h, every_second, err);
}

enum { GATE = 0, UP = 1, DOWN = 2 };

static sg_status wrong_shape(const sg_stored *s, sg_error *err)
{
    return sg_fail(err, SG_E_FORMAT, "tensor '%s': its shape is not that of gpt-oss experts", s->name);
}

/* [expert][in][out], out interleaved for gate and up. */
static sg_status matrix(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    sg_part p;
    SG_TRY(sg_hf_part(&p, s, err));
    uint64_t step = row->arg == DOWN ? 1 : 2;
    if (s->ndim != 3 || s->shape[2] % step)
        return wrong_shape(s, err);
    uint64_t in = s->shape[1], out = s->shape[2];
    memcpy(p.n, (uint64_t[]){1, 1, s->shape[0], out / step, in}, sizeof p.n);
    memcpy(p.stride, (uint64_t[]){0, 0, in * out, step, out}, sizeof p.stride);
    p.start = row->arg == UP;
    return sg_hf_emit(h, name, 3, (uint64_t[]){in, out / step, s->shape[0]}, &p, 1, SG_RECIPE_COPY, err);
}

static sg_status bias(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    sg_part p;
    SG_TRY(sg_hf_part(&p, s, err));
    uint64_t step = row->arg == DOWN ? 1 : 2;
    if (s->ndim != 2 || s->shape[1] % step)
        return wrong_shape(s, err);
    p.n[4] /= step;
    p.stride[4] = step;
    p.start = row->arg == UP;
    return sg_hf_emit(h, name, 2, (uint64_t[]){p.n[4], s->shape[0]}, &p, 1, SG_RECIPE_COPY, err);
}

/* "..._blocks" [expert][out][in / 32][16] with "..._scales" [expert][out][in / 32]. */
static sg_status blocks(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    char scales_name[512];
    uint64_t step = row->arg == DOWN ? 1 : 2;
    snprintf(scales_name, sizeof scales_name, "%.*s_scales", (int)(strlen(s->name) - strlen("_blocks")), s->name);
    const sg_stored *e = sg_hf_find(h, scales_name);
    if (!e)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s' is missing", scales_name);
    if (s->ndim != 4 || e->ndim != 3 || strcmp(s->dtype, "U8") != 0 || strcmp(e->dtype, "U8") != 0 ||
        s->shape[3] != 16 || memcmp(s->shape, e->shape, 3 * sizeof s->shape[0]) != 0 || s->shape[1] % step)
        return wrong_shape(s, err);
    uint64_t rows = s->shape[1], nblock = s->shape[2];
    sg_part p = {.file = s->file, .base = s->offset, .bytes = s->bytes, .type = SG_MXFP4, .file_scales = e->file,
                 .scales = e->offset, .scales_bytes = e->bytes, .start = row->arg == UP ? nblock : 0,
                 .n = {1, 1, s->shape[0], rows / step, nblock}, .stride = {0, 0, rows * nblock, step * nblock, 1}};
    return sg_hf_emit(h, name, 3, (uint64_t[]){nblock * 32, rows / step, s->shape[0]}, &p, 1, SG_RECIPE_MXFP4, err);
}

static const sg_hf_row rows[] = {
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", NULL, 0},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", NULL, 0},
    {"model.layers.%.self_attn.sinks", "blk.%.attn_sinks.weight", NULL, 0},
    {"model.layers.%.mlp.router.weight", "blk.%.ffn_gate_inp.weight", NULL, 0},
    {"model.layers.%.mlp.router.bias", "blk.%.ffn_gate_inp.bias", NULL, 0},
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_gate_exps.weight", matrix, GATE},
    {"model.layers.%.mlp.experts.gate_up_proj", "blk.%.ffn_up_exps.weight", matrix, UP},
    {"model.layers.%.mlp.experts.down_proj", "blk.%.ffn_down_exps.weight", matrix, DOWN},
    {"model.layers.%.mlp.experts.gate_up_proj_blocks", "blk.%.ffn_gate_exps.weight", blocks, GATE},
    {"model.layers.%.mlp.experts.gate_up_proj_blocks", "blk.%.ffn_up_exps.weight", blocks, UP},
    {"model.layers.%.mlp.experts.down_proj_blocks", "blk.%.ffn_down_exps.weight", blocks, DOWN},
    {"model.layers.%.mlp.experts.gate_up_proj_bias", "blk.%.ffn_gate_exps.bias", bias, GATE},
    {"model.layers.%.mlp.experts.gate_up_proj_bias", "blk.%.ffn_up_exps.bias", bias, UP},
    {"model.layers.%.mlp.experts.down_proj_bias", "blk.%.ffn_down_exps.bias", bias, DOWN},
    {0},
};

static const sg_hf_row *const tables[] = {sg_hf_rows_outer, rows, sg_hf_rows_qkv, NULL};
static const sg_hf_default defaults[] = {{"rms_norm_eps", 1e-5},     {"rope_theta", 150000}, {"head_dim", 64},
                                         {"sliding_window", 128},    {"num_local_experts", 128},
                                         {"num_experts_per_tok", 4}, {0}};

const sg_hf_family sg_hf_gpt_oss_families[] = {
    {"gpt_oss", "gpt-oss", tables, gpt_oss, defaults, NULL, NULL, "silu"},
    {0},
};
