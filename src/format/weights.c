/* format/weights.c - the neutral form of an opened model; finds the right reader and reads tensors.
 *
 *     path -> directory?  -> hf.c        config.json, safetensors
 *             *.bin?      -> llama2c.c
 *             else        -> gguf.c      says what it found when it is no GGUF
 *
 * Names are found by binary search in a sorted index and not by a hash table: file contents choose the
 * names, and sorting has no bad case that a hostile file could aim for.
 */
#include "format/weights.h"

#include "base/heap.h"
#include "format/recipe.h"
#include "format/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

sg_weights *sg_weights_new(sg_source source, const char *path)
{
    sg_weights *w = sg_calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->source = source;
    w->path = sg_strdup(path);
    w->meta = sg_dict_new();
    if (!w->path || !w->meta) {
        sg_weights_close(w);
        return NULL;
    }
    return w;
}

void sg_weights_close(sg_weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++) {
        sg_free((char *)(uintptr_t)w->tensors[i].name);
        sg_recipe_free((struct sg_recipe *)(uintptr_t)w->tensors[i].recipe);
    }
    for (size_t i = 0; i < w->nfile; i++)
        if (!w->borrowed)
            sg_file_close(&w->files[i]);
    for (size_t i = 0; i < w->nblob; i++)
        sg_free(w->blobs[i]);
    sg_free(w->files);
    sg_free(w->tensors);
    sg_free(w->by_name);
    sg_dict_free(w->meta);
    sg_free(w->path);
    sg_free(w->tokenizer_json);
    sg_free(w->tokenizer_config);
    sg_free(w->chat_template);
    sg_free(w);
}

sg_status sg_weights_add(sg_weights *w, const sg_tensor *t, const char *name, size_t n, sg_error *err)
{
    char *copy = sg_strndup(name, n);
    if (copy && w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        sg_tensor *grown = sg_realloc(w->tensors, cap * sizeof *grown);
        if (grown) {
            w->tensors = grown;
            w->cap = cap;
        }
    }
    if (!copy || w->n == w->cap) {
        sg_free(copy);
        sg_recipe_free((struct sg_recipe *)(uintptr_t)t->recipe);
        return sg_fail_nomem(err, "the tensor directory");
    }
    w->tensors[w->n] = *t;
    w->tensors[w->n++].name = copy;
    return SG_OK;
}

static int compare_names(const void *a, const void *b, void *arg)
{
    const sg_weights *w = arg;
    const uint32_t *i = a, *j = b;
    return strcmp(w->tensors[*i].name, w->tensors[*j].name);
}

sg_status sg_weights_seal(sg_weights *w, sg_error *err)
{
    w->by_name = sg_alloc(w->n * sizeof *w->by_name);
    if (!w->by_name)
        return sg_fail_nomem(err, "the tensor directory");
    for (size_t i = 0; i < w->n; i++)
        w->by_name[i] = (uint32_t)i;
    qsort_r(w->by_name, w->n, sizeof *w->by_name, compare_names, w);
    for (size_t i = 1; i < w->n; i++)
        if (compare_names(&w->by_name[i - 1], &w->by_name[i], w) == 0)
            return sg_fail(err, SG_E_FORMAT, "tensor '%s' stands twice", w->tensors[w->by_name[i]].name);
    for (size_t i = 0; i < w->nfile && !w->borrowed; i++)
        sg_file_drop(&w->files[i], 0, w->files[i].size); /* names and vocabularies were read and copied */
    sg_heap_trim();                                      /* lists of them were made on the way */
    return SG_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const sg_tensor *s = *(const sg_tensor *const *)a, *t = *(const sg_tensor *const *)b;
    return s->offset != t->offset ? (s->offset < t->offset ? -1 : 1) : strcmp(s->name, t->name);
}

sg_status sg_weights_check_overlap(const sg_weights *w, const sg_file *f, sg_error *err)
{
    const sg_tensor **order = sg_alloc(w->n * sizeof *order);
    if (!order)
        return sg_fail_nomem(err, "the tensor directory");
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->tensors[i].file == f)
            order[n++] = &w->tensors[i];
    qsort(order, n, sizeof *order, compare_offsets);
    sg_status st = SG_OK;
    for (size_t i = 1; i < n && st == SG_OK; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes)
            st = sg_fail(err, SG_E_FORMAT, "tensors '%s' and '%s' share bytes at %zu", order[i - 1]->name,
                         order[i]->name, order[i]->offset);
    sg_free(order);
    return st;
}

bool sg_tensor_size(sg_tensor *t, const char **why)
{
    const sg_dtype_info *info = sg_dtype_of(t->type);
    if (t->ne[0] % info->block) {
        *why = "a row is not a whole number of blocks";
        return false;
    }
    uint64_t n = t->ne[0] / info->block, bytes, values = t->ne[0];
    bool over = __builtin_mul_overflow(n, info->bytes, &bytes);
    for (int i = 1; i < t->ndim; i++)
        over = __builtin_mul_overflow(bytes, t->ne[i], &bytes) || __builtin_mul_overflow(values, t->ne[i], &values) ||
               over;
    if (over || bytes > INT64_MAX || values > INT64_MAX) {
        *why = "its size does not fit 63 bits";
        return false;
    }
    t->bytes = bytes;
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

static sg_status open_with(sg_weights **out, sg_weights *w, sg_status (*read)(sg_weights *, sg_error *), sg_error *err)
{
    if (!w)
        return sg_fail_nomem(err, "the tensor directory");
    sg_error own;
    sg_status st = read(w, &own);
    if (st == SG_OK)
        st = sg_weights_seal(w, &own);
    if (st != SG_OK) {
        /* Errors of the operating system name the path already. */
        if (!strstr(own.text, w->path))
            sg_fail_at(&own, st, "%s", w->path);
        if (err)
            *err = own;
        sg_weights_close(w);
        return st;
    }
    *out = w;
    return SG_OK;
}

sg_status sg_weights_open(sg_weights **w, const char *path, sg_error *err)
{
    if (sg_path_is_directory(path))
        return open_with(w, sg_weights_new(SG_SOURCE_HF, path), sg_hf_open, err);
    if (ends_with(path, ".bin"))
        return open_with(w, sg_weights_new(SG_SOURCE_LLAMA2C, path), sg_llama2c_open, err);
    return open_with(w, sg_weights_new(SG_SOURCE_GGUF, path), sg_gguf_open, err);
}

sg_status sg_weights_open_bytes(sg_weights **w, sg_source source, const void *data, size_t size, const char *name,
                                sg_error *err)
{
    sg_weights *new = sg_weights_new(source, name);
    if (new) {
        new->files = sg_calloc(1, sizeof *new->files);
        new->borrowed = true;
        if (!new->files) {
            sg_weights_close(new);
            return sg_fail_nomem(err, "the tensor directory");
        }
        new->files[0] = (sg_file){.data = size ? data : NULL, .size = size, .path = new->path};
        new->nfile = 1;
    }
    return open_with(w, new, source == SG_SOURCE_LLAMA2C ? sg_llama2c_open : sg_gguf_open, err);
}

sg_status sg_weights_open_memory(sg_weights **w, const void *data, size_t size, const char *name, sg_error *err)
{
    return sg_weights_open_bytes(w, SG_SOURCE_GGUF, data, size, name, err);
}

sg_source sg_weights_source(const sg_weights *w) { return w->source; }
const char *sg_weights_path(const sg_weights *w) { return w->path; }
const sg_dict *sg_weights_meta(const sg_weights *w) { return w->meta; }
size_t sg_weights_count(const sg_weights *w) { return w->n; }
const sg_tensor *sg_weights_at(const sg_weights *w, size_t i) { return &w->tensors[i]; }
const char *sg_weights_tokenizer_json(const sg_weights *w) { return w->tokenizer_json; }
const char *sg_weights_tokenizer_config(const sg_weights *w) { return w->tokenizer_config; }
const char *sg_weights_chat_template(const sg_weights *w) { return w->chat_template; }

uint64_t sg_weights_file_bytes(const sg_weights *w)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < w->nfile; i++)
        sum += w->files[i].size;
    return sum;
}

const sg_tensor *sg_weights_find(const sg_weights *w, const char *name)
{
    size_t lo = 0, hi = w->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const sg_tensor *t = &w->tensors[w->by_name[mid]];
        int c = strcmp(name, t->name);
        if (c == 0)
            return t;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

sg_status sg_weights_read_rows(const sg_weights *w, const sg_tensor *t, uint64_t row, uint64_t nrow, void *dst,
                               sg_error *err)
{
    (void)w;
    size_t row_bytes = sg_dtype_row_bytes(t->type, t->ne[0]);
    if (row > sg_tensor_rows(t) || nrow > sg_tensor_rows(t) - row)
        return sg_fail(err, SG_E_ARGUMENT, "tensor '%s': rows %" PRIu64 "+%" PRIu64 " of %" PRIu64, t->name, row, nrow,
                       sg_tensor_rows(t));
    if (t->data) {
        if (nrow)
            memcpy(dst, (const unsigned char *)t->data + row * row_bytes, nrow * row_bytes);
        return SG_OK;
    }
    sg_recipe_run(t, row, nrow, dst);
    return SG_OK;
}

sg_status sg_weights_read(const sg_weights *w, const sg_tensor *t, void *dst, sg_error *err)
{
    return sg_weights_read_rows(w, t, 0, sg_tensor_rows(t), dst, err);
}

void sg_weights_drop_part(const sg_weights *w, const sg_tensor *t, const void *data, size_t bytes)
{
    const unsigned char *from = data, *all = t->data;
    if (!w->borrowed && all && t->file && from >= all && bytes <= t->bytes && (size_t)(from - all) <= t->bytes - bytes)
        sg_file_drop(t->file, t->offset + (size_t)(from - all), bytes);
}

void sg_weights_drop(const sg_weights *w, const sg_tensor *t)
{
    if (w->borrowed)
        return;
    if (t->data && !t->file)
        return; /* made at open, a few numbers */
    if (t->data)
        sg_file_drop(t->file, t->offset, t->bytes);
    else
        sg_recipe_drop(t->recipe);
}
