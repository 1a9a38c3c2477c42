/* format/convert.c - any model that can be opened, written as one GGUF file.
 *
 * The reader has done the work already: names, shapes and the order of values are GGUF's.  What is left is
 * the type of the matrices, general.file_type, and the tokenizer, which a Hugging Face directory and
 * llama2.c keep in files of their own.
 */
#include "base/f16.h"
#include "base/heap.h"
#include "format/gguf.h"
#include "format/source.h"
#include "format/tokenizer_meta.h"

#include <string.h>
#include <strings.h>

typedef struct job {
    const sg_weights *w;
    const sg_gguf_tensor *out;
    const sg_convert_options *options;
    uint64_t done, bytes; /* of tensor data */
} job;

/* ---- rows ------------------------------------------------------------------------ */

static float load(const unsigned char *p, sg_dtype type, size_t i)
{
    uint16_t h;
    float f;
    if (type == SG_F32) {
        memcpy(&f, p + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, p + 2 * i, sizeof h);
    return type == SG_F16 ? sg_f16_to_f32(h) : sg_bf16_to_f32(h);
}

static void store(unsigned char *p, sg_dtype type, size_t i, float f)
{
    uint16_t h = type == SG_F16 ? sg_f32_to_f16(f) : sg_f32_to_bf16(f);
    if (type == SG_F32)
        memcpy(p + 4 * i, &f, sizeof f);
    else
        memcpy(p + 2 * i, &h, sizeof h);
}

static bool report(const job *j, size_t number, uint64_t row)
{
    const sg_tensor *t = sg_weights_at(j->w, number);
    sg_write_progress p = {.tensor = number, .ntensor = sg_weights_count(j->w), .name = t->name, .from = sg_dtype_name(t->type),
                           .to = sg_dtype_name(j->out[number].type), .row = row, .nrow = sg_tensor_rows(t), .bytes_done = j->done,
                           .bytes = j->bytes};
    return !j->options->progress || j->options->progress(j->options->arg, &p);
}

static sg_status make_rows(void *arg, size_t number, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    job *j = arg;
    const sg_tensor *t = sg_weights_at(j->w, number);
    sg_dtype type = j->out[number].type;
    if (!report(j, number, row))
        return sg_fail(err, SG_E_CANCELLED, "stopped");
    j->done += nrow * sg_dtype_row_bytes(type, t->ne[0]);
    if (type == t->type)
        return sg_weights_read_rows(j->w, t, row, nrow, dst, err);
    size_t n = (size_t)(nrow * t->ne[0]), bytes = (size_t)nrow * sg_dtype_row_bytes(t->type, t->ne[0]);
    unsigned char *src = sg_alloc(bytes);
    if (!src)
        return sg_fail_nomem(err, t->name);
    sg_status st = sg_weights_read_rows(j->w, t, row, nrow, src, err);
    for (size_t i = 0; i < n && st == SG_OK; i++)
        store(dst, type, i, load(src, t->type, i));
    sg_free(src);
    return st;
}

/* ---- metadata ---------------------------------------------------------------------- */

static bool is_float(sg_dtype type) { return type == SG_F32 || type == SG_F16 || type == SG_BF16; }

/* llama.cpp's number for "most matrices have this type"; information only. */
static uint64_t file_type(const sg_gguf_tensor *t, size_t n)
{
    size_t count[SG_DTYPE_END] = {0}, best = SG_F32;
    for (size_t i = 0; i < n; i++)
        if (t[i].ndim > 1 && !sg_gguf_keeps_f32(t[i].name, t[i].ndim))
            count[t[i].type]++;
    for (size_t i = 0; i < SG_DTYPE_END; i++)
        if (count[i] > count[best])
            best = i;
    if (count[SG_MXFP4])
        return 38;
    return best == SG_F16 ? 1 : best == SG_BF16 ? 32 : 0;
}

static sg_status set_u32(sg_dict *d, const char *key, uint64_t v, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_U64, .wire = SG_GGUF_U32, .u = v}, err);
}

static bool is_split_key(const char *key) { return strncmp(key, "split.", 6) == 0; }

static sg_status make_meta(sg_dict *d, const sg_weights *w, const sg_gguf_tensor *t, const char *tokenizer,
                           sg_error *err)
{
    const sg_dict *in = sg_weights_meta(w);
    for (size_t i = 0; i < sg_dict_count(in); i++)
        if (!is_split_key(sg_dict_key(in, i)))
            SG_TRY(sg_dict_set(d, sg_dict_key(in, i), sg_dict_at(in, i), err));
    if (sg_weights_source(w) == SG_SOURCE_GGUF)
        return SG_OK;
    SG_TRY(set_u32(d, "general.file_type", file_type(t, sg_weights_count(w)), err));
    SG_TRY(set_u32(d, "general.quantization_version", 2, err));
    const sg_tensor *embedding = sg_weights_find(w, "token_embd.weight");
    uint64_t nvocab = embedding ? embedding->ne[1] : 0;
    if (sg_weights_source(w) == SG_SOURCE_LLAMA2C)
        return tokenizer ? sg_tokenizer_meta_llama2c(d, tokenizer, nvocab, err) : SG_OK;
    return sg_tokenizer_meta_hf(d, w, nvocab, err);
}

static sg_dtype choose(const sg_tensor *t, bool given, sg_dtype type)
{
    if (!is_float(t->type))
        return t->type;
    if (sg_gguf_keeps_f32(t->name, t->ndim) || t->ndim == 1)
        return SG_F32;
    return given ? type : t->type;
}

static sg_status write_gguf(const sg_weights *w, const char *out, const sg_convert_options *o, sg_dtype type, sg_error *err)
{
    size_t n = sg_weights_count(w);
    sg_gguf_tensor *t = sg_calloc(n ? n : 1, sizeof *t);
    sg_dict *meta = sg_dict_new();
    sg_status st = t && meta ? SG_OK : sg_fail_nomem(err, "the tensor directory");
    job j = {.w = w, .out = t, .options = o};
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        const sg_tensor *s = sg_weights_at(w, i);
        t[i] = (sg_gguf_tensor){s->name, choose(s, o->type != NULL, type), s->ndim, {s->ne[0], s->ne[1], s->ne[2], s->ne[3]}};
        j.bytes += sg_tensor_rows(s) * sg_dtype_row_bytes(t[i].type, s->ne[0]);
    }
    if (st == SG_OK)
        st = make_meta(meta, w, t, o->tokenizer, err);
    if (st == SG_OK)
        st = sg_gguf_write(out, meta, t, n, make_rows, &j, err);
    sg_dict_free(meta);
    sg_free(t);
    return st;
}

sg_status sg_convert(const char *in, const char *out, const sg_convert_options *options, sg_error *err)
{
    static const sg_convert_options none = {0};
    const sg_convert_options *o = options ? options : &none;
    sg_dtype t = SG_F32;
    if (o->type && (!sg_dtype_parse(o->type, &t) || !is_float(t)))
        return sg_fail(err, SG_E_ARGUMENT, "type '%s' is not f32, f16 or bf16", o->type);
    sg_weights *w = NULL;
    SG_TRY(sg_weights_open(&w, in, err));
    sg_status st = write_gguf(w, out, o, t, err);
    sg_weights_close(w);
    return st;
}
