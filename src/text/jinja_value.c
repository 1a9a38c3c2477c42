/* text/jinja_value.c - truth, equality, order, walking and mappings.
 *
 * The rules are Python's: 1 == 1.0 == true and all three are one key of a mapping; a list is never equal
 * to a tuple; order exists between numbers, between strings (by code point, which for UTF-8 is by byte),
 * between lists and between tuples.  Recursion over nested values is bracketed by sg_jinja_enter, so a
 * namespace that holds itself ends in an error.
 */
#include "text/jinja_value.h"

#include "base/utf8.h"

#include <math.h>

const char *sg_jval_type(sg_jval v)
{
    static const char *const names[] = {
        [SG_J_ABSENT] = "nothing", [SG_J_UNDEF] = "Undefined", [SG_J_NONE] = "NoneType", [SG_J_BOOL] = "bool",
        [SG_J_INT] = "int", [SG_J_BIG] = "int", [SG_J_FLOAT] = "float", [SG_J_STR] = "str", [SG_J_LIST] = "list",
        [SG_J_TUPLE] = "tuple", [SG_J_DICT] = "dict", [SG_J_SPACE] = "Namespace", [SG_J_RANGE] = "range",
        [SG_J_ITER] = "generator", [SG_J_VIEW] = "dict view", [SG_J_LOOP] = "LoopContext", [SG_J_MACRO] = "Macro",
        [SG_J_FUNC] = "function", [SG_J_METHOD] = "method", [SG_J_CYCLER] = "Cycler", [SG_J_JOINER] = "Joiner",
        [SG_J_SELF] = "TemplateReference",
    };
    return names[v.kind];
}

bool sg_jval_truthy(sg_jval v)
{
    switch (v.kind) {
    case SG_J_ABSENT:
    case SG_J_UNDEF:
    case SG_J_NONE:
        return false;
    case SG_J_BOOL:
    case SG_J_INT:
        return v.i != 0;
    case SG_J_FLOAT:
        return v.f != 0;
    case SG_J_STR:
        return v.n > 0;
    case SG_J_LIST:
    case SG_J_TUPLE:
        return v.list->n > 0;
    case SG_J_DICT:
    case SG_J_VIEW:
        return v.dict->n > 0;
    case SG_J_RANGE:
        return v.range->n > 0;
    default:
        return true;
    }
}

bool sg_jval_need_defined(sg_jinja *j, sg_jval v)
{
    if (v.kind != SG_J_UNDEF)
        return sg_jinja_ok(j);
    return sg_jinja_fail(j, SG_E_ARGUMENT, "'%.*s' is undefined", (int)(v.n < 100 ? v.n : 100), v.s);
}

/* ---- equality and order ---------------------------------------------------- */

/* Exact: a long double holds every int64 and every double. */
static int compare_numbers(sg_jval a, sg_jval b, bool *unordered)
{
    if (sg_jval_integral(a) && sg_jval_integral(b))
        return a.i < b.i ? -1 : a.i > b.i;
    long double x = a.kind == SG_J_FLOAT ? (long double)a.f : (long double)a.i;
    long double y = b.kind == SG_J_FLOAT ? (long double)b.f : (long double)b.i;
    if (isnan(x) || isnan(y))
        *unordered = true;
    return x < y ? -1 : x > y;
}

static int compare_bytes(sg_jval a, sg_jval b)
{
    uint32_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.s, b.s, n) : 0;
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static bool lists_equal(sg_jinja *j, const sg_jlist *a, const sg_jlist *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!sg_jval_equal(j, a->items[i], b->items[i]))
            return false;
    return true;
}

static bool dicts_equal(sg_jinja *j, const sg_jdict *a, const sg_jdict *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const sg_jval *v = sg_jdict_get(j, b, a->items[i].key);
        if (!v || !sg_jval_equal(j, a->items[i].value, *v))
            return false;
    }
    return true;
}

bool sg_jval_equal(sg_jinja *j, sg_jval a, sg_jval b)
{
    if (!sg_jinja_charge(j, 1))
        return false;
    if (sg_jval_numeric(a) && sg_jval_numeric(b)) {
        bool unordered = false;
        return compare_numbers(a, b, &unordered) == 0 && !unordered;
    }
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case SG_J_UNDEF:
    case SG_J_NONE:
        return true;
    case SG_J_STR:
    case SG_J_BIG:
        return a.n == b.n && sg_jinja_charge(j, a.n / 64) && compare_bytes(a, b) == 0;
    case SG_J_RANGE:
        return a.range->n == b.range->n && a.range->start == b.range->start && a.range->step == b.range->step;
    case SG_J_LIST:
    case SG_J_TUPLE:
    case SG_J_DICT: {
        if (a.p == b.p)
            return true;
        if (!sg_jinja_enter(j))
            return false;
        bool same = a.kind == SG_J_DICT ? dicts_equal(j, a.dict, b.dict) : lists_equal(j, a.list, b.list);
        sg_jinja_leave(j);
        return same;
    }
    default:
        return a.p == b.p;
    }
}

static int compare_lists(sg_jinja *j, const sg_jlist *a, const sg_jlist *b, const char *op, bool *unordered)
{
    for (uint32_t i = 0; i < a->n && i < b->n && sg_jinja_ok(j); i++)
        if (!sg_jval_equal(j, a->items[i], b->items[i]))
            return sg_jval_compare(j, a->items[i], b->items[i], op, unordered);
    return a->n < b->n ? -1 : a->n > b->n;
}

int sg_jval_compare(sg_jinja *j, sg_jval a, sg_jval b, const char *op, bool *unordered)
{
    if (!sg_jval_need_defined(j, a) || !sg_jval_need_defined(j, b))
        return 0;
    if (sg_jval_numeric(a) && sg_jval_numeric(b))
        return compare_numbers(a, b, unordered);
    if (a.kind == SG_J_BIG || b.kind == SG_J_BIG)
        return sg_jinja_fail(j, SG_E_UNSUPPORTED, "'%s' with an integer beyond 64 bits", op);
    if (a.kind == SG_J_STR && b.kind == SG_J_STR)
        return sg_jinja_charge(j, a.n / 64) ? compare_bytes(a, b) : 0;
    if (a.kind == b.kind && (a.kind == SG_J_LIST || a.kind == SG_J_TUPLE)) {
        if (!sg_jinja_enter(j))
            return 0;
        int c = compare_lists(j, a.list, b.list, op, unordered);
        sg_jinja_leave(j);
        return c;
    }
    return sg_jinja_fail(j, SG_E_ARGUMENT, "'%s' not supported between '%s' and '%s'", op, sg_jval_type(a), sg_jval_type(b));
}

bool sg_jval_contains(sg_jinja *j, sg_jval haystack, sg_jval needle)
{
    switch (haystack.kind) {
    case SG_J_UNDEF:
        return false;
    case SG_J_STR:
        if (needle.kind == SG_J_UNDEF)
            return sg_jval_need_defined(j, needle);
        if (needle.kind != SG_J_STR)
            return sg_jinja_fail(j, SG_E_ARGUMENT, "'in <string>' requires a string on its left, not %s", sg_jval_type(needle));
        return sg_jstr_find(j, haystack, needle, 0) != SIZE_MAX;
    case SG_J_DICT:
        return sg_jdict_get(j, haystack.dict, needle) != NULL;
    case SG_J_VIEW:
        if (haystack.mark == 0)
            return sg_jdict_get(j, haystack.dict, needle) != NULL;
        break;
    case SG_J_LIST:
    case SG_J_TUPLE:
    case SG_J_RANGE:
    case SG_J_ITER:
        break;
    default:
        return sg_jinja_fail(j, SG_E_ARGUMENT, "'%s' is not iterable", sg_jval_type(haystack));
    }
    sg_jlist l = sg_jval_items(j, haystack);
    for (uint32_t i = 0; i < l.n; i++)
        if (sg_jval_equal(j, l.items[i], needle))
            return true;
    return false;
}

/* ---- lists and walking -------------------------------------------------------- */

sg_jval sg_jval_list(sg_jinja *j, size_t cap)
{
    sg_jlist *l = sg_jinja_alloc(j, sizeof *l);
    sg_jval *items = cap ? sg_jinja_array(j, cap, sizeof *items) : NULL;
    if (!l || (cap && !items))
        return sg_jval_undef();
    *l = (sg_jlist){items, 0, (uint32_t)cap};
    return (sg_jval){.kind = SG_J_LIST, .list = l};
}

void sg_jlist_add(sg_jinja *j, sg_jlist *l, sg_jval v)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * (size_t)l->cap : 8;
        sg_jval *items = cap <= UINT32_MAX / 2 ? sg_jinja_array(j, cap, sizeof *items) : NULL;
        if (!items)
            return;
        if (l->n)
            memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->cap = (uint32_t)cap;
    }
    l->items[l->n++] = v;
    sg_jinja_charge(j, 1);
}

sg_jval sg_jval_tuple2(sg_jinja *j, sg_jval a, sg_jval b)
{
    sg_jval t = sg_jval_list(j, 2);
    if (t.kind != SG_J_LIST)
        return t;
    t.kind = SG_J_TUPLE;
    t.list->items[0] = a;
    t.list->items[1] = b;
    t.list->n = 2;
    return t;
}

sg_jval sg_jval_iter(sg_jinja *j, sg_jval list)
{
    sg_jiter *it = sg_jinja_alloc(j, sizeof *it);
    if (!it || list.kind != SG_J_LIST)
        return sg_jval_undef();
    *it = (sg_jiter){.list = *list.list};
    return (sg_jval){.kind = SG_J_ITER, .iter = it};
}

sg_jval sg_jval_range(sg_jinja *j, int64_t start, int64_t stop, int64_t step)
{
    enum { RANGE_MAX = 100000 };
    if (step == 0) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "range() step must not be zero");
        return sg_jval_undef();
    }
    __int128 span = step > 0 ? (__int128)stop - start : (__int128)start - stop;
    __int128 by = step > 0 ? step : -(__int128)step;
    __int128 n = span <= 0 ? 0 : (span + by - 1) / by;
    if (n > RANGE_MAX) {
        sg_jinja_fail(j, SG_E_LIMIT, "range() gives at most %d items", RANGE_MAX);
        return sg_jval_undef();
    }
    sg_jrange *r = sg_jinja_alloc(j, sizeof *r);
    if (!r)
        return sg_jval_undef();
    *r = (sg_jrange){start, stop, step, (uint32_t)n};
    return (sg_jval){.kind = SG_J_RANGE, .range = r};
}

bool sg_jval_iterable(sg_jval v)
{
    switch (v.kind) {
    case SG_J_UNDEF:
    case SG_J_STR:
    case SG_J_LIST:
    case SG_J_TUPLE:
    case SG_J_DICT:
    case SG_J_RANGE:
    case SG_J_ITER:
    case SG_J_VIEW:
    case SG_J_LOOP:
        return true;
    default:
        return false;
    }
}

static sg_jlist characters(sg_jinja *j, sg_jval s)
{
    sg_jlist l = {0};
    size_t n = sg_jinja_charge(j, s.n / 64) ? sg_jstr_length(s.s, s.n) : 0;
    l.items = sg_jinja_array(j, n ? n : 1, sizeof *l.items);
    if (!l.items || !sg_jinja_charge(j, n))
        return (sg_jlist){0};
    for (size_t at = 0; at < s.n;) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s.s + at, s.n - at, &cp);
        used = used ? used : 1;
        l.items[l.n++] = sg_jval_str(s.s + at, used);
        at += used;
    }
    return l;
}

static sg_jlist dict_items(sg_jinja *j, const sg_jdict *d, int which)
{
    sg_jlist l = {0};
    l.items = sg_jinja_array(j, d->n ? d->n : 1, sizeof *l.items);
    if (!l.items || !sg_jinja_charge(j, d->n))
        return (sg_jlist){0};
    for (uint32_t i = 0; i < d->n; i++)
        l.items[i] = which == 0 ? d->items[i].key : which == 1 ? d->items[i].value
                                                               : sg_jval_tuple2(j, d->items[i].key, d->items[i].value);
    l.n = d->n;
    return sg_jinja_ok(j) ? l : (sg_jlist){0};
}

static sg_jlist range_items(sg_jinja *j, const sg_jrange *r)
{
    sg_jlist l = {0};
    l.items = sg_jinja_array(j, r->n ? r->n : 1, sizeof *l.items);
    if (!l.items || !sg_jinja_charge(j, r->n))
        return (sg_jlist){0};
    for (uint32_t i = 0; i < r->n; i++)
        l.items[i] = sg_jval_int(r->start + (int64_t)i * r->step);
    l.n = r->n;
    return l;
}

sg_jlist sg_jval_items(sg_jinja *j, sg_jval v)
{
    if (!sg_jinja_charge(j, 1))
        return (sg_jlist){0};
    switch (v.kind) {
    case SG_J_UNDEF:
        return (sg_jlist){0};
    case SG_J_STR:
        return characters(j, v);
    case SG_J_LIST:
    case SG_J_TUPLE:
        return *v.list;
    case SG_J_DICT:
        return dict_items(j, v.dict, 0);
    case SG_J_VIEW:
        return dict_items(j, v.dict, v.mark);
    case SG_J_RANGE:
        return range_items(j, v.range);
    case SG_J_ITER: {
        sg_jlist l = v.iter->used ? (sg_jlist){0} : v.iter->list;
        v.iter->used = true;
        return l;
    }
    default:
        sg_jinja_fail(j, SG_E_ARGUMENT, "'%s' is not iterable", sg_jval_type(v));
        return (sg_jlist){0};
    }
}

int64_t sg_jval_length(sg_jval v)
{
    switch (v.kind) {
    case SG_J_UNDEF:
        return 0;
    case SG_J_STR:
        return (int64_t)sg_jstr_length(v.s, v.n);
    case SG_J_LIST:
    case SG_J_TUPLE:
        return v.list->n;
    case SG_J_DICT:
    case SG_J_VIEW:
        return v.dict->n;
    case SG_J_RANGE:
        return v.range->n;
    default:
        return -1;
    }
}

/* ---- mappings ------------------------------------------------------------------- */

/* False for what cannot be a key. */
static bool hash(sg_jinja *j, sg_jval v, uint64_t *h)
{
    *h = *h * 0x9e3779b97f4a7c15u + 1;
    switch (v.kind) {
    case SG_J_FLOAT:
        if (v.f >= -0x1p62 && v.f <= 0x1p62 && v.f == (double)(int64_t)v.f) {
            *h ^= (uint64_t)(int64_t)v.f;
        } else {
            uint64_t bits;
            memcpy(&bits, &v.f, 8);
            *h ^= bits;
        }
        break;
    case SG_J_BOOL:
    case SG_J_INT:
        *h ^= (uint64_t)v.i;
        break;
    case SG_J_STR:
    case SG_J_BIG:
        if (!sg_jinja_charge(j, v.n / 64))
            return false;
        for (uint32_t i = 0; i < v.n; i++)
            *h = (*h ^ (unsigned char)v.s[i]) * 0x100000001b3u;
        break;
    case SG_J_TUPLE:
        if (!sg_jinja_enter(j))
            return false;
        for (uint32_t i = 0; i < v.list->n; i++)
            if (!hash(j, v.list->items[i], h)) {
                sg_jinja_leave(j);
                return false;
            }
        sg_jinja_leave(j);
        break;
    case SG_J_UNDEF:
    case SG_J_NONE:
        break;
    case SG_J_LIST:
    case SG_J_DICT:
        return false;
    default:
        *h ^= (uint64_t)(uintptr_t)v.p;
    }
    *h = (*h ^ *h >> 29) * 0xbf58476d1ce4e5b9u;
    *h ^= *h >> 32;
    return true;
}

sg_jval sg_jval_dict(sg_jinja *j)
{
    sg_jdict *d = sg_jinja_alloc(j, sizeof *d);
    if (!d)
        return sg_jval_undef();
    *d = (sg_jdict){0};
    return (sg_jval){.kind = SG_J_DICT, .dict = d};
}

/* The item number of key, or UINT32_MAX; *slot is where the index has or would have it. */
static uint32_t locate(sg_jinja *j, const sg_jdict *d, sg_jval key, uint64_t h, uint32_t *slot)
{
    if (!d->nindex) {
        for (uint32_t i = 0; i < d->n; i++)
            if (sg_jval_equal(j, d->items[i].key, key))
                return i;
        return UINT32_MAX;
    }
    uint32_t mask = d->nindex - 1, at = (uint32_t)h & mask;
    for (; d->index[at]; at = (at + 1) & mask)
        if (sg_jval_equal(j, d->items[d->index[at] - 1].key, key))
            return d->index[at] - 1;
    *slot = at;
    return UINT32_MAX;
}

static bool reindex(sg_jinja *j, sg_jdict *d)
{
    uint32_t n = 32;
    while (n < 2 * d->cap)
        n *= 2;
    uint32_t *index = sg_jinja_array(j, n, sizeof *index);
    if (!index || !sg_jinja_charge(j, n / 8))
        return false;
    memset(index, 0, n * sizeof *index);
    for (uint32_t i = 0; i < d->n; i++) {
        uint64_t h = 0;
        hash(j, d->items[i].key, &h);
        uint32_t at = (uint32_t)h & (n - 1);
        while (index[at])
            at = (at + 1) & (n - 1);
        index[at] = i + 1;
    }
    d->index = index;
    d->nindex = n;
    return sg_jinja_ok(j);
}

static bool widen(sg_jinja *j, sg_jdict *d)
{
    uint32_t cap = d->cap ? 2 * d->cap : 8;
    sg_jpair *items = cap <= UINT32_MAX / 4 ? sg_jinja_array(j, cap, sizeof *items) : NULL;
    if (!items)
        return false;
    if (d->n)
        memcpy(items, d->items, d->n * sizeof *items);
    d->items = items;
    d->cap = cap;
    return cap <= 8 || reindex(j, d);
}

void sg_jdict_set(sg_jinja *j, sg_jdict *d, sg_jval key, sg_jval value)
{
    uint64_t h = 0;
    uint32_t slot = 0;
    if (!sg_jinja_charge(j, 1))
        return;
    if (!hash(j, key, &h)) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "unhashable type: '%s'", sg_jval_type(key));
        return;
    }
    uint32_t i = locate(j, d, key, h, &slot);
    if (!sg_jinja_ok(j))
        return;
    if (i != UINT32_MAX) {
        d->items[i].value = value;
        return;
    }
    if (d->n == d->cap) {
        if (!widen(j, d))
            return;
        locate(j, d, key, h, &slot);
    }
    d->items[d->n++] = (sg_jpair){key, value};
    if (d->nindex)
        d->index[slot] = d->n;
}

const sg_jval *sg_jdict_get(sg_jinja *j, const sg_jdict *d, sg_jval key)
{
    uint64_t h = 0;
    uint32_t slot;
    if (!hash(j, key, &h))
        return NULL;
    uint32_t i = locate(j, d, key, h, &slot);
    return i == UINT32_MAX ? NULL : &d->items[i].value;
}

/* ---- strings by code point ---------------------------------------------------------- */

size_t sg_jstr_length(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

size_t sg_jstr_offset(const char *s, size_t n, size_t i)
{
    size_t at = 0;
    while (at < n && i > 0) {
        at++;
        while (at < n && ((unsigned char)s[at] & 0xc0) == 0x80)
            at++;
        i--;
    }
    return at;
}

size_t sg_jstr_find(sg_jinja *j, sg_jval s, sg_jval needle, size_t from)
{
    if (from > s.n)
        return SIZE_MAX;
    if (needle.n == 0)
        return from;
    const char *hit = memmem(s.s + from, s.n - from, needle.s, needle.n);
    size_t end = hit ? (size_t)(hit - s.s) : s.n;
    if (!sg_jinja_charge(j, 1 + (end - from) / 64))
        return SIZE_MAX;
    return hit ? end : SIZE_MAX;
}
