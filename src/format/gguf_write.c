/* format/gguf_write.c - writing GGUF, version 3, little-endian.
 *
 * The header is built in memory (it is as small as a vocabulary); tensor data is asked for in pieces of a
 * few MiB and written through base/file.h, which renames the finished file into place.  Offsets are known
 * before any data exists, because types and shapes fix all sizes.
 */
#include "format/gguf.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/heap.h"

#include <inttypes.h>
#include <string.h>

enum { CHUNK = 4 << 20 }; /* bytes of tensor data made at a time; not performance critical, see `rows` */

static void put_u32(sg_buf *b, uint32_t v) { sg_buf_add(b, &v, sizeof v); }
static void put_u64(sg_buf *b, uint64_t v) { sg_buf_add(b, &v, sizeof v); }

static void put_string(sg_buf *b, const char *s, size_t n)
{
    put_u64(b, n);
    sg_buf_add(b, s, n);
}

/* The wire type for a value that no file has given one. */
static uint32_t natural(sg_kind kind, uint64_t bits)
{
    int64_t i = (int64_t)bits;
    switch (kind) {
    case SG_KIND_U64: return bits <= UINT32_MAX ? SG_GGUF_U32 : SG_GGUF_U64;
    case SG_KIND_I64: return i >= INT32_MIN && i <= INT32_MAX ? SG_GGUF_I32 : SG_GGUF_I64;
    case SG_KIND_F64: return SG_GGUF_F32;
    case SG_KIND_BOOL: return SG_GGUF_BOOL;
    case SG_KIND_STR: return SG_GGUF_STRING;
    case SG_KIND_ARRAY: return SG_GGUF_ARRAY;
    }
    return SG_GGUF_U32;
}

static uint32_t natural_element(const sg_array *a)
{
    uint32_t wire = natural(a->kind, 0);
    if (a->kind == SG_KIND_U64 || a->kind == SG_KIND_I64)
        for (size_t i = 0; i < a->n; i++)
            if (natural(a->kind, a->u[i]) > wire)
                wire = natural(a->kind, a->u[i]);
    return wire;
}

/* A number or a bool; `bits` are those of the 8-byte value. */
static void put_number(sg_buf *b, uint32_t wire, uint64_t bits)
{
    static const uint8_t widths[SG_GGUF_TYPE_END] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (wire == SG_GGUF_F32) {
        double d;
        memcpy(&d, &bits, sizeof d);
        float f = (float)d;
        sg_buf_add(b, &f, sizeof f);
    } else {
        sg_buf_add(b, &bits, widths[wire]);
    }
}

static void put_array(sg_buf *b, const sg_array *a, uint32_t wire)
{
    put_u32(b, wire);
    put_u64(b, a->n);
    for (size_t i = 0; i < a->n; i++) {
        if (a->kind == SG_KIND_STR)
            put_string(b, a->s[i].data, a->s[i].len);
        else
            put_number(b, wire, a->kind == SG_KIND_BOOL ? a->b[i] : a->u[i]);
    }
}

static void put_value(sg_buf *b, const sg_value *v)
{
    uint32_t wire = v->wire ? v->wire : natural(v->kind, v->u);
    put_u32(b, wire);
    if (v->kind == SG_KIND_ARRAY)
        put_array(b, &v->a, v->wire_element ? v->wire_element : natural_element(&v->a));
    else if (v->kind == SG_KIND_STR)
        put_string(b, v->s.data, v->s.len);
    else
        put_number(b, wire, v->kind == SG_KIND_BOOL ? v->b : v->u);
}

static uint64_t align_up(uint64_t n, uint64_t alignment) { return (n + alignment - 1) / alignment * alignment; }

static sg_status bytes_of(const sg_gguf_tensor *t, uint64_t *bytes, uint64_t *nrow, sg_error *err)
{
    uint64_t rows = t->ne[1], row = sg_dtype_row_bytes(t->type, t->ne[0]);
    bool over = t->ndim < 1 || t->ndim > 4 || !t->ne[0] || !row || t->ne[0] > UINT64_MAX / 512;
    over = over || __builtin_mul_overflow(rows, t->ne[2], &rows) || __builtin_mul_overflow(rows, t->ne[3], &rows);
    over = over || __builtin_mul_overflow(rows, row, bytes) || *bytes > INT64_MAX;
    if (over)
        return sg_fail(err, SG_E_ARGUMENT,
                       "tensor '%s' of type %s cannot have the shape %" PRIu64 "x%" PRIu64 "x%" PRIu64 "x%" PRIu64,
                       t->name, sg_dtype_name(t->type), t->ne[0], t->ne[1], t->ne[2], t->ne[3]);
    *nrow = rows;
    return SG_OK;
}

static sg_status put_header(sg_buf *b, const sg_dict *meta, const sg_gguf_tensor *tensors, size_t n, uint64_t alignment,
                            sg_error *err)
{
    sg_buf_add(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, n);
    put_u64(b, sg_dict_count(meta));
    for (size_t i = 0; i < sg_dict_count(meta); i++) {
        put_string(b, sg_dict_key(meta, i), strlen(sg_dict_key(meta, i)));
        put_value(b, sg_dict_at(meta, i));
    }
    uint64_t offset = 0, bytes = 0, nrow = 0;
    for (size_t i = 0; i < n; i++) {
        const sg_gguf_tensor *t = &tensors[i];
        SG_TRY(bytes_of(t, &bytes, &nrow, err));
        put_string(b, t->name, strlen(t->name));
        put_u32(b, (uint32_t)t->ndim);
        for (int d = 0; d < t->ndim; d++)
            put_u64(b, t->ne[d]);
        put_u32(b, (uint32_t)t->type);
        put_u64(b, offset);
        if (__builtin_add_overflow(offset, align_up(bytes, alignment), &offset))
            return sg_fail(err, SG_E_LIMIT, "the tensors have more than 2^64 bytes");
    }
    while (sg_buf_ok(b) && b->len % alignment)
        sg_buf_addc(b, '\0');
    return sg_buf_ok(b) ? SG_OK : sg_fail_nomem(err, "the header");
}

static sg_status pad(sg_file_writer *w, uint64_t alignment, sg_error *err)
{
    static const char zeros[4096];
    uint64_t at = sg_file_position(w), n = align_up(at, alignment) - at;
    for (; n; n -= n < sizeof zeros ? n : sizeof zeros)
        SG_TRY(sg_file_write(w, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros, err));
    return SG_OK;
}

static sg_status write_tensor(sg_file_writer *w, const sg_gguf_tensor *t, size_t number, sg_gguf_rows_fn *rows,
                              void *arg, sg_error *err)
{
    uint64_t bytes = 0, nrow = 0;
    SG_TRY(bytes_of(t, &bytes, &nrow, err));
    if (nrow == 0)
        return SG_OK;
    size_t row_bytes = (size_t)(bytes / nrow);
    uint64_t step = row_bytes < CHUNK ? CHUNK / row_bytes : 1;
    if (step > nrow)
        step = nrow;
    void *chunk = sg_alloc((size_t)step * row_bytes);
    if (!chunk)
        return sg_fail_nomem(err, t->name);
    sg_status st = SG_OK;
    for (uint64_t row = 0; row < nrow && st == SG_OK; row += step) {
        uint64_t now = nrow - row < step ? nrow - row : step;
        st = rows(arg, number, row, now, chunk, err);
        if (st == SG_OK)
            st = sg_file_write(w, chunk, (size_t)now * row_bytes, err);
    }
    sg_free(chunk);
    return st;
}

static sg_status write_all(sg_file_writer *w, const sg_buf *header, const sg_gguf_tensor *tensors, size_t n,
                           uint64_t alignment, sg_gguf_rows_fn *rows, void *arg, sg_error *err)
{
    SG_TRY(sg_file_write(w, header->data, header->len, err));
    for (size_t i = 0; i < n; i++) {
        SG_TRY(write_tensor(w, &tensors[i], i, rows, arg, err));
        SG_TRY(pad(w, alignment, err));
    }
    return SG_OK;
}

sg_status sg_gguf_write(const char *path, const sg_dict *meta, const sg_gguf_tensor *tensors, size_t n,
                        sg_gguf_rows_fn *rows, void *arg, sg_error *err)
{
    uint64_t alignment = SG_GGUF_ALIGNMENT;
    SG_TRY(sg_dict_u64(meta, "general.alignment", SG_GGUF_ALIGNMENT, &alignment, err));
    if (alignment < 8 || alignment > SG_GGUF_ALIGNMENT_MAX || alignment & (alignment - 1))
        return sg_fail(err, SG_E_ARGUMENT, "general.alignment is %" PRIu64, alignment);
    sg_buf header = SG_BUF_INIT;
    sg_file_writer *w = NULL;
    sg_status st = put_header(&header, meta, tensors, n, alignment, err);
    if (st == SG_OK)
        st = sg_file_create(&w, path, err);
    if (st == SG_OK)
        st = write_all(w, &header, tensors, n, alignment, rows, arg, err);
    sg_buf_fini(&header);
    if (st == SG_OK)
        return sg_file_commit(w, err);
    sg_file_abort(w);
    return st;
}
