/* format/safetensors.c - reading the header of a safetensors file.
 *
 *     u64 n | n bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
 *     "__metadata__": {string: string}}, padded with spaces | data; offsets count from here
 *
 * The data must be covered exactly: sorted by begin, each tensor starts where the one before it ends and
 * the last ends with the file.  That also rules out overlap.  The JSON parser bounds depth and rejects
 * duplicate names.  A header may be 32 MiB (300,000 tensors); JSON made to waste takes 40 times that.
 */
#include "format/safetensors.h"

#include "base/heap.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 32 << 20, MAX_NAME = 4096 };

static const struct {
    const char *name;
    unsigned bits;
    int type;
} dtypes[] = {
    {"BOOL", 8, SG_STORED_NONE},   {"U8", 8, SG_STORED_NONE},      {"I8", 8, SG_I8},
    {"F8_E5M2", 8, SG_STORED_NONE}, {"F8_E4M3", 8, SG_STORED_NONE}, {"F8_E8M0", 8, SG_STORED_NONE},
    {"I16", 16, SG_I16},           {"U16", 16, SG_STORED_NONE},    {"F16", 16, SG_F16},
    {"BF16", 16, SG_BF16},         {"I32", 32, SG_I32},            {"U32", 32, SG_STORED_NONE},
    {"F32", 32, SG_F32},           {"C64", 64, SG_STORED_NONE},    {"F64", 64, SG_F64},
    {"I64", 64, SG_I64},           {"U64", 64, SG_STORED_NONE},    {"F4", 4, SG_STORED_NONE},
    {"F6_E2M3", 6, SG_STORED_NONE}, {"F6_E3M2", 6, SG_STORED_NONE},
};

static sg_status parse_header(json_t **root, const char *text, size_t n, sg_error *err)
{
    sg_json_init();
    json_error_t e;
    *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!*root && json_error_code(&e) == json_error_out_of_memory)
        return sg_fail_nomem(err, "the header");
    if (!*root)
        return sg_fail(err, SG_E_FORMAT, "header: byte %d: %s", e.position + 8, e.text);
    if (json_is_object(*root))
        return SG_OK;
    json_decref(*root);
    *root = NULL;
    return sg_fail(err, SG_E_FORMAT, "header: it is not an object");
}

static sg_status check_metadata(json_t *meta, sg_error *err)
{
    if (!json_is_object(meta))
        return sg_fail(err, SG_E_FORMAT, "header: __metadata__ is not an object");
    const char *key;
    json_t *value;
    json_object_foreach(meta, key, value)
        if (!json_is_string(value))
            return sg_fail(err, SG_E_FORMAT, "header: __metadata__ '%s' is not a string", key);
    return SG_OK;
}

static sg_status read_dtype(sg_stored *t, json_t *entry, unsigned *bits, sg_error *err)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': dtype is missing or no string", t->name);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            t->dtype = dtypes[i].name;
            t->type = dtypes[i].type;
            *bits = dtypes[i].bits;
            return SG_OK;
        }
    return sg_fail(err, SG_E_UNSUPPORTED, "tensor '%s': dtype '%s' is unknown", t->name, name);
}

static sg_status read_shape(sg_stored *t, json_t *entry, unsigned bits, uint64_t *bytes, sg_error *err)
{
    json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': shape is missing or no list", t->name);
    size_t n = json_array_size(shape);
    if (n > SG_STORED_DIMS)
        return sg_fail(err, SG_E_UNSUPPORTED, "tensor '%s': shape has %zu dimensions, at most %d are read", t->name, n,
                       SG_STORED_DIMS);
    t->ndim = (int)n;
    uint64_t total = bits;
    for (size_t i = 0; i < n; i++) {
        json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return sg_fail(err, SG_E_FORMAT, "tensor '%s': shape has an element that is no size", t->name);
        t->shape[i] = (uint64_t)json_integer_value(d);
        if (__builtin_mul_overflow(total, t->shape[i], &total))
            return sg_fail(err, SG_E_FORMAT, "tensor '%s': shape is too large for 64 bits", t->name);
    }
    if (total % 8)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': %" PRIu64 " bits are no whole number of bytes", t->name, total);
    *bytes = total / 8;
    return SG_OK;
}

static sg_status read_offsets(sg_stored *t, json_t *entry, uint64_t bytes, size_t room, sg_error *err)
{
    json_t *o = json_object_get(entry, "data_offsets"), *a = json_array_get(o, 0), *b = json_array_get(o, 1);
    if (json_array_size(o) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': data_offsets is not a list of two integers", t->name);
    json_int_t begin = json_integer_value(a), end = json_integer_value(b);
    if (begin < 0 || end < begin || (uint64_t)end > room)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': data_offsets [%lld, %lld] do not lie in the %zu bytes of data",
                       t->name, (long long)begin, (long long)end, room);
    if ((uint64_t)(end - begin) != bytes)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': shape and dtype make %" PRIu64 " bytes, data_offsets give %lld",
                       t->name, bytes, (long long)(end - begin));
    t->offset = (size_t)begin;
    t->bytes = (size_t)bytes;
    return SG_OK;
}

static sg_status add(sg_safetensors *dir, const char *name, sg_stored **t, sg_error *err)
{
    if (strlen(name) > MAX_NAME)
        return sg_fail(err, SG_E_LIMIT, "a tensor's name has %zu bytes, at most %d", strlen(name), MAX_NAME);
    if (dir->n == dir->cap) {
        size_t cap = dir->cap ? dir->cap * 2 : 64;
        sg_stored *grown = sg_realloc(dir->tensors, cap * sizeof *grown);
        if (!grown)
            return sg_fail_nomem(err, "the tensor directory");
        dir->tensors = grown;
        dir->cap = cap;
    }
    char *copy = sg_strdup(name);
    if (!copy)
        return sg_fail_nomem(err, "the tensor directory");
    *t = &dir->tensors[dir->n++];
    **t = (sg_stored){.name = copy};
    return SG_OK;
}

static int by_offset(const void *a, const void *b)
{
    const sg_stored *s = a, *t = b;
    if (s->offset != t->offset)
        return s->offset < t->offset ? -1 : 1;
    return s->bytes != t->bytes ? (s->bytes < t->bytes ? -1 : 1) : strcmp(s->name, t->name);
}

static sg_status check_cover(const sg_stored *t, size_t n, size_t room, sg_error *err)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (t[i].offset != at)
            return sg_fail(err, SG_E_FORMAT,
                           "tensor '%s': it starts at byte %zu of the data, the one before ends at %zu", t[i].name,
                           t[i].offset, at);
        at += t[i].bytes;
    }
    if (at != room)
        return sg_fail(err, SG_E_FORMAT, "bytes %zu to %zu of the data belong to no tensor", at, room);
    return SG_OK;
}

static sg_status read_entries(sg_safetensors *dir, json_t *root, const sg_file *file, size_t start, sg_error *err)
{
    size_t room = file->size - start, first = dir->n;
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            SG_TRY(check_metadata(entry, err));
            continue;
        }
        if (!json_is_object(entry))
            return sg_fail(err, SG_E_FORMAT, "tensor '%s': its entry is not an object", name);
        sg_stored *t = NULL;
        unsigned bits = 0;
        uint64_t bytes = 0;
        SG_TRY(add(dir, name, &t, err));
        t->file = file;
        SG_TRY(read_dtype(t, entry, &bits, err));
        SG_TRY(read_shape(t, entry, bits, &bytes, err));
        SG_TRY(read_offsets(t, entry, bytes, room, err));
    }
    size_t n = dir->n - first;
    sg_stored *tensors = n ? dir->tensors + first : NULL;
    if (n)
        qsort(tensors, n, sizeof *tensors, by_offset);
    SG_TRY(check_cover(tensors, n, room, err));
    for (size_t i = first; i < dir->n; i++)
        dir->tensors[i].offset += start;
    return SG_OK;
}

sg_status sg_safetensors_read(sg_safetensors *dir, const sg_file *file, sg_error *err)
{
    uint64_t n = 0;
    if (file->size < sizeof n)
        return sg_fail(err, SG_E_FORMAT, "not a safetensors file: it has %zu bytes", file->size);
    memcpy(&n, file->data, sizeof n);
    if (n > file->size - sizeof n || n > MAX_HEADER)
        return sg_fail(err, SG_E_FORMAT,
                       "the header's length is %" PRIu64 ", the file has %zu bytes and the limit is %d", n, file->size,
                       MAX_HEADER);
    json_t *root = NULL;
    SG_TRY(parse_header(&root, (const char *)file->data + sizeof n, (size_t)n, err));
    sg_status st = read_entries(dir, root, file, (size_t)n + sizeof n, err);
    json_decref(root);
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sg_stored *)a)->name, ((const sg_stored *)b)->name);
}

sg_status sg_safetensors_sort(sg_safetensors *dir, sg_error *err)
{
    if (dir->n)
        qsort(dir->tensors, dir->n, sizeof *dir->tensors, by_name);
    for (size_t i = 1; i < dir->n; i++)
        if (by_name(&dir->tensors[i - 1], &dir->tensors[i]) == 0)
            return sg_fail(err, SG_E_FORMAT, "tensor '%s' is in two files", dir->tensors[i].name);
    return SG_OK;
}

sg_stored *sg_safetensors_find(const sg_safetensors *dir, const char *name)
{
    size_t lo = 0, hi = dir->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, dir->tensors[mid].name);
        if (c == 0)
            return &dir->tensors[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

void sg_safetensors_fini(sg_safetensors *dir)
{
    for (size_t i = 0; i < dir->n; i++)
        sg_free(dir->tensors[i].name);
    sg_free(dir->tensors);
    *dir = (sg_safetensors){0};
}

sg_status sg_safetensors_check(const char *path, sg_error *err)
{
    sg_file f = {0};
    sg_safetensors dir = {0};
    SG_TRY(sg_file_open(&f, path, err));
    sg_status st = sg_safetensors_read(&dir, &f, err);
    if (st == SG_OK)
        st = sg_safetensors_sort(&dir, err);
    if (st != SG_OK)
        sg_fail_at(err, st, "%s", path);
    sg_safetensors_fini(&dir);
    sg_file_close(&f);
    return st;
}
