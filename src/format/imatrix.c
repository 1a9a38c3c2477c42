/* format/imatrix.c - reading importance data.
 *
 * Entries are copied into one sorted array: files are a few MB at most and live as long as a quantisation.
 * The counts of the GGUF form and the number of calls of the other are factors common to a whole matrix;
 * they are left out, because encoders scale the weights of each block to a mean of 1 anyway.
 */
#include "format/imatrix.h"

#include "base/file.h"
#include "base/heap.h"
#include "format/gguf.h"
#include "format/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 1024 };

typedef struct entry {
    char *name;
    float *values;
    size_t n;
} entry;

struct sg_imatrix {
    entry *entries;
    size_t n, cap;
};

void sg_imatrix_close(sg_imatrix *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        sg_free(m->entries[i].name);
        sg_free(m->entries[i].values);
    }
    sg_free(m->entries);
    sg_free(m);
}

size_t sg_imatrix_count(const sg_imatrix *m) { return m->n; }

static int compare(const void *a, const void *b) { return strcmp(((const entry *)a)->name, ((const entry *)b)->name); }

const float *sg_imatrix_find(const sg_imatrix *m, const char *name, size_t *n)
{
    entry key = {.name = (char *)(uintptr_t)name};
    const entry *e = m->n ? bsearch(&key, m->entries, m->n, sizeof key, compare) : NULL;
    if (!e)
        return NULL;
    *n = e->n;
    return e->values;
}

/* Copy one entry; bytes need no alignment. */
static sg_status add(sg_imatrix *m, const char *name, size_t len, const void *bytes, size_t n, sg_error *err)
{
    if (m->n == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 64;
        entry *grown = sg_realloc(m->entries, cap * sizeof *grown);
        if (!grown)
            return sg_fail_nomem(err, "importance entries");
        m->entries = grown;
        m->cap = cap;
    }
    entry e = {sg_strndup(name, len), sg_alloc(n * sizeof(float)), n};
    if (!e.name || !e.values) {
        sg_free(e.name);
        sg_free(e.values);
        return sg_fail_nomem(err, "importance entries");
    }
    memcpy(e.values, bytes, n * sizeof(float));
    m->entries[m->n++] = e;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(e.values[i]) || e.values[i] < 0)
            return sg_fail(err, SG_E_FORMAT, "importance entry '%s': value %zu is %g", e.name, i, (double)e.values[i]);
    return SG_OK;
}

static sg_status seal(sg_imatrix *m, sg_error *err)
{
    if (m->n == 0)
        return sg_fail(err, SG_E_FORMAT, "importance data without an entry");
    qsort(m->entries, m->n, sizeof *m->entries, compare);
    for (size_t i = 1; i < m->n; i++)
        if (compare(&m->entries[i - 1], &m->entries[i]) == 0)
            return sg_fail(err, SG_E_FORMAT, "importance entry '%s' stands twice", m->entries[i].name);
    return SG_OK;
}

/* ---- the .dat form -------------------------------------------------------------------------------- */

typedef struct cursor {
    const unsigned char *p;
    size_t left;
} cursor;

/* A count of things; false at the end of the file and for negative ones. */
static bool take_count(cursor *c, size_t *v)
{
    int32_t i;
    if (c->left < sizeof i)
        return false;
    memcpy(&i, c->p, sizeof i);
    c->p += sizeof i;
    c->left -= sizeof i;
    *v = (size_t)i;
    return i >= 0;
}

static sg_status read_dat(sg_imatrix *m, const sg_file *file, sg_error *err)
{
    cursor c = {file->data, file->size};
    size_t nentry, len, ncall, n;
    if (!take_count(&c, &nentry) || nentry > file->size / 12)
        return sg_fail(err, SG_E_FORMAT, "neither GGUF nor importance data: bad number of entries");
    for (size_t i = 0; i < nentry; i++) {
        if (!take_count(&c, &len) || len == 0 || len > MAX_NAME || len > c.left || memchr(c.p, 0, len))
            return sg_fail(err, SG_E_FORMAT, "importance entry %zu of %zu: bad name", i, nentry);
        const char *name = (const char *)c.p;
        c.p += len;
        c.left -= len;
        if (!take_count(&c, &ncall) || !take_count(&c, &n) || n == 0 || n > c.left / sizeof(float))
            return sg_fail(err, SG_E_FORMAT, "importance entry %zu of %zu, '%.*s': bad number of values", i, nentry, (int)len, name);
        SG_TRY(add(m, name, len, c.p, n, err));
        c.p += n * sizeof(float);
        c.left -= n * sizeof(float);
    }
    return SG_OK; /* what follows names the text that was used */
}

/* ---- the GGUF form -------------------------------------------------------------------------------- */

static const char suffix[] = ".in_sum2";

static sg_status read_gguf(sg_imatrix *m, const char *path, sg_error *err)
{
    sg_weights *w = sg_weights_new(SG_SOURCE_GGUF, path);
    if (!w)
        return sg_fail_nomem(err, "importance data");
    sg_status st = sg_gguf_open_any(w, err);
    for (size_t i = 0; st == SG_OK && i < w->n; i++) {
        const sg_tensor *t = &w->tensors[i];
        size_t len = strlen(t->name), cut = sizeof suffix - 1;
        if (len <= cut || strcmp(t->name + len - cut, suffix) != 0)
            continue;
        if (t->type != SG_F32 || !t->data)
            st = sg_fail(err, SG_E_FORMAT, "importance tensor '%s' is %s, must be f32", t->name, sg_dtype_name(t->type));
        else
            st = add(m, t->name, len - cut, t->data, (size_t)sg_tensor_values(t), err);
    }
    sg_weights_close(w);
    return st;
}

sg_status sg_imatrix_open(sg_imatrix **m, const char *path, sg_error *err)
{
    sg_file file = {0};
    SG_TRY(sg_file_open(&file, path, err));
    sg_imatrix *new = sg_calloc(1, sizeof *new);
    sg_status st;
    if (!new)
        st = sg_fail_nomem(err, "importance data");
    else if (file.size >= 4 && memcmp(file.data, "GGUF", 4) == 0)
        st = read_gguf(new, path, err);
    else
        st = read_dat(new, &file, err);
    sg_file_close(&file);
    if (st == SG_OK)
        st = seal(new, err);
    if (st != SG_OK) {
        sg_imatrix_close(new);
        return sg_fail_at(err, st, "%s", path);
    }
    *m = new;
    return SG_OK;
}
