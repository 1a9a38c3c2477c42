/* model/load.c - tensors of a file become linear layers and vectors.
 *
 * The same functions serve checking and loading: each first proves that the tensor is there, has a type that we run and
 * the shape that the hyper-parameters say, and stops there when only checking.  So `segue info --check` and loading
 * cannot disagree.
 *
 *     packed path   stored rows -> packed tiles (all workers); the file's pages are given back at once
 *     exact path    rows stay as stored: in the mapping, or in memory of our own when the file has them in another form
 */
#include "base/f16.h"
#include "base/heap.h"
#include "model/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- memory that lives as long as the model --------------------------------------------- */

static sg_status own(sg_loader *ld, void *p, size_t bytes)
{
    sg_model *m = ld->m;
    if (m->nowned == m->cap_owned) {
        size_t cap = m->cap_owned ? m->cap_owned * 2 : 256;
        void **grown = sg_realloc(m->owned, cap * sizeof *grown);
        if (grown)
            m->owned = grown;
        size_t *sizes = grown ? sg_realloc(m->owned_bytes, cap * sizeof *sizes) : NULL;
        if (!sizes) {
            if (bytes)
                sg_free_aligned(p, bytes);
            else
                sg_free(p);
            return sg_fail_nomem(ld->err, "the model");
        }
        m->owned_bytes = sizes;
        m->cap_owned = cap;
    }
    m->owned[m->nowned] = p;
    m->owned_bytes[m->nowned++] = bytes;
    return SG_OK;
}

sg_status sg_load_alloc(sg_loader *ld, void **out, size_t count, size_t bytes)
{
    void *p = sg_calloc(count, bytes);
    if (!p)
        return sg_fail_nomem(ld->err, "the model");
    SG_TRY(own(ld, p, 0));
    *out = p;
    return SG_OK;
}

/* ---- finding ------------------------------------------------------------------------------- */

enum { NAME_MAX_ = 96 };

static const char *full_name(char out[NAME_MAX_], int l, const char *name, const char *suffix)
{
    if (l < 0)
        snprintf(out, NAME_MAX_, "%s.%s", name, suffix);
    else
        snprintf(out, NAME_MAX_, "blk.%d.%s.%s", l, name, suffix);
    return out;
}

bool sg_load_have(const sg_loader *ld, int l, const char *name, const char *suffix)
{
    char full[NAME_MAX_];
    return sg_weights_find(ld->w, full_name(full, l, name, suffix)) != NULL;
}

static void shape_text(char *out, size_t size, const uint64_t *ne, int ndim)
{
    size_t at = 0;
    for (int i = 0; i < ndim && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%" PRIu64, i ? "x" : "", ne[i]);
}

/* Find and remember that it was asked for. */
static const sg_tensor *find_used(sg_loader *ld, const char *full)
{
    const sg_tensor *t = sg_weights_find(ld->w, full);
    if (t)
        ld->used[t - sg_weights_at(ld->w, 0)] = 1;
    return t;
}

/* The tensor of that name with the shape ne0 x ne1 x ne2 (GGUF's order; 1s at the end may be left out in the file).  *t
 * is NULL when it is missing and may be. */
static sg_status find(sg_loader *ld, const sg_tensor **t, int l, const char *name, const char *suffix, uint64_t ne0,
                      uint64_t ne1, uint64_t ne2, bool may)
{
    char full[NAME_MAX_];
    const sg_tensor *f = find_used(ld, full_name(full, l, name, suffix));
    *t = f;
    if (!f)
        return may ? SG_OK : sg_fail(ld->err, SG_E_FORMAT, "tensor '%s' is missing", full);
    if (f->ne[0] != ne0 || f->ne[1] != ne1 || f->ne[2] != ne2 || f->ne[3] != 1) {
        char have[96], want[96];
        uint64_t shape[3] = {ne0, ne1, ne2};
        shape_text(have, sizeof have, f->ne, f->ndim);
        shape_text(want, sizeof want, shape, ne2 > 1 ? 3 : ne1 > 1 ? 2 : 1);
        return sg_fail(ld->err, SG_E_FORMAT, "tensor '%s' has shape %s, want %s", full, have, want);
    }
    return SG_OK;
}

static sg_status check_weight_type(sg_loader *ld, const sg_tensor *t)
{
    if (!sg_dtype_of(t->type)->weight)
        return sg_fail(ld->err, SG_E_UNSUPPORTED, "tensor '%s' has type %s, which segue does not run", t->name,
                       sg_dtype_name(t->type));
    return SG_OK;
}

/* ---- vectors ---------------------------------------------------------------------------------- */

static void decode_vector(float *out, const sg_tensor *t, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        if (t->type == SG_F32) {
            memcpy(&out[i], p + 4 * i, 4);
            continue;
        }
        memcpy(&h, p + 2 * i, 2);
        out[i] = t->type == SG_F16 ? sg_f16_to_f32(h) : sg_bf16_to_f32(h);
    }
}

/* All values of a small tensor as float32. */
static sg_status read_floats(sg_loader *ld, float **out, const sg_tensor *t)
{
    if (t->type != SG_F32 && t->type != SG_F16 && t->type != SG_BF16)
        return sg_fail(ld->err, SG_E_UNSUPPORTED, "tensor '%s' has type %s: f32, f16 or bf16 is needed here", t->name,
                       sg_dtype_name(t->type));
    if (ld->check)
        return SG_OK;
    size_t n = (size_t)sg_tensor_values(t);
    void *values = NULL;
    SG_TRY(sg_load_alloc(ld, &values, n, sizeof(float)));
    if (t->data) {
        decode_vector(values, t, t->data, n);
    } else {
        void *bytes = sg_alloc((size_t)t->bytes);
        if (!bytes)
            return sg_fail_nomem(ld->err, "the model");
        sg_status st = sg_weights_read(ld->w, t, bytes, ld->err);
        if (st == SG_OK)
            decode_vector(values, t, bytes, n);
        sg_free(bytes);
        SG_TRY(st);
    }
    *out = values;
    return SG_OK;
}

sg_status sg_load_vector(sg_loader *ld, const float **out, int l, const char *name, const char *suffix, int n, int need)
{
    const sg_tensor *t;
    float *values = NULL;
    SG_TRY(find(ld, &t, l, name, suffix, (uint64_t)n, 1, 1, need & SG_MAY));
    if (t)
        SG_TRY(read_floats(ld, &values, t));
    *out = values;
    return SG_OK;
}

/* ---- linear layers -------------------------------------------------------------------------------- */

/* The stored rows of t: in the mapping, or read into *copy. */
static sg_status stored_rows(sg_loader *ld, const sg_tensor *t, const void **stored, void **copy)
{
    *copy = NULL;
    *stored = t->data;
    if (t->data)
        return SG_OK;
    void *p = sg_alloc_aligned(64, (size_t)t->bytes);
    if (!p)
        return sg_fail(ld->err, SG_E_NOMEM, "out of memory for tensor '%s' (%" PRIu64 " bytes)", t->name, t->bytes);
    sg_status st = sg_weights_read(ld->w, t, p, ld->err);
    if (st != SG_OK) {
        sg_free_aligned(p, (size_t)t->bytes);
        return st;
    }
    *stored = *copy = p;
    return SG_OK;
}

/* Pages of a tensor that are packed go back at once. */
typedef struct used_tensor {
    const sg_weights *w;
    const sg_tensor *t;
} used_tensor;

static void drop_used(void *arg, const void *stored, size_t bytes)
{
    const used_tensor *u = arg;
    sg_weights_drop_part(u->w, u->t, stored, bytes);
}

/* `count` linear layers [n][k], one after another in t. */
static sg_status make_linears(sg_loader *ld, sg_linear *out, const sg_tensor *t, int count, int n, int k,
                              const float *bias)
{
    SG_TRY(check_weight_type(ld, t));
    ld->m->info.parameters += sg_tensor_values(t);
    if (ld->check) {
        size_t packed = ld->m->ops ? (size_t)count * sg_linear_packed_bytes(ld->m->ops, t->type, n, k) : 0;
        ld->m->info.packed_bytes += packed;
        ld->m->info.dropped_bytes += packed ? (size_t)t->bytes : 0;
        return SG_OK;
    }
    const void *stored;
    void *copy;
    SG_TRY(stored_rows(ld, t, &stored, &copy));
    size_t each = sg_dtype_row_bytes(t->type, (uint64_t)k) * (size_t)n;
    sg_status st = SG_OK;
    used_tensor used = {ld->w, t};
    for (int i = 0; i < count && st == SG_OK; i++) {
        st = sg_linear_init_using(&out[i], ld->m->ops, t->type, n, k, (const unsigned char *)stored + (size_t)i * each,
                                  bias ? bias + (size_t)i * (size_t)n : NULL, copy ? NULL : drop_used, &used, ld->err);
        ld->m->info.packed_bytes += out[i].packed_bytes;
    }
    if (copy && st == SG_OK && sg_ops_exact(ld->m->ops))
        st = own(ld, copy, (size_t)t->bytes);
    else if (copy)
        sg_free_aligned(copy, (size_t)t->bytes);
    if (st == SG_OK && !sg_ops_exact(ld->m->ops)) {
        sg_weights_drop(ld->w, t);
        ld->m->info.dropped_bytes += (size_t)t->bytes;
    }
    return st;
}

static sg_status load_bias(sg_loader *ld, const float **bias, int l, const char *name, int count, int n, int need)
{
    const sg_tensor *t;
    float *values = NULL;
    *bias = NULL;
    if (!(need & (SG_NEED_BIAS | SG_MAY_BIAS)))
        return SG_OK;
    SG_TRY(find(ld, &t, l, name, "bias", (uint64_t)n, (uint64_t)count, 1, need & SG_MAY_BIAS));
    if (t)
        SG_TRY(read_floats(ld, &values, t));
    *bias = values;
    return SG_OK;
}

/* A small matrix as float32 values of our own. */
static sg_status load_as_f32(sg_loader *ld, sg_linear *out, const sg_tensor *t, const float *bias)
{
    float *values = NULL;
    SG_TRY(read_floats(ld, &values, t));
    ld->m->info.parameters += sg_tensor_values(t);
    if (ld->check)
        return SG_OK;
    sg_linear w = {0};
    SG_TRY(sg_linear_init(&w, ld->m->ops, SG_F32, (int)t->ne[1], (int)t->ne[0], values, bias, ld->err));
    w.name = "router";
    *out = w;
    return SG_OK;
}

/* Types of 2 bits that a trained model was rounded to: such a model's layers make 2 to 3 times as much of an error in their inputs as
 * before (docs/profile.md).  Not those that models are trained in. */
static bool is_damaged(sg_dtype t)
{
    return t == SG_Q2_K || t == SG_IQ2_XXS || t == SG_IQ2_XS || t == SG_IQ2_S || t == SG_IQ1_S || t == SG_IQ1_M;
}

sg_status sg_load_linear(sg_loader *ld, sg_linear *out, int l, const char *name, int n, int k, int need)
{
    const sg_tensor *t;
    const float *bias;
    SG_TRY(find(ld, &t, l, name, "weight", (uint64_t)k, (uint64_t)n, 1, need & SG_MAY));
    if (!t)
        return SG_OK;
    SG_TRY(load_bias(ld, &bias, l, name, 1, n, need));
    out->n = n;
    out->k = k;
    if (need & SG_AS_F32)
        return load_as_f32(ld, out, t, bias);
    if (ld->check) {
        bool surveyed = l >= 0 && ld->m->ops && ld->m->family->kind == SG_MODEL_DECODER;
        SG_TRY(make_linears(ld, out, t, 1, n, k, bias));
        ld->m->apart_bytes += surveyed ? sg_linear_apart_bytes(ld->m->ops, t->type, n, k) : 0;
        return SG_OK;
    }
    sg_linear w = {0};
    SG_TRY(make_linears(ld, &w, t, 1, n, k, bias));
    w.name = name;
    if (t->type == SG_BF16 && ld->m->family->kind != SG_MODEL_DECODER)
        sg_linear_refine(&w); /* vectors for search are compared with each other: bfloat16 models keep float32's */
    if (is_damaged(t->type))
        sg_linear_refine(&w);
    *out = w;
    return SG_OK;
}

sg_status sg_load_stack(sg_loader *ld, const sg_linear **out, int l, const char *name, int nexpert, int n, int k,
                        int need)
{
    const sg_tensor *t;
    const float *bias;
    void *linears = NULL;
    SG_TRY(find(ld, &t, l, name, "weight", (uint64_t)k, (uint64_t)n, (uint64_t)nexpert, false));
    SG_TRY(load_bias(ld, &bias, l, name, nexpert, n, need));
    SG_TRY(sg_load_alloc(ld, &linears, (size_t)nexpert, sizeof(sg_linear)));
    *out = linears; /* set before it is filled, so that freeing the model finds what was made */
    return make_linears(ld, linears, t, nexpert, n, k, bias);
}

sg_status sg_load_table(sg_loader *ld, const void **out, sg_dtype *type, int *nrow, int l, const char *name, int n,
                        int need)
{
    char full[NAME_MAX_];
    const sg_tensor *t = find_used(ld, full_name(full, l, name, "weight"));
    if (!t && (need & SG_MAY))
        return SG_OK;
    if (!t)
        return sg_fail(ld->err, SG_E_FORMAT, "tensor '%s' is missing", full);
    uint64_t rows = t->ne[1];
    if (t->ne[0] != (uint64_t)n || t->ne[2] != 1 || t->ne[3] != 1 || rows > INT32_MAX / 2 ||
        (*nrow && rows != (uint64_t)*nrow)) {
        char have[96];
        shape_text(have, sizeof have, t->ne, t->ndim);
        return sg_fail(ld->err, SG_E_FORMAT, "tensor '%s' has shape %s, want rows of %d", full, have, n);
    }
    SG_TRY(check_weight_type(ld, t));
    ld->m->info.parameters += sg_tensor_values(t);
    *nrow = (int)rows;
    *type = t->type;
    if (ld->check)
        return SG_OK;
    void *copy;
    SG_TRY(stored_rows(ld, t, out, &copy));
    return copy ? own(ld, copy, (size_t)t->bytes) : SG_OK;
}

sg_status sg_load_window(sg_loader *ld, sg_layer *w, int l, bool implied)
{
    const sg_hparams *h = &ld->m->h;
    const sg_keys keys = {sg_weights_meta(ld->w), h->arch, ld->err};
    char full[NAME_MAX_];
    snprintf(full, sizeof full, "%s.attention.sliding_window_pattern", h->arch);
    const sg_value *v = sg_dict_find(keys.meta, full);
    bool slides = implied;
    if (v && v->kind == SG_KIND_ARRAY && v->a.kind == SG_KIND_BOOL) {
        if (v->a.n < (size_t)h->nlayer)
            return sg_fail(ld->err, SG_E_FORMAT, "%s has %zu values, the model %d layers", full, v->a.n, h->nlayer);
        slides = v->a.b[l];
    } else if (v) {
        int every;
        SG_TRY(sg_keys_int(&keys, "attention.sliding_window_pattern", 0, SG_LAYERS_MAX, 0, &every));
        slides = every == 0 || (l + 1) % every != 0;
    }
    w->window = slides ? h->window : 0;
    return SG_OK;
}

sg_status sg_load_rotates(sg_loader *ld, sg_layer *w, int l, bool implied)
{
    char full[NAME_MAX_];
    const sg_array *a;
    snprintf(full, sizeof full, "%s.rope.layers", ld->m->h.arch);
    SG_TRY(sg_dict_array(sg_weights_meta(ld->w), full, SG_KIND_BOOL, &a, ld->err));
    if (a && a->n != (size_t)ld->m->h.nlayer)
        return sg_fail(ld->err, SG_E_FORMAT, "%s has %zu values, the model %d layers", full, a->n, ld->m->h.nlayer);
    w->rope = (a ? a->b[l] : implied) ? 0 : -1;
    return SG_OK;
}

/* ---- pieces ------------------------------------------------------------------------------------------ */

/* After the last layer's attention there are only rows that want results (sg_block_keep_wanted), and its errors are the logits' errors:
 * it is refined for next to nothing. */
static bool last_of_decoder(const sg_loader *ld, int l)
{
    return l + 1 == ld->m->h.nlayer && ld->m->family->kind == SG_MODEL_DECODER;
}

sg_status sg_load_attention(sg_loader *ld, sg_layer *w, int l, int need)
{
    const sg_hparams *h = &ld->m->h;
    int nq = h->nhead * h->dk, nk = h->nkv * h->dk, nv = h->nkv * h->dv;
    if (sg_load_have(ld, l, "attn_qkv", "weight")) {
        SG_TRY(sg_load_linear(ld, &w->qkv, l, "attn_qkv", nq + nk + nv, h->dim, need));
    } else {
        SG_TRY(sg_load_linear(ld, &w->q, l, "attn_q", nq, h->dim, need));
        SG_TRY(sg_load_linear(ld, &w->k, l, "attn_k", nk, h->dim, need));
        SG_TRY(sg_load_linear(ld, &w->v, l, "attn_v", nv, h->dim, need));
        sg_linear_refine(&w->k); /* small beside the rest, and every later token reads their results */
        sg_linear_refine(&w->v);
    }
    SG_TRY(sg_load_linear(ld, &w->o, l, "attn_output", h->dim, h->nhead * h->dv, need | SG_MAY_BIAS));
    if (last_of_decoder(ld, l))
        sg_linear_refine(&w->o);
    return SG_OK;
}

sg_status sg_load_glu(sg_loader *ld, sg_layer *w, int l, int need)
{
    const sg_hparams *h = &ld->m->h;
    bool fused = !sg_load_have(ld, l, "ffn_gate", "weight");
    if (!fused)
        SG_TRY(sg_load_linear(ld, &w->gate, l, "ffn_gate", h->nff, h->dim, need));
    SG_TRY(sg_load_linear(ld, &w->up, l, "ffn_up", fused ? 2 * h->nff : h->nff, h->dim, need));
    SG_TRY(sg_load_linear(ld, &w->down, l, "ffn_down", h->dim, h->nff, need));
    if (last_of_decoder(ld, l)) {
        sg_linear_refine(&w->gate);
        sg_linear_refine(&w->up);
        sg_linear_refine(&w->down);
    }
    return SG_OK;
}

sg_status sg_load_experts(sg_loader *ld, sg_layer *w, int l, sg_glu glu, int need)
{
    const sg_hparams *h = &ld->m->h;
    int n = h->nexpert, ff = h->nff_expert;
    SG_TRY(sg_load_linear(ld, &w->router, l, "ffn_gate_inp", n, h->dim, need | SG_AS_F32));
    SG_TRY(sg_load_vector(ld, &w->router_choice_bias, l, "exp_probs_b", "bias", n, SG_MAY));
    w->experts = (sg_experts){.nexpert = n, .nff = ff, .dim = h->dim, .glu = glu};
    SG_TRY(sg_load_stack(ld, &w->experts.gate, l, "ffn_gate_exps", n, ff, h->dim, need));
    SG_TRY(sg_load_stack(ld, &w->experts.up, l, "ffn_up_exps", n, ff, h->dim, need));
    return sg_load_stack(ld, &w->experts.down, l, "ffn_down_exps", n, h->dim, ff, need);
}

sg_status sg_load_shared_expert(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    SG_TRY(sg_load_linear(ld, &w->shared_gate, l, "ffn_gate_shexp", h->nff_shared, h->dim, SG_NEED));
    SG_TRY(sg_load_linear(ld, &w->shared_up, l, "ffn_up_shexp", h->nff_shared, h->dim, SG_NEED));
    SG_TRY(sg_load_linear(ld, &w->shared_down, l, "ffn_down_shexp", h->dim, h->nff_shared, SG_NEED));
    return sg_load_linear(ld, &w->shared_router, l, "ffn_gate_inp_shexp", 1, h->dim, SG_MAY | SG_AS_F32);
}
