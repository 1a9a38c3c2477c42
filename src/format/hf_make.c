/* format/hf_make.c - from stored tensors to GGUF tensors: views, types, and the rows that families share.
 *
 * Types: one-dimensional tensors and those that route, position or normalise become F32, as llama.cpp's
 * loader wants them; matrices keep the type that they are stored in.
 */
#include "format/hf.h"

#include "base/heap.h"

#include <inttypes.h>
#include <string.h>

sg_status sg_hf_part(sg_part *p, const sg_stored *s, sg_error *err)
{
    if (s->type != SG_F32 && s->type != SG_F16 && s->type != SG_BF16)
        return sg_fail(err, SG_E_UNSUPPORTED, "tensor '%s': weights of dtype %s are not read", s->name, s->dtype);
    if (s->ndim < 1 || s->ndim > 4 || !s->bytes)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': %d dimensions and %zu bytes", s->name, s->ndim, s->bytes);
    *p = (sg_part){.file = s->file, .base = s->offset, .bytes = s->bytes, .type = (sg_dtype)s->type};
    uint64_t stride = 1;
    for (int d = SG_VIEW_DIMS - 1, i = s->ndim - 1; d >= 0; d--, i--) {
        p->n[d] = i >= 0 ? s->shape[i] : 1;
        p->stride[d] = i >= 0 ? stride : 0;
        stride *= p->n[d];
    }
    return SG_OK;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

bool sg_gguf_keeps_f32(const char *name, int ndim)
{
    return ndim == 1 || ends_with(name, "_norm.weight") || ends_with(name, ".bias") ||
           ends_with(name, "ffn_gate_inp.weight") || ends_with(name, "ffn_gate_inp_shexp.weight") ||
           !strcmp(name, "position_embd.weight") || !strcmp(name, "token_types.weight");
}

/* Whether one part is the stored bytes as they stand. */
static bool contiguous(const sg_part *p)
{
    uint64_t stride = 1;
    for (int d = SG_VIEW_DIMS - 1; d >= 0; d--) {
        if (p->n[d] != 1 && p->stride[d] != stride)
            return false;
        stride *= p->n[d];
    }
    return true;
}

static sg_status check_parts(const sg_tensor *t, const char *name, const sg_part *parts, size_t npart, sg_error *err)
{
    unsigned __int128 values = 0;
    for (size_t i = 0; i < npart; i++) {
        const sg_part *p = &parts[i];
        if (!sg_part_sound(p) || p->type != parts[0].type)
            return sg_fail(err, SG_E_FORMAT, "tensor '%s': the stored tensor's shape or type does not fit config.json",
                           name);
        values += (unsigned __int128)(p->n[0] * p->n[1] * p->n[2]) * (p->n[3] * p->n[4]);
    }
    if (values * sg_dtype_of(t->type)->block != (unsigned __int128)sg_tensor_values(t))
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': the stored tensor's shape does not fit config.json", name);
    return SG_OK;
}

sg_status sg_hf_emit(sg_hf *h, const char *name, int ndim, const uint64_t *ne, const sg_part *parts, size_t npart,
                     sg_recipe_op op, sg_error *err)
{
    sg_tensor t = {.ndim = ndim, .ne = {1, 1, 1, 1}};
    const char *why = NULL;
    for (int i = 0; i < ndim; i++)
        t.ne[i] = ne[i];
    t.type = op != SG_RECIPE_MXFP4 && sg_gguf_keeps_f32(name, ndim) ? SG_F32 : parts[0].type;
    if (!t.ne[0] || !t.ne[1] || !t.ne[2] || !t.ne[3] || !sg_tensor_size(&t, &why))
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': %s", name, why ? why : "a dimension is 0");
    SG_TRY(check_parts(&t, name, parts, npart, err));
    const sg_part *p = &parts[0];
    size_t at = p->base + (size_t)p->start * sg_dtype_of(p->type)->bytes;
    if (npart == 1 && op == SG_RECIPE_COPY && t.type == p->type && contiguous(p) &&
        at % sg_dtype_of(t.type)->bytes == 0) {
        t.file = p->file;
        t.offset = at;
        t.data = p->file->data + at;
    } else {
        sg_recipe *r = sg_alloc(sizeof *r + npart * sizeof *parts);
        if (!r)
            return sg_fail_nomem(err, "the tensor directory");
        r->op = op;
        r->npart = npart;
        memcpy(r->parts, parts, npart * sizeof *parts);
        t.recipe = r;
    }
    return sg_weights_add(h->w, &t, name, strlen(name), err);
}

sg_status sg_hf_emit_floats(sg_hf *h, const char *name, const float *v, size_t n, sg_error *err)
{
    sg_weights *w = h->w;
    if (w->nblob == sizeof w->blobs / sizeof w->blobs[0])
        return sg_fail(err, SG_E_INTERNAL, "tensor '%s': too many computed tensors", name);
    float *copy = sg_alloc(n * sizeof *copy);
    if (!copy)
        return sg_fail_nomem(err, name);
    memcpy(copy, v, n * sizeof *copy);
    w->blobs[w->nblob++] = copy;
    sg_tensor t = {.type = SG_F32, .ndim = 1, .ne = {n, 1, 1, 1}, .bytes = n * sizeof *copy, .data = copy};
    return sg_weights_add(w, &t, name, strlen(name), err);
}

/* ---- ways to make a tensor ---------------------------------------------------------- */

static void ne_of(const sg_stored *s, uint64_t ne[4])
{
    for (int i = 0; i < 4; i++)
        ne[i] = i < s->ndim ? s->shape[s->ndim - 1 - i] : 1;
}

static sg_status plain(sg_hf *h, const char *name, const sg_stored *s, sg_recipe_op op, sg_error *err)
{
    sg_part p;
    uint64_t ne[4];
    SG_TRY(sg_hf_part(&p, s, err));
    ne_of(s, ne);
    return sg_hf_emit(h, name, s->ndim, ne, &p, 1, op, err);
}

sg_status sg_hf_copy(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    (void)row;
    return plain(h, name, s, SG_RECIPE_COPY, err);
}

sg_status sg_hf_add_one(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    (void)row;
    return plain(h, name, s, SG_RECIPE_ADD_ONE, err);
}

sg_status sg_hf_head(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    bool tied = false;
    SG_TRY(sg_hf_bool(h, "tie_word_embeddings", false, &tied, err));
    return tied ? SG_OK : sg_hf_copy(h, row, name, s, err);
}

/* Rows [head][2][d/2] of a matrix or bias become [head][d/2][2]. */
static sg_status to_pairs(sg_hf *h, const char *name, const sg_stored *s, uint64_t nhead, sg_error *err)
{
    sg_part p;
    uint64_t ne[4];
    SG_TRY(sg_hf_part(&p, s, err));
    ne_of(s, ne);
    uint64_t rows = s->shape[0], columns = s->ndim > 1 ? s->shape[1] : 1;
    if (s->ndim > 2 || !nhead || rows % nhead || rows / nhead % 2)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': %" PRIu64 " rows are not %" PRIu64 " heads of an even size",
                       s->name, rows, nhead);
    uint64_t half = rows / nhead / 2;
    sg_part view = p;
    memcpy(view.n, (uint64_t[]){1, nhead, half, 2, columns}, sizeof view.n);
    memcpy(view.stride, (uint64_t[]){0, 2 * half * columns, columns, half * columns, 1}, sizeof view.stride);
    return sg_hf_emit(h, name, s->ndim, ne, &view, 1, SG_RECIPE_COPY, err);
}

sg_status sg_hf_rope_q(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    (void)row;
    return to_pairs(h, name, s, h->nhead, err);
}

sg_status sg_hf_rope_k(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    (void)row;
    return to_pairs(h, name, s, h->nhead_kv, err);
}

sg_status sg_hf_half(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    sg_part p;
    uint64_t ne[4];
    SG_TRY(sg_hf_part(&p, s, err));
    ne_of(s, ne);
    if (s->ndim < 2 || ne[1] % 2)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': its rows cannot be halved", s->name);
    ne[1] /= 2;
    p.n[SG_VIEW_DIMS - 2] /= 2;
    p.start = (uint64_t)row->arg * ne[1] * ne[0];
    return sg_hf_emit(h, name, s->ndim, ne, &p, 1, SG_RECIPE_COPY, err);
}

/* ---- rows that several families share -------------------------------------------------- */

const sg_hf_row sg_hf_rows_outer[] = {
    {"model.embed_tokens.weight", "token_embd.weight", NULL, 0},
    {"model.norm.weight", "output_norm.weight", NULL, 0},
    {"lm_head.weight", "output.weight", sg_hf_head, 0},
    {0},
};

const sg_hf_row sg_hf_rows_norms[] = {
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", NULL, 0},
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.ffn_norm.weight", NULL, 0},
    {0},
};

#define HEADS(q, k)                                                                 \
    {"model.layers.%.self_attn.q_proj.weight", "blk.%.attn_q.weight", q, 0},        \
    {"model.layers.%.self_attn.q_proj.bias", "blk.%.attn_q.bias", q, 0},            \
    {"model.layers.%.self_attn.k_proj.weight", "blk.%.attn_k.weight", k, 0},        \
    {"model.layers.%.self_attn.k_proj.bias", "blk.%.attn_k.bias", k, 0},            \
    {"model.layers.%.self_attn.v_proj.weight", "blk.%.attn_v.weight", NULL, 0},     \
    {"model.layers.%.self_attn.v_proj.bias", "blk.%.attn_v.bias", NULL, 0},         \
    {"model.layers.%.self_attn.o_proj.weight", "blk.%.attn_output.weight", NULL, 0}, \
    {"model.layers.%.self_attn.o_proj.bias", "blk.%.attn_output.bias", NULL, 0},    \
    {0}

const sg_hf_row sg_hf_rows_qkv[] = {HEADS(NULL, NULL)};
const sg_hf_row sg_hf_rows_qkv_pairs[] = {HEADS(sg_hf_rope_q, sg_hf_rope_k)};

const sg_hf_row sg_hf_rows_qk_norms[] = {
    {"model.layers.%.self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", NULL, 0},
    {"model.layers.%.self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", NULL, 0},
    {0},
};

const sg_hf_row sg_hf_rows_mlp[] = {
    {"model.layers.%.mlp.gate_proj.weight", "blk.%.ffn_gate.weight", NULL, 0},
    {"model.layers.%.mlp.gate_proj.bias", "blk.%.ffn_gate.bias", NULL, 0},
    {"model.layers.%.mlp.up_proj.weight", "blk.%.ffn_up.weight", NULL, 0},
    {"model.layers.%.mlp.up_proj.bias", "blk.%.ffn_up.bias", NULL, 0},
    {"model.layers.%.mlp.down_proj.weight", "blk.%.ffn_down.weight", NULL, 0},
    {"model.layers.%.mlp.down_proj.bias", "blk.%.ffn_down.bias", NULL, 0},
    {0},
};

const sg_hf_row sg_hf_rows_experts[] = {
    {"model.layers.%.mlp.gate.weight", "blk.%.ffn_gate_inp.weight", NULL, 0},
    {"model.layers.%.mlp.experts.#.gate_proj.weight", "blk.%.ffn_gate_exps.weight", NULL, 0},
    {"model.layers.%.mlp.experts.#.up_proj.weight", "blk.%.ffn_up_exps.weight", NULL, 0},
    {"model.layers.%.mlp.experts.#.down_proj.weight", "blk.%.ffn_down_exps.weight", NULL, 0},
    {0},
};
