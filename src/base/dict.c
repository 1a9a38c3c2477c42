/* base/dict.c - an ordered dictionary of typed values.
 *
 *     entries: [key value][key value]...       in order of insertion
 *     slots:   hash(key) -> index into entries, open addressing, load below 1/2
 *
 * Arrays are one allocation each.  An array of strings is one block: the sg_str table first, the bytes
 * (each string with a NUL) behind it, because a vocabulary has 200,000 strings and as many small
 * allocations would cost more memory and time than the strings themselves.
 */
#include "base/dict.h"

#include "base/heap.h"

#include <inttypes.h>
#include <string.h>

typedef struct entry {
    char *key;
    void *owned; /* the block behind a string or an array, or NULL */
    sg_value value;
} entry;

struct sg_dict {
    entry *entries;
    uint32_t *slots; /* index + 1, 0 = free */
    size_t n, cap, nslot;
};

static uint64_t hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a; the number of keys in a file is bounded by its reader */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ h >> 29;
}

sg_dict *sg_dict_new(void) { return sg_calloc(1, sizeof(sg_dict)); }

void sg_dict_free(sg_dict *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n; i++) {
        sg_free(d->entries[i].key);
        sg_free(d->entries[i].owned);
    }
    sg_free(d->entries);
    sg_free(d->slots);
    sg_free(d);
}

static size_t slot_of(const sg_dict *d, const char *key)
{
    size_t i = hash(key) & (d->nslot - 1);
    while (d->slots[i] && strcmp(d->entries[d->slots[i] - 1].key, key) != 0)
        i = (i + 1) & (d->nslot - 1);
    return i;
}

static bool grow(sg_dict *d)
{
    if (d->n + 1 > d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 16;
        entry *e = sg_realloc(d->entries, cap * sizeof *e);
        if (!e)
            return false;
        d->entries = e;
        d->cap = cap;
    }
    if ((d->n + 1) * 2 > d->nslot) {
        size_t nslot = d->nslot ? d->nslot * 2 : 32;
        uint32_t *slots = sg_calloc(nslot, sizeof *slots);
        if (!slots)
            return false;
        sg_free(d->slots);
        d->slots = slots;
        d->nslot = nslot;
        for (size_t i = 0; i < d->n; i++)
            d->slots[slot_of(d, d->entries[i].key)] = (uint32_t)i + 1;
    }
    return true;
}

/* Copy what `in` points at into one block.  false when out of memory. */
static bool copy_value(const sg_value *in, sg_value *out, void **owned)
{
    *out = *in;
    *owned = NULL;
    if (in->kind == SG_KIND_STR) {
        char *s = sg_strndup(in->s.data ? in->s.data : "", in->s.len);
        *owned = s;
        out->s.data = s;
        return s != NULL;
    }
    if (in->kind != SG_KIND_ARRAY)
        return true;
    const sg_array *a = &in->a;
    if (a->kind == SG_KIND_STR) {
        size_t bytes = a->n * sizeof(sg_str);
        for (size_t i = 0; i < a->n; i++)
            bytes += a->s[i].len + 1;
        char *block = sg_alloc(bytes);
        if (!block)
            return false;
        sg_str *table = (sg_str *)(void *)block;
        char *p = block + a->n * sizeof(sg_str);
        for (size_t i = 0; i < a->n; i++) {
            table[i] = (sg_str){p, a->s[i].len};
            if (a->s[i].len)
                memcpy(p, a->s[i].data, a->s[i].len);
            p[a->s[i].len] = '\0';
            p += a->s[i].len + 1;
        }
        *owned = block;
        out->a.s = table;
        return true;
    }
    size_t width = a->kind == SG_KIND_BOOL ? sizeof(bool) : 8;
    void *block = sg_alloc(a->n * width);
    if (!block)
        return false;
    if (a->n)
        memcpy(block, a->u, a->n * width);
    *owned = block;
    out->a.u = block;
    return true;
}

sg_status sg_dict_set(sg_dict *d, const char *key, const sg_value *value, sg_error *err)
{
    sg_value copy;
    void *owned;
    if (!copy_value(value, &copy, &owned))
        return sg_fail_nomem(err, "a metadata value");
    size_t i = d->nslot ? slot_of(d, key) : 0;
    if (d->nslot && d->slots[i]) {
        entry *e = &d->entries[d->slots[i] - 1];
        sg_free(e->owned);
        e->owned = owned;
        e->value = copy;
        return SG_OK;
    }
    char *name = sg_strdup(key);
    if (!name || !grow(d)) {
        sg_free(name);
        sg_free(owned);
        return sg_fail_nomem(err, "a metadata key");
    }
    d->entries[d->n] = (entry){name, owned, copy};
    d->slots[slot_of(d, key)] = (uint32_t)d->n + 1;
    d->n++;
    return SG_OK;
}

sg_status sg_dict_set_u64(sg_dict *d, const char *key, uint64_t v, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_U64, .u = v}, err);
}

sg_status sg_dict_set_i64(sg_dict *d, const char *key, int64_t v, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_I64, .i = v}, err);
}

sg_status sg_dict_set_f64(sg_dict *d, const char *key, double v, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_F64, .f = v}, err);
}

sg_status sg_dict_set_bool(sg_dict *d, const char *key, bool v, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_BOOL, .b = v}, err);
}

sg_status sg_dict_set_str(sg_dict *d, const char *key, const char *s, size_t n, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_STR, .s = {s, n}}, err);
}

sg_status sg_dict_set_array(sg_dict *d, const char *key, const sg_array *a, sg_error *err)
{
    return sg_dict_set(d, key, &(sg_value){.kind = SG_KIND_ARRAY, .a = *a}, err);
}

void sg_dict_remove(sg_dict *d, const char *key)
{
    if (!d->nslot || !d->slots[slot_of(d, key)])
        return;
    size_t at = d->slots[slot_of(d, key)] - 1;
    sg_free(d->entries[at].key);
    sg_free(d->entries[at].owned);
    memmove(d->entries + at, d->entries + at + 1, (d->n - at - 1) * sizeof *d->entries);
    d->n--;
    memset(d->slots, 0, d->nslot * sizeof *d->slots);
    for (size_t i = 0; i < d->n; i++)
        d->slots[slot_of(d, d->entries[i].key)] = (uint32_t)i + 1;
}

size_t sg_dict_count(const sg_dict *d) { return d->n; }
const char *sg_dict_key(const sg_dict *d, size_t i) { return d->entries[i].key; }
const sg_value *sg_dict_at(const sg_dict *d, size_t i) { return &d->entries[i].value; }

const sg_value *sg_dict_find(const sg_dict *d, const char *key)
{
    if (!d->nslot)
        return NULL;
    uint32_t at = d->slots[slot_of(d, key)];
    return at ? &d->entries[at - 1].value : NULL;
}

static const char *kind_name(sg_kind kind)
{
    static const char *const names[] = {"an unsigned integer", "a signed integer", "a float", "a bool", "a string", "an array"};
    return names[kind];
}

static sg_status wrong_kind(const char *key, sg_kind have, const char *want, sg_error *err)
{
    return sg_fail(err, SG_E_FORMAT, "metadata '%s' is %s, not %s", key, kind_name(have), want);
}

static sg_status absent(const char *key, sg_error *err)
{
    return sg_fail(err, SG_E_FORMAT, "metadata '%s' is missing", key);
}

sg_status sg_dict_u64(const sg_dict *d, const char *key, uint64_t fallback, uint64_t *v, sg_error *err)
{
    const sg_value *x = sg_dict_find(d, key);
    if (!x)
        *v = fallback;
    else if (x->kind == SG_KIND_U64)
        *v = x->u;
    else if (x->kind == SG_KIND_I64 && x->i >= 0)
        *v = (uint64_t)x->i;
    else if (x->kind == SG_KIND_F64 && x->f >= 0 && x->f < 9e15 && x->f == (double)(uint64_t)x->f)
        *v = (uint64_t)x->f;
    else if (x->kind == SG_KIND_I64)
        return sg_fail(err, SG_E_FORMAT, "metadata '%s' is %" PRId64 ", it cannot be negative", key, x->i);
    else
        return wrong_kind(key, x->kind, "an integer", err);
    return SG_OK;
}

sg_status sg_dict_f64(const sg_dict *d, const char *key, double fallback, double *v, sg_error *err)
{
    const sg_value *x = sg_dict_find(d, key);
    if (!x)
        *v = fallback;
    else if (x->kind == SG_KIND_F64)
        *v = x->f;
    else if (x->kind == SG_KIND_U64)
        *v = (double)x->u;
    else if (x->kind == SG_KIND_I64)
        *v = (double)x->i;
    else
        return wrong_kind(key, x->kind, "a number", err);
    return SG_OK;
}

sg_status sg_dict_bool(const sg_dict *d, const char *key, bool fallback, bool *v, sg_error *err)
{
    const sg_value *x = sg_dict_find(d, key);
    if (!x)
        *v = fallback;
    else if (x->kind == SG_KIND_BOOL)
        *v = x->b;
    else
        return wrong_kind(key, x->kind, "a bool", err);
    return SG_OK;
}

sg_status sg_dict_str(const sg_dict *d, const char *key, const char *fallback, sg_str *v, sg_error *err)
{
    const sg_value *x = sg_dict_find(d, key);
    if (!x)
        *v = (sg_str){fallback, fallback ? strlen(fallback) : 0};
    else if (x->kind == SG_KIND_STR)
        *v = x->s;
    else
        return wrong_kind(key, x->kind, "a string", err);
    return SG_OK;
}

sg_status sg_dict_need_u64(const sg_dict *d, const char *key, uint64_t *v, sg_error *err)
{
    return sg_dict_find(d, key) ? sg_dict_u64(d, key, 0, v, err) : absent(key, err);
}

sg_status sg_dict_need_f64(const sg_dict *d, const char *key, double *v, sg_error *err)
{
    return sg_dict_find(d, key) ? sg_dict_f64(d, key, 0, v, err) : absent(key, err);
}

sg_status sg_dict_need_str(const sg_dict *d, const char *key, sg_str *v, sg_error *err)
{
    return sg_dict_find(d, key) ? sg_dict_str(d, key, NULL, v, err) : absent(key, err);
}

sg_status sg_dict_array(const sg_dict *d, const char *key, sg_kind kind, const sg_array **a, sg_error *err)
{
    const sg_value *x = sg_dict_find(d, key);
    if (!x) {
        *a = NULL;
        return SG_OK;
    }
    if (x->kind != SG_KIND_ARRAY)
        return wrong_kind(key, x->kind, "an array", err);
    if (x->a.kind != kind)
        return sg_fail(err, SG_E_FORMAT, "metadata '%s': its elements are each %s, not %s", key, kind_name(x->a.kind), kind_name(kind));
    *a = &x->a;
    return SG_OK;
}
