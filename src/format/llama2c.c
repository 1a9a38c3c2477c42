/* format/llama2c.c - llama2.c checkpoints, the legacy layout (github.com/karpathy/llama2.c, export.py version 0).
 *
 *     int32 dim, hidden, layers, heads, kv heads, vocab, context      (vocab < 0: the head is its own matrix)
 *     float32 embedding [vocab][dim], then for each kind the matrices of all layers: attention norm, q, k, v, o,
 *     ffn norm, w1 (gate), w2 (down), w3 (up); final norm [dim]; two unused tables [context][head / 2]; head
 *
 * The rotation is of pairs, as GGUF's llama wants it.  The file has no magic, so the header is believed only
 * when its sizes explain the length of the file; the tables at the end may be missing.
 */
#include "base/heap.h"
#include "format/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct layout {
    uint64_t dim, hidden, nlayer, nhead, nhead_kv, vocab, context;
    bool tied;
} layout;

static sg_status read_header(const sg_file *f, layout *l, sg_error *err)
{
    int32_t h[7];
    if (f->size < sizeof h)
        return sg_fail(err, SG_E_FORMAT, "not a llama2.c checkpoint: %zu bytes, the header has %zu", f->size, sizeof h);
    memcpy(h, f->data, sizeof h);
    if (memcmp(f->data, "24ka", 4) == 0)
        return sg_fail(err, SG_E_UNSUPPORTED,
                       "a llama2.c checkpoint with magic ak42, version %" PRId32 ": only the legacy layout, "
                       "without magic, is read",
                       h[1]);
    static const char *const names[] = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                        "n_kv_heads", "vocab_size", "seq_len"};
    for (int i = 0; i < 7; i++)
        if (i == 5 ? h[i] == 0 || h[i] == INT32_MIN : h[i] <= 0)
            return sg_fail(err, SG_E_FORMAT, "not a llama2.c checkpoint: header field %d (%s) is %" PRId32, i, names[i],
                           h[i]);
    *l = (layout){.dim = (uint64_t)h[0],
                  .hidden = (uint64_t)h[1],
                  .nlayer = (uint64_t)h[2],
                  .nhead = (uint64_t)h[3],
                  .nhead_kv = (uint64_t)h[4],
                  .vocab = (uint64_t)(h[5] < 0 ? -(int64_t)h[5] : h[5]),
                  .context = (uint64_t)h[6],
                  .tied = h[5] > 0};
    if (l->dim % l->nhead || l->dim / l->nhead % 2)
        return sg_fail(err, SG_E_FORMAT, "header: n_heads %" PRIu64 " does not divide dim %" PRIu64 " into even sizes",
                       l->nhead, l->dim);
    if (l->nhead % l->nhead_kv)
        return sg_fail(err, SG_E_FORMAT, "header: n_kv_heads %" PRIu64 " does not divide n_heads %" PRIu64, l->nhead_kv,
                       l->nhead);
    return SG_OK;
}

/* ---- tensors ------------------------------------------------------------------- */

typedef struct place {
    sg_weights *w;
    size_t at; /* next byte of the file */
} place;

static sg_status add(place *p, const char *name, uint64_t columns, uint64_t rows, sg_error *err)
{
    const sg_file *f = &p->w->files[0];
    sg_tensor t = {
        .type = SG_F32, .ndim = rows ? 2 : 1, .ne = {columns, rows ? rows : 1, 1, 1}, .file = f, .offset = p->at};
    const char *why;
    if (!sg_tensor_size(&t, &why) || t.bytes > f->size - p->at)
        return sg_fail(err, SG_E_FORMAT,
                       "tensor '%s' of %" PRIu64 "x%" PRIu64 " values at byte %zu ends beyond the file's %zu bytes",
                       name, t.ne[1], columns, p->at, f->size);
    t.data = f->data + p->at;
    p->at += (size_t)t.bytes;
    return sg_weights_add(p->w, &t, name, strlen(name), err);
}

static sg_status add_layers(place *p, const char *kind, uint64_t nlayer, uint64_t columns, uint64_t rows, sg_error *err)
{
    for (uint64_t i = 0; i < nlayer; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu64 ".%s.weight", i, kind);
        SG_TRY(add(p, name, columns, rows, err));
    }
    return SG_OK;
}

static sg_status add_all(place *p, const layout *l, sg_error *err)
{
    uint64_t kv = l->dim / l->nhead * l->nhead_kv, n = l->nlayer;
    SG_TRY(add(p, "token_embd.weight", l->dim, l->vocab, err));
    SG_TRY(add_layers(p, "attn_norm", n, l->dim, 0, err));
    SG_TRY(add_layers(p, "attn_q", n, l->dim, l->dim, err));
    SG_TRY(add_layers(p, "attn_k", n, l->dim, kv, err));
    SG_TRY(add_layers(p, "attn_v", n, l->dim, kv, err));
    SG_TRY(add_layers(p, "attn_output", n, l->dim, l->dim, err));
    SG_TRY(add_layers(p, "ffn_norm", n, l->dim, 0, err));
    SG_TRY(add_layers(p, "ffn_gate", n, l->dim, l->hidden, err));
    SG_TRY(add_layers(p, "ffn_down", n, l->hidden, l->dim, err));
    SG_TRY(add_layers(p, "ffn_up", n, l->dim, l->hidden, err));
    SG_TRY(add(p, "output_norm.weight", l->dim, 0, err));
    uint64_t tables = l->context * (l->dim / l->nhead) * 4; /* below 2^64: both factors are below 2^31 */
    if (l->tied && p->at == p->w->files[0].size)
        return SG_OK;
    if (tables > p->w->files[0].size - p->at)
        return sg_fail(err, SG_E_FORMAT,
                       "the tables of seq_len %" PRIu64 " at byte %zu end beyond the file's %zu bytes", l->context,
                       p->at, p->w->files[0].size);
    p->at += (size_t)tables;
    return l->tied ? SG_OK : add(p, "output.weight", l->dim, l->vocab, err);
}

/* ---- metadata ------------------------------------------------------------------- */

static sg_status describe(sg_dict *d, const layout *l, sg_error *err)
{
    SG_TRY(sg_dict_set_str(d, "general.architecture", "llama", 5, err));
    SG_TRY(sg_dict_set_u64(d, "llama.block_count", l->nlayer, err));
    SG_TRY(sg_dict_set_u64(d, "llama.context_length", l->context, err));
    SG_TRY(sg_dict_set_u64(d, "llama.embedding_length", l->dim, err));
    SG_TRY(sg_dict_set_u64(d, "llama.feed_forward_length", l->hidden, err));
    SG_TRY(sg_dict_set_u64(d, "llama.attention.head_count", l->nhead, err));
    SG_TRY(sg_dict_set_u64(d, "llama.attention.head_count_kv", l->nhead_kv, err));
    SG_TRY(sg_dict_set_f64(d, "llama.attention.layer_norm_rms_epsilon", (double)1e-5f, err));
    SG_TRY(sg_dict_set_f64(d, "llama.rope.freq_base", 10000, err));
    SG_TRY(sg_dict_set_u64(d, "llama.vocab_size", l->vocab, err));
    return sg_dict_set_u64(d, "llama.rope.dimension_count", l->dim / l->nhead, err);
}

static sg_status open_file(sg_weights *w, sg_error *err)
{
    if (w->borrowed)
        return SG_OK;
    w->files = sg_calloc(1, sizeof *w->files);
    if (!w->files)
        return sg_fail_nomem(err, "the list of files");
    SG_TRY(sg_file_open(&w->files[0], w->path, err));
    w->nfile = 1;
    return SG_OK;
}

sg_status sg_llama2c_open(sg_weights *w, sg_error *err)
{
    layout l = {0};
    place p = {w, 7 * sizeof(int32_t)};
    SG_TRY(open_file(w, err));
    SG_TRY(read_header(&w->files[0], &l, err));
    SG_TRY(add_all(&p, &l, err));
    if (p.at != w->files[0].size)
        return sg_fail(err, SG_E_FORMAT, "%zu bytes follow the last tensor", w->files[0].size - p.at);
    return describe(w->meta, &l, err);
}
