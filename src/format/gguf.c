/* format/gguf.c - reading GGUF, version 2 and 3, little-endian, one file or a split set.
 *
 *     "GGUF" u32 version | u64 tensors | u64 keys | keys: string, u32 type, value ...
 *     tensors: string name, u32 dims, u64 ne[dims], u32 type, u64 offset ...
 *     padding to general.alignment | data; offsets count from here
 *
 * A string is a u64 length and that many bytes.  An array is u32 type, u64 count, elements.
 *
 * Nothing is believed before it has been held against the bytes that are left: a count of n things needs
 * at least n times the least size of one, so no allocation is larger than a small multiple of the file.
 * Arrays of arrays are allowed by the format, but no key uses them; they are refused, which also removes
 * the recursion.  The layout of version 2 is that of 3.
 *
 * Descriptions may come in any order and the data may have gaps; overlapping tensors are refused, since
 * repacking one and giving its pages back would disturb the other, and no writer makes them.
 */
#include "format/gguf.h"

#include "base/heap.h"
#include "base/utf8.h"
#include "format/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reading position in a file, and whose field is being read. */
typedef struct cursor {
    const unsigned char *p;
    size_t at, size;
    const char *what; /* "key 3", "metadata 'x'", "tensor 'y'" */
} cursor;

static sg_status cut(const cursor *c, const char *field, sg_error *err)
{
    return sg_fail(err, SG_E_FORMAT, "%s: the file ends at byte %zu, inside %s", c->what, c->size, field);
}

static size_t left(const cursor *c) { return c->size - c->at; }

static sg_status take(cursor *c, const char *field, void *out, size_t n, sg_error *err)
{
    if (left(c) < n)
        return cut(c, field, err);
    memcpy(out, c->p + c->at, n);
    c->at += n;
    return SG_OK;
}

static sg_status take_u32(cursor *c, const char *field, uint32_t *v, sg_error *err)
{
    return take(c, field, v, sizeof *v, err);
}

static sg_status take_u64(cursor *c, const char *field, uint64_t *v, sg_error *err)
{
    return take(c, field, v, sizeof *v, err);
}

static sg_status take_string(cursor *c, const char *field, sg_str *s, sg_error *err)
{
    uint64_t n = 0;
    SG_TRY(take_u64(c, field, &n, err));
    if (n > left(c))
        return sg_fail(err, SG_E_FORMAT, "%s: %s has %" PRIu64 " bytes at byte %zu, the file has %zu more", c->what,
                       field, n, c->at, left(c));
    *s = (sg_str){(const char *)c->p + c->at, (size_t)n};
    c->at += (size_t)n;
    return SG_OK;
}

/* A key or a tensor's name, as a C string in `out`. */
static sg_status take_name(cursor *c, const char *field, char out[SG_GGUF_MAX_NAME + 1], sg_error *err)
{
    sg_str s = {0};
    SG_TRY(take_string(c, field, &s, err));
    if (s.len == 0 || s.len > SG_GGUF_MAX_NAME)
        return sg_fail(err, SG_E_FORMAT, "%s: %s has %zu bytes, must be 1 to %d", c->what, field, s.len,
                       SG_GGUF_MAX_NAME);
    if (memchr(s.data, 0, s.len) || !sg_utf8_valid(s.data, s.len))
        return sg_fail(err, SG_E_FORMAT, "%s: %s '%.*s' is not UTF-8 without NUL", c->what, field, (int)s.len, s.data);
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return SG_OK;
}

/* Bytes of a scalar of each wire type; 0 for strings and arrays. */
static const uint8_t widths[SG_GGUF_TYPE_END] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static sg_kind kind_of(uint32_t wire)
{
    switch (wire) {
    case SG_GGUF_I8: case SG_GGUF_I16: case SG_GGUF_I32: case SG_GGUF_I64: return SG_KIND_I64;
    case SG_GGUF_F32: case SG_GGUF_F64: return SG_KIND_F64;
    case SG_GGUF_BOOL: return SG_KIND_BOOL;
    case SG_GGUF_STRING: return SG_KIND_STR;
    case SG_GGUF_ARRAY: return SG_KIND_ARRAY;
    default: return SG_KIND_U64;
    }
}

static int64_t signed_at(const unsigned char *p, uint32_t wire)
{
    int8_t a;
    int16_t b;
    int32_t c;
    int64_t d;
    switch (wire) {
    case SG_GGUF_I8: memcpy(&a, p, sizeof a); return a;
    case SG_GGUF_I16: memcpy(&b, p, sizeof b); return b;
    case SG_GGUF_I32: memcpy(&c, p, sizeof c); return c;
    default: memcpy(&d, p, sizeof d); return d;
    }
}

static double float_at(const unsigned char *p, uint32_t wire)
{
    float f;
    double d;
    if (wire == SG_GGUF_F32) {
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
    memcpy(&d, p, sizeof d);
    return d;
}

static uint64_t unsigned_at(const unsigned char *p, uint32_t wire)
{
    uint64_t v = 0;
    memcpy(&v, p, widths[wire]); /* little-endian machine; meson.build would have to say otherwise */
    return v;
}

static sg_status take_scalar(cursor *c, uint32_t wire, sg_value *v, sg_error *err)
{
    if (wire == SG_GGUF_STRING)
        return take_string(c, "a string", &v->s, err);
    if (left(c) < widths[wire])
        return cut(c, "the value", err);
    const unsigned char *p = c->p + c->at;
    if (v->kind == SG_KIND_I64)
        v->i = signed_at(p, wire);
    else if (v->kind == SG_KIND_F64)
        v->f = float_at(p, wire);
    else if (v->kind == SG_KIND_U64)
        v->u = unsigned_at(p, wire);
    else if (*p > 1)
        return sg_fail(err, SG_E_FORMAT, "%s: a bool is %u at byte %zu", c->what, *p, c->at);
    else
        v->b = *p;
    c->at += widths[wire];
    return SG_OK;
}

static sg_status fill_array(cursor *c, uint32_t wire, size_t n, const sg_array *a, sg_error *err)
{
    sg_value v = {.kind = a->kind};
    for (size_t i = 0; i < n; i++) {
        SG_TRY(take_scalar(c, wire, &v, err));
        if (a->kind == SG_KIND_STR)
            ((sg_str *)(uintptr_t)a->s)[i] = v.s;
        else if (a->kind == SG_KIND_BOOL)
            ((bool *)(uintptr_t)a->b)[i] = v.b;
        else
            ((uint64_t *)(uintptr_t)a->u)[i] = v.u; /* the union's 8 bytes, whatever they are */
    }
    return SG_OK;
}

static sg_status take_array(cursor *c, sg_dict *meta, const char *key, sg_error *err)
{
    uint32_t wire = 0;
    uint64_t n = 0;
    SG_TRY(take_u32(c, "the element type", &wire, err));
    SG_TRY(take_u64(c, "the element count", &n, err));
    if (wire >= SG_GGUF_TYPE_END)
        return sg_fail(err, SG_E_FORMAT, "%s: an array of elements of type %" PRIu32 ", which does not exist", c->what,
                       wire);
    if (wire == SG_GGUF_ARRAY)
        return sg_fail(err, SG_E_UNSUPPORTED, "%s: an array of arrays, which no key has", c->what);
    size_t least = wire == SG_GGUF_STRING ? 8 : widths[wire];
    if (n > left(c) / least)
        return sg_fail(err, SG_E_FORMAT, "%s: %" PRIu64 " array elements do not fit the %zu bytes left of the file",
                       c->what, n, left(c));
    sg_kind kind = kind_of(wire);
    void *block = sg_calloc((size_t)n, kind == SG_KIND_STR ? sizeof(sg_str) : kind == SG_KIND_BOOL ? sizeof(bool) : 8);
    if (!block)
        return sg_fail_nomem(err, c->what);
    sg_value v = {.kind = SG_KIND_ARRAY, .wire = SG_GGUF_ARRAY, .wire_element = wire,
                  .a = {.kind = kind, .n = (size_t)n, .u = block}};
    sg_status st = fill_array(c, wire, (size_t)n, &v.a, err);
    if (st == SG_OK)
        st = sg_dict_set(meta, key, &v, err);
    sg_free(block);
    return st;
}

/* Keys whose wire type the format fixes and that are read through wider kinds afterwards, so that an array
 * of other elements would pass for them. */
static sg_status check_wire(const sg_dict *meta, const char *key, sg_error *err)
{
    static const struct {
        const char *key;
        uint32_t element, or;
    } fixed[] = {
        {"tokenizer.ggml.tokens", SG_GGUF_STRING, SG_GGUF_STRING},
        {"tokenizer.ggml.merges", SG_GGUF_STRING, SG_GGUF_STRING},
        {"tokenizer.ggml.scores", SG_GGUF_F32, SG_GGUF_F32},
        {"tokenizer.ggml.token_type", SG_GGUF_I32, SG_GGUF_U32},
    };
    const sg_value *v = sg_dict_find(meta, key);
    if (strcmp(key, "tokenizer.chat_template") == 0 && v->kind != SG_KIND_STR)
        return sg_fail(err, SG_E_FORMAT, "metadata '%s' is not a string", key);
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (strcmp(key, fixed[i].key) == 0 &&
            (v->kind != SG_KIND_ARRAY || (v->wire_element != fixed[i].element && v->wire_element != fixed[i].or)))
            return sg_fail(err, SG_E_FORMAT, "metadata '%s' is not an array of %s", key,
                           fixed[i].element == SG_GGUF_STRING ? "strings"
                           : fixed[i].element == SG_GGUF_F32  ? "32-bit floats"
                                                              : "32-bit integers");
    return SG_OK;
}

static sg_status take_key(cursor *c, sg_dict *meta, uint64_t number, sg_error *err)
{
    char key[SG_GGUF_MAX_NAME + 1], what[SG_GGUF_MAX_NAME + 32];
    snprintf(what, sizeof what, "key %" PRIu64, number);
    c->what = what;
    SG_TRY(take_name(c, "its name", key, err));
    snprintf(what, sizeof what, "metadata '%s'", key);
    if (sg_dict_find(meta, key))
        return sg_fail(err, SG_E_FORMAT, "%s stands twice", what);
    uint32_t wire = 0;
    SG_TRY(take_u32(c, "the type of the value", &wire, err));
    if (wire >= SG_GGUF_TYPE_END)
        return sg_fail(err, SG_E_FORMAT, "%s: a value of type %" PRIu32 ", which does not exist", what, wire);
    if (wire == SG_GGUF_ARRAY) {
        SG_TRY(take_array(c, meta, key, err));
    } else {
        sg_value v = {.kind = kind_of(wire), .wire = wire};
        SG_TRY(take_scalar(c, wire, &v, err));
        SG_TRY(sg_dict_set(meta, key, &v, err));
    }
    return check_wire(meta, key, err);
}

static const char *withdrawn(uint32_t type)
{
    switch (type) {
    case 4: return "Q4_2";
    case 5: return "Q4_3";
    case 31: return "Q4_0_4_4";
    case 32: return "Q4_0_4_8";
    case 33: return "Q4_0_8_8";
    case 36: return "IQ4_NL_4_4";
    case 37: return "IQ4_NL_4_8";
    case 38: return "IQ4_NL_8_8";
    default: return NULL;
    }
}

static sg_status check_type(const char *what, uint32_t type, sg_error *err)
{
    if (withdrawn(type))
        return sg_fail(err, SG_E_UNSUPPORTED, "%s: type %" PRIu32 " (%s) was withdrawn from the format", what, type,
                       withdrawn(type));
    if (!sg_dtype_find(type))
        return sg_fail(err, SG_E_UNSUPPORTED, "%s: type %" PRIu32 " is unknown", what, type);
    if (type == SG_Q8_K || type == SG_Q8_1)
        return sg_fail(err, SG_E_FORMAT, "%s: type %s is for intermediate results only", what,
                       sg_dtype_find(type)->name);
    return SG_OK;
}

/* One description; t->offset counts from the data's beginning until place_tensors. */
static sg_status take_tensor(cursor *c, sg_weights *w, uint64_t number, const sg_file *file, sg_error *err)
{
    char name[SG_GGUF_MAX_NAME + 1], what[SG_GGUF_MAX_NAME + 32];
    snprintf(what, sizeof what, "tensor %" PRIu64, number);
    c->what = what;
    SG_TRY(take_name(c, "its name", name, err));
    snprintf(what, sizeof what, "tensor '%s'", name);
    uint32_t ndim = 0, type = 0;
    uint64_t offset = 0;
    SG_TRY(take_u32(c, "the number of dimensions", &ndim, err));
    if (ndim < 1 || ndim > 4)
        return sg_fail(err, SG_E_FORMAT, "%s: %" PRIu32 " dimensions, must be 1 to 4", what, ndim);
    sg_tensor t = {.ndim = (int)ndim, .ne = {1, 1, 1, 1}, .file = file};
    for (uint32_t i = 0; i < ndim; i++) {
        SG_TRY(take_u64(c, "the dimensions", &t.ne[i], err));
        if (t.ne[i] < 1 || t.ne[i] > INT64_MAX)
            return sg_fail(err, SG_E_FORMAT, "%s: dimension %" PRIu32 " is %" PRIu64, what, i, t.ne[i]);
    }
    SG_TRY(take_u32(c, "the type", &type, err));
    SG_TRY(take_u64(c, "the offset", &offset, err));
    SG_TRY(check_type(what, type, err));
    t.type = (sg_dtype)type;
    t.offset = (size_t)offset;
    const char *why;
    if (!sg_tensor_size(&t, &why))
        return sg_fail(err, SG_E_FORMAT, "%s: %s (%s, first dimension %" PRIu64 ")", what, why, sg_dtype_name(t.type),
                       t.ne[0]);
    return sg_weights_add(w, &t, name, strlen(name), err);
}

static sg_status alignment_of(const sg_dict *meta, size_t *alignment, sg_error *err)
{
    uint64_t a = 0;
    SG_TRY(sg_dict_u64(meta, "general.alignment", SG_GGUF_ALIGNMENT, &a, err));
    if (a < 8 || a > SG_GGUF_ALIGNMENT_MAX || a & (a - 1))
        return sg_fail(err, SG_E_FORMAT, "metadata 'general.alignment' is %" PRIu64 ", must be a power of two, 8 to %d",
                       a, SG_GGUF_ALIGNMENT_MAX);
    *alignment = (size_t)a;
    return SG_OK;
}

/* Hold the extents of tensors [first, w->n) against the file and point them at their bytes. */
static sg_status place_tensors(sg_weights *w, size_t first, const sg_file *f, size_t at, size_t alignment,
                               sg_error *err)
{
    size_t start = at + (alignment - at % alignment) % alignment;
    for (size_t i = first; i < w->n; i++) {
        sg_tensor *t = &w->tensors[i];
        if (t->offset % alignment)
            return sg_fail(err, SG_E_FORMAT, "tensor '%s': offset %zu is not a multiple of the alignment %zu", t->name,
                           t->offset, alignment);
        if (start > f->size || t->offset > f->size - start || t->bytes > f->size - start - t->offset)
            return sg_fail(err, SG_E_FORMAT,
                           "tensor '%s': %" PRIu64
                           " bytes at offset %zu of the data (which begins at byte %zu) end beyond the file's %zu",
                           t->name, t->bytes, t->offset, start, f->size);
        t->offset += start;
        t->data = f->data + t->offset;
    }
    return sg_weights_check_overlap(w, f, err);
}

/* What a file is that is not GGUF, for the error. */
static sg_status not_gguf(const sg_file *f, sg_error *err)
{
    const char *p = (const char *)f->data;
    size_t n = f->size;
    if (n < 4)
        return sg_fail(err, SG_E_FORMAT,
                       n ? "not a GGUF file: it ends inside the magic, after %zu bytes" : "the file is empty", n);
    const char *is = NULL;
    if (!memcmp(p, "tjgg", 4) || !memcmp(p, "lmgg", 4) || !memcmp(p, "fmgg", 4))
        is = "it is ggjt, ggmf or ggml, the formats before GGUF: convert the model again";
    else if (n >= 26 && !memcmp(p, "version https://git-lfs.gi", 26))
        is = "it is a Git LFS pointer: fetch the model itself";
    else if (!memcmp(p, "PK\3\4", 4))
        is = "it is a zip archive, perhaps a PyTorch checkpoint";
    else if (p[0] == '<')
        is = "it is a web page, as failed downloads leave";
    else if (!memcmp(p, "FUGG", 4))
        is = "it is big-endian";
    return is ? sg_fail(err, SG_E_FORMAT, "not a GGUF file: %s", is)
              : sg_fail(err, SG_E_FORMAT, "not a GGUF file: it begins with '%.4s'", p);
}

/* Read one file: its keys into `meta`, its tensors into w. */
static sg_status read_file(sg_weights *w, const sg_file *f, sg_dict *meta, sg_error *err)
{
    if (f->size < 4 || memcmp(f->data, "GGUF", 4) != 0)
        return not_gguf(f, err);
    cursor c = {f->data, 4, f->size, "header"};
    uint32_t version = 0;
    uint64_t ntensor = 0, nkey = 0;
    SG_TRY(take_u32(&c, "the version", &version, err));
    if (version != 2 && version != 3)
        return sg_fail(err, SG_E_UNSUPPORTED, "GGUF version %" PRIu32 ": only version 2 and 3, little-endian, are read",
                       version);
    SG_TRY(take_u64(&c, "the tensor count", &ntensor, err));
    SG_TRY(take_u64(&c, "the key count", &nkey, err));
    /* Nothing is allocated by these counts: a file that is cut fails where it ends. */
    if (nkey > SG_GGUF_MAX_KEYS || ntensor > SG_GGUF_MAX_TENSORS)
        return sg_fail(err, SG_E_FORMAT, "header: %" PRIu64 " keys and %" PRIu64 " tensors, the limits are %d and %d",
                       nkey, ntensor, SG_GGUF_MAX_KEYS, SG_GGUF_MAX_TENSORS);
    for (uint64_t i = 0; i < nkey; i++) {
        SG_TRY(take_key(&c, meta, i, err));
        if (c.at > SG_GGUF_MAX_META)
            return sg_fail(err, SG_E_LIMIT, "the metadata has more than %d bytes", SG_GGUF_MAX_META);
    }
    size_t alignment = 0, first = w->n;
    SG_TRY(alignment_of(meta, &alignment, err));
    for (uint64_t i = 0; i < ntensor; i++)
        SG_TRY(take_tensor(&c, w, i, f, err));
    return place_tensors(w, first, f, c.at, alignment, err);
}

/* ---- split sets ------------------------------------------------------------ */

/* The name of part `i` of `n` into `out`, from the path of another part; false when it is not named so. */
static bool part_path(const char *path, uint64_t i, uint64_t n, char *out, size_t room)
{
    size_t len = strlen(path), tail = strlen("-00001-of-00002.gguf");
    unsigned a, b;
    int used = 0;
    if (len < tail || sscanf(path + len - tail, "-%5u-of-%5u.gguf%n", &a, &b, &used) != 2 || (size_t)used != tail ||
        b != n)
        return false;
    int m = snprintf(out, room, "%.*s-%05" PRIu64 "-of-%05" PRIu64 ".gguf", (int)(len - tail), path, i + 1, n);
    return m > 0 && (size_t)m < room;
}

static sg_status check_part(const sg_dict *meta, uint64_t i, uint64_t n, sg_error *err)
{
    uint64_t no = 0, count = 0;
    SG_TRY(sg_dict_u64(meta, "split.count", 0, &count, err));
    SG_TRY(sg_dict_u64(meta, "split.no", 0, &no, err));
    if (count != n || no != i)
        return sg_fail(err, SG_E_FORMAT,
                       "split.no %" PRIu64 " of split.count %" PRIu64 ", expected %" PRIu64 " of %" PRIu64, no, count,
                       i, n);
    return SG_OK;
}

static sg_status read_part(sg_weights *w, uint64_t i, uint64_t n, sg_error *err)
{
    char path[4096];
    if (!part_path(w->path, i, n, path, sizeof path))
        return sg_fail(err, SG_E_FORMAT,
                       "split.count is %" PRIu64 ", but the file's name does not end in -00001-of-%05" PRIu64 ".gguf",
                       n, n);
    sg_dict *meta = sg_dict_new();
    if (!meta)
        return sg_fail_nomem(err, "metadata");
    w->nfile = (size_t)i + 1; /* there is room: the name says n; closing one that was not opened is fine */
    sg_error own;
    sg_status st = sg_file_open(&w->files[i], path, &own);
    if (st == SG_OK)
        st = read_file(w, &w->files[i], meta, &own);
    if (st == SG_OK)
        st = check_part(meta, i, n, &own);
    if (st != SG_OK) {
        sg_fail_at(&own, st, "part %" PRIu64 " of split.count %" PRIu64, i + 1, n);
        if (err)
            *err = own;
    }
    sg_dict_free(meta);
    return st;
}

/* The other parts of a set whose first part has been read. */
static sg_status read_parts(sg_weights *w, sg_error *err)
{
    uint64_t n = 0, no = 0, total = 0;
    SG_TRY(sg_dict_u64(w->meta, "split.count", 0, &n, err));
    SG_TRY(sg_dict_u64(w->meta, "split.no", 0, &no, err));
    if (n <= 1 && no == 0)
        return SG_OK;
    if (n > SG_MAX_FILES || no >= n)
        return sg_fail(err, SG_E_FORMAT, "split.no %" PRIu64 " of split.count %" PRIu64, no, n);
    if (no != 0)
        return sg_fail(err, SG_E_ARGUMENT,
                       "this is part %" PRIu64 " of a split set: name its first part, -00001-of-%05" PRIu64 ".gguf",
                       no + 1, n);
    if (w->borrowed)
        return sg_fail(err, SG_E_UNSUPPORTED, "split.count is %" PRIu64 ": a model in memory cannot be split", n);
    for (uint64_t i = 1; i < n; i++) {
        SG_TRY(read_part(w, i, n, err));
    }
    SG_TRY(sg_dict_u64(w->meta, "split.tensors.count", w->n, &total, err));
    if (total != w->n)
        return sg_fail(err, SG_E_FORMAT, "split.tensors.count is %" PRIu64 ", the parts have %zu tensors", total, w->n);
    return SG_OK;
}

/* How many files to make room for: tensors point at them, so the array must not move.  The count is only
 * a claim: the parts must exist, and 10,000 records are 240 kB. */
static sg_status open_first(sg_weights *w, sg_error *err)
{
    if (w->borrowed)
        return SG_OK;
    unsigned a, b;
    size_t len = strlen(w->path), tail = strlen("-00001-of-00002.gguf");
    bool part = len >= tail && sscanf(w->path + len - tail, "-%5u-of-%5u.gguf", &a, &b) == 2;
    size_t room = part && b >= 1 && b <= SG_MAX_FILES ? b : 1;
    w->files = sg_calloc(room, sizeof *w->files);
    if (!w->files)
        return sg_fail_nomem(err, "the list of files");
    SG_TRY(sg_file_open(&w->files[0], w->path, err));
    w->nfile = 1;
    return SG_OK;
}

sg_status sg_gguf_open_any(sg_weights *w, sg_error *err)
{
    SG_TRY(open_first(w, err));
    return read_file(w, &w->files[0], w->meta, err);
}

/* A token without a row, or a row without a token, would be read beyond the end of one or the other. */
static sg_status check_vocabulary(const sg_weights *w, sg_error *err)
{
    const sg_value *tokens = sg_dict_find(w->meta, "tokenizer.ggml.tokens");
    for (size_t i = 0; tokens && i < w->n; i++)
        if (strcmp(w->tensors[i].name, "token_embd.weight") == 0 && w->tensors[i].ne[1] != tokens->a.n)
            return sg_fail(err, SG_E_FORMAT,
                           "tensor 'token_embd.weight' has %" PRIu64 " rows, tokenizer.ggml.tokens has %zu tokens",
                           w->tensors[i].ne[1], tokens->a.n);
    return SG_OK;
}

sg_status sg_gguf_open(sg_weights *w, sg_error *err)
{
    SG_TRY(sg_gguf_open_any(w, err));
    sg_str arch = {0};
    SG_TRY(sg_dict_need_str(w->meta, "general.architecture", &arch, err));
    if (arch.len == 0 || memchr(arch.data, 0, arch.len))
        return sg_fail(err, SG_E_FORMAT, "metadata 'general.architecture' is empty or has a NUL");
    SG_TRY(read_parts(w, err));
    return check_vocabulary(w, err);
}
