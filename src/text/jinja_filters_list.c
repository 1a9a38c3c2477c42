/* text/jinja_filters_list.c - filters over sequences.
 *
 * Jinja's map, select and their like are lazy; here the work is done at once and the result is handed
 * out as something that can be walked once, which is all that a template can tell.
 *
 * Sorting is a merge sort: stable, and n log n comparisons at most, each of which costs steps.
 */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

#define FILTER(name) static sg_jval name(sg_jinja *j, sg_jval v, const sg_jval *a, const sg_jargs *args)
#define UNUSED ((void)j, (void)v, (void)a, (void)args)

/* ---- attribute paths ------------------------------------------------------------ */

/* item.a.b.0: the path is a string of names and numbers, or one number. */
static sg_jval follow(sg_jinja *j, sg_jval item, sg_jval path)
{
    if (sg_jval_integral(path))
        return sg_jinja_item(j, item, path);
    if (path.kind != SG_J_STR) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "an attribute is a string or a number, not %s", sg_jval_type(path));
        return item;
    }
    const char *p = path.s, *end = path.s + path.n;
    for (;;) {
        const char *dot = p < end ? memchr(p, '.', (size_t)(end - p)) : NULL;
        sg_jval part = sg_jval_str(p, (size_t)((dot ? dot : end) - p));
        int64_t index = 0;
        bool number = part.n > 0 && part.n < 10;
        for (uint32_t i = 0; i < part.n && number; i++) {
            number = part.s[i] >= '0' && part.s[i] <= '9';
            index = index * 10 + (part.s[i] - '0');
        }
        item = sg_jinja_item(j, item, number ? sg_jval_int(index) : part);
        if (!dot || !sg_jinja_ok(j))
            return item;
        p = dot + 1;
    }
}

static sg_jval lowered(sg_jinja *j, sg_jval v) { return v.kind == SG_J_STR ? sg_jstr_map(j, v, sg_jtext_lower) : v; }

/* What an item is sorted by: itself or its attributes ("age,name": a tuple), in lower case unless told. */
static sg_jval key_of(sg_jinja *j, sg_jval item, sg_jval attribute, bool case_sensitive, bool several)
{
    if (attribute.kind == SG_J_ABSENT || attribute.kind == SG_J_NONE)
        return case_sensitive ? item : lowered(j, item);
    if (!several || attribute.kind != SG_J_STR || !attribute.n || !memchr(attribute.s, ',', attribute.n)) {
        sg_jval v = follow(j, item, attribute);
        return case_sensitive ? v : lowered(j, v);
    }
    sg_jval t = sg_jval_list(j, 2);
    const char *p = attribute.s, *end = p + attribute.n;
    while (p && sg_jinja_ok(j)) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        sg_jval v = follow(j, item, sg_jval_str(p, (size_t)((comma ? comma : end) - p)));
        sg_jlist_add(j, t.list, case_sensitive ? v : lowered(j, v));
        p = comma ? comma + 1 : NULL;
    }
    return t;
}

/* ---- sorting ----------------------------------------------------------------------- */

typedef struct keyed {
    sg_jval key, value;
} keyed;

static bool before(sg_jinja *j, const keyed *b, const keyed *a, bool backward)
{
    bool unordered = false;
    int c = sg_jval_compare(j, b->key, a->key, "<", &unordered);
    return !unordered && (backward ? c > 0 : c < 0);
}

static void merge_sort(sg_jinja *j, keyed *v, keyed *scratch, uint32_t n, bool backward)
{
    if (n < 2 || !sg_jinja_charge(j, n))
        return;
    uint32_t half = n / 2, l = 0, r = half, k = 0;
    merge_sort(j, v, scratch, half, backward);
    merge_sort(j, v + half, scratch, n - half, backward);
    memcpy(scratch, v, n * sizeof *v);
    while (l < half && r < n)
        v[k++] = before(j, &scratch[r], &scratch[l], backward) ? scratch[r++] : scratch[l++];
    while (l < half)
        v[k++] = scratch[l++];
    while (r < n)
        v[k++] = scratch[r++];
}

static sg_jval sorted(sg_jinja *j, keyed *items, uint32_t n, bool backward)
{
    keyed *scratch = sg_jinja_array(j, n, sizeof *scratch);
    sg_jval l = sg_jval_list(j, n);
    if (!scratch || !sg_jinja_ok(j))
        return l;
    merge_sort(j, items, scratch, n, backward);
    for (uint32_t i = 0; i < n && sg_jinja_ok(j); i++)
        sg_jlist_add(j, l.list, items[i].value);
    return l;
}

static sg_jval sort_by(sg_jinja *j, sg_jval v, sg_jval attribute, bool case_sensitive, bool backward)
{
    sg_jlist items = sg_jval_items(j, v);
    keyed *k = sg_jinja_array(j, items.n, sizeof *k);
    for (uint32_t i = 0; k && i < items.n && sg_jinja_ok(j); i++)
        k[i] = (keyed){key_of(j, items.items[i], attribute, case_sensitive, true), items.items[i]};
    return sg_jinja_ok(j) ? sorted(j, k, items.n, backward) : sg_jval_undef();
}

FILTER(f_sort) { UNUSED; return sort_by(j, v, a[2], sg_jarg_bool(a[1], false), sg_jarg_bool(a[0], false)); }

FILTER(f_dictsort)
{
    UNUSED;
    bool by_value = sg_jval_is_str(a[1], "value"), case_sensitive = sg_jarg_bool(a[0], false);
    if (v.kind != SG_J_DICT || (a[1].kind != SG_J_ABSENT && !by_value && !sg_jval_is_str(a[1], "key"))) {
        if (sg_jval_need_defined(j, v))
            sg_jinja_fail(j, SG_E_ARGUMENT, "dictsort needs a mapping, and 'key' or 'value'");
        return v;
    }
    keyed *k = sg_jinja_array(j, v.dict->n, sizeof *k);
    for (uint32_t i = 0; k && i < v.dict->n && sg_jinja_ok(j); i++) {
        sg_jpair p = v.dict->items[i];
        sg_jval key = by_value ? p.value : p.key;
        k[i] = (keyed){case_sensitive ? key : lowered(j, key), sg_jval_tuple2(j, p.key, p.value)};
    }
    return sg_jinja_ok(j) ? sorted(j, k, v.dict->n, sg_jarg_bool(a[2], false)) : v;
}

static sg_jval extreme(sg_jinja *j, sg_jval v, const sg_jval *a, bool want_max)
{
    sg_jlist items = sg_jval_items(j, v);
    if (items.n == 0)
        return sg_jval_undef_named(sg_jval_cstr("item"));
    bool case_sensitive = sg_jarg_bool(a[0], false);
    keyed best = {key_of(j, items.items[0], a[1], case_sensitive, false), items.items[0]};
    for (uint32_t i = 1; i < items.n && sg_jinja_ok(j); i++) {
        keyed k = {key_of(j, items.items[i], a[1], case_sensitive, false), items.items[i]};
        if (before(j, &k, &best, want_max))
            best = k;
    }
    return best.value;
}

FILTER(f_min) { UNUSED; return extreme(j, v, a, false); }
FILTER(f_max) { UNUSED; return extreme(j, v, a, true); }

FILTER(f_unique)
{
    UNUSED;
    sg_jlist items = sg_jval_items(j, v);
    sg_jval seen = sg_jval_dict(j), l = sg_jval_list(j, 0);
    for (uint32_t i = 0; i < items.n && sg_jinja_ok(j); i++) {
        sg_jval k = key_of(j, items.items[i], a[1], sg_jarg_bool(a[0], false), false);
        if (!sg_jinja_ok(j) || sg_jdict_get(j, seen.dict, k))
            continue;
        sg_jdict_set(j, seen.dict, k, sg_jval_none());
        sg_jlist_add(j, l.list, items.items[i]);
    }
    return sg_jval_iter(j, l);
}

/* Tuples (grouper, list), sorted by the grouper; marked, so that .grouper and .list work. */
FILTER(f_groupby)
{
    UNUSED;
    sg_jval all = sort_by(j, v, a[0], sg_jarg_bool(a[2], false), false), groups = sg_jval_list(j, 0), last = {0};
    sg_jlist *open = NULL;
    for (uint32_t i = 0; sg_jinja_ok(j) && i < all.list->n; i++) {
        sg_jval item = all.list->items[i], shown = follow(j, item, a[0]);
        if (shown.kind == SG_J_UNDEF && a[1].kind != SG_J_ABSENT)
            shown = a[1];
        sg_jval k = sg_jarg_bool(a[2], false) ? shown : lowered(j, shown);
        if (!open || !sg_jval_equal(j, k, last)) {
            sg_jval members = sg_jval_list(j, 4), group = sg_jval_tuple2(j, shown, members);
            group.mark = 1;
            sg_jlist_add(j, groups.list, group);
            open = members.list;
            last = k;
        }
        if (sg_jinja_ok(j))
            sg_jlist_add(j, open, item);
    }
    return groups;
}

/* ---- ends, joining, copying ------------------------------------------------------------ */

FILTER(f_first)
{
    UNUSED;
    sg_jlist l = sg_jval_items(j, v);
    return l.n ? l.items[0] : sg_jval_undef_named(sg_jval_cstr("item"));
}

FILTER(f_last)
{
    UNUSED;
    if (v.kind == SG_J_ITER)
        sg_jinja_fail(j, SG_E_ARGUMENT, "a generator has no last item; make it a list first");
    sg_jlist l = sg_jval_items(j, v);
    return l.n ? l.items[l.n - 1] : sg_jval_undef_named(sg_jval_cstr("item"));
}

FILTER(f_join)
{
    UNUSED;
    sg_jlist l = sg_jval_items(j, v);
    sg_jval d = a[0].kind == SG_J_ABSENT ? sg_jval_str("", 0) : sg_jval_to_str(j, a[0]);
    sg_jinja_text t = {.j = j};
    for (uint32_t i = 0; i < l.n && sg_jinja_charge(j, 1); i++) {
        sg_jval item = a[1].kind == SG_J_ABSENT || a[1].kind == SG_J_NONE ? l.items[i] : follow(j, l.items[i], a[1]);
        if (i)
            sg_jinja_text_add(&t, d.s, d.n);
        sg_jtext_str(&t, item);
    }
    return sg_jval_text(&t);
}

static sg_jval copied(sg_jinja *j, sg_jlist from)
{
    sg_jval l = sg_jval_list(j, from.n);
    for (uint32_t i = 0; i < from.n && sg_jinja_ok(j); i++)
        sg_jlist_add(j, l.list, from.items[i]);
    return l;
}

FILTER(f_list) { UNUSED; return copied(j, sg_jval_items(j, v)); }

FILTER(f_items)
{
    UNUSED;
    if (v.kind == SG_J_UNDEF)
        return sg_jval_iter(j, sg_jval_list(j, 0));
    if (v.kind == SG_J_DICT)
        return sg_jval_iter(j, copied(j, sg_jval_items(j, (sg_jval){.kind = SG_J_VIEW, .mark = 2, .dict = v.dict})));
    sg_jinja_fail(j, SG_E_ARGUMENT, "can only get item pairs from a mapping, not from %s", sg_jval_type(v));
    return v;
}

FILTER(f_reverse)
{
    UNUSED;
    sg_jval none = {0}, back = sg_jval_int(-1);
    if (v.kind == SG_J_STR)
        return sg_jinja_slice(j, v, none, none, back);
    sg_jval l = copied(j, sg_jval_items(j, v));
    return sg_jinja_ok(j) ? sg_jval_iter(j, sg_jinja_slice(j, l, none, none, back)) : l;
}

FILTER(f_random)
{
    UNUSED; /* deterministic on purpose: a prompt must not depend on luck */
    return f_first(j, v, a, args);
}

FILTER(f_sum)
{
    UNUSED;
    sg_jlist l = sg_jval_items(j, v);
    sg_jval total = a[1].kind == SG_J_ABSENT ? sg_jval_int(0) : a[1];
    for (uint32_t i = 0; i < l.n && sg_jinja_ok(j); i++) {
        sg_jval item = a[0].kind == SG_J_ABSENT || a[0].kind == SG_J_NONE ? l.items[i] : follow(j, l.items[i], a[0]);
        total = sg_jinja_ok(j) ? sg_jinja_binary(j, '+', total, item) : total;
    }
    return total;
}

/* ---- pieces ------------------------------------------------------------------------------- */

FILTER(f_batch)
{
    UNUSED;
    int64_t n = sg_jarg_int(j, a[0], 1);
    sg_jlist l = sg_jval_items(j, v);
    sg_jval rows = sg_jval_list(j, 0), row = {0};
    if (sg_jinja_ok(j) && n < 1)
        sg_jinja_fail(j, SG_E_ARGUMENT, "batch: the size must be above 0");
    for (uint32_t i = 0; i < l.n && sg_jinja_ok(j); i++) {
        if (i % n == 0) {
            row = sg_jval_list(j, 4);
            sg_jlist_add(j, rows.list, row);
        }
        if (sg_jinja_ok(j))
            sg_jlist_add(j, row.list, l.items[i]);
    }
    bool fill = a[1].kind != SG_J_ABSENT && a[1].kind != SG_J_NONE && l.n > 0;
    while (fill && sg_jinja_ok(j) && row.list->n < n)
        sg_jlist_add(j, row.list, a[1]);
    return sg_jval_iter(j, rows);
}

FILTER(f_slice)
{
    UNUSED;
    int64_t n = sg_jarg_int(j, a[0], 1);
    sg_jlist l = sg_jval_items(j, v);
    sg_jval rows = sg_jval_list(j, 0);
    if (sg_jinja_ok(j) && (n < 1 || n > 100000))
        sg_jinja_fail(j, SG_E_ARGUMENT, "slice: the number of slices must be 1 to 100000");
    for (int64_t i = 0, at = 0; i < n && sg_jinja_ok(j); i++) {
        int64_t size = l.n / n + (i < l.n % n);
        sg_jval row = copied(j, (sg_jlist){l.n ? l.items + at : NULL, (uint32_t)size, 0});
        at += size;
        if (a[1].kind != SG_J_ABSENT && a[1].kind != SG_J_NONE && i >= l.n % n && sg_jinja_ok(j))
            sg_jlist_add(j, row.list, a[1]);
        sg_jlist_add(j, rows.list, row);
    }
    return sg_jval_iter(j, rows);
}

/* ---- map and select -------------------------------------------------------------------------- */

static sg_jval named(const sg_jargs *args, const char *name)
{
    for (uint32_t i = 0; i < args->nkw; i++)
        if (sg_jval_is_str(args->kw[i].name, name))
            return args->kw[i].value;
    return (sg_jval){0};
}

/* The arguments without the first n positional ones. */
static sg_jargs behind(const sg_jargs *args, uint32_t n)
{
    sg_jargs rest = *args;
    rest.pos += n;
    rest.npos -= n;
    return rest;
}

FILTER(f_map)
{
    UNUSED;
    if (!sg_jval_truthy(v)) /* none, too: Jinja asks before it walks */
        return sg_jval_iter(j, sg_jval_list(j, 0));
    sg_jlist items = sg_jval_items(j, v);
    sg_jval out = sg_jval_list(j, items.n), attribute = named(args, "attribute"), fallback = named(args, "default");
    const sg_jfilter *f = NULL;
    if (args->npos) {
        f = args->pos[0].kind == SG_J_STR ? sg_jfilter_find(args->pos[0]) : NULL;
        if (!f)
            sg_jinja_fail(j, SG_E_FORMAT, "map: there is no such filter");
    } else if (attribute.kind == SG_J_ABSENT) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "map needs a filter or an attribute");
    }
    sg_jargs rest = f ? behind(args, 1) : (sg_jargs){0};
    for (uint32_t i = 0; i < items.n && sg_jinja_ok(j); i++) {
        if (!sg_jinja_enter(j))
            break;
        sg_jval item = f ? sg_jfilter_apply(j, f, items.items[i], &rest) : follow(j, items.items[i], attribute);
        sg_jinja_leave(j);
        if (!f && item.kind == SG_J_UNDEF && fallback.kind != SG_J_ABSENT)
            item = fallback;
        if (sg_jinja_ok(j))
            sg_jlist_add(j, out.list, item);
    }
    return sg_jval_iter(j, out);
}

static sg_jval choose(sg_jinja *j, sg_jval v, const sg_jargs *args, bool by_attribute, bool keep)
{
    uint32_t skip = by_attribute;
    if (!sg_jval_truthy(v))
        return sg_jval_iter(j, sg_jval_list(j, 0));
    sg_jlist items = sg_jval_items(j, v);
    sg_jval out = sg_jval_list(j, 0);
    if (args->npos < skip) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "selectattr and rejectattr need an attribute");
        return out;
    }
    const sg_jtest *t = NULL;
    if (args->npos > skip) {
        t = args->pos[skip].kind == SG_J_STR ? sg_jtest_find(args->pos[skip]) : NULL;
        if (!t)
            sg_jinja_fail(j, SG_E_FORMAT, "select: there is no such test");
    }
    sg_jargs rest = t ? behind(args, skip + 1) : (sg_jargs){0};
    for (uint32_t i = 0; i < items.n && sg_jinja_ok(j); i++) {
        sg_jval item = by_attribute ? follow(j, items.items[i], args->pos[0]) : items.items[i];
        if (!sg_jinja_ok(j))
            break;
        bool yes = t ? sg_jtest_apply(j, t, item, &rest) : sg_jval_truthy(item);
        if (yes == keep && sg_jinja_ok(j))
            sg_jlist_add(j, out.list, items.items[i]);
    }
    return sg_jval_iter(j, out);
}

FILTER(f_select) { UNUSED; return choose(j, v, args, false, true); }
FILTER(f_reject) { UNUSED; return choose(j, v, args, false, false); }
FILTER(f_selectattr) { UNUSED; return choose(j, v, args, true, true); }
FILTER(f_rejectattr) { UNUSED; return choose(j, v, args, true, false); }

const sg_jfilter sg_jfilters_list[] = {
    {"first", f_first, ""}, {"last", f_last, ""}, {"join", f_join, "?d ?attribute"}, {"list", f_list, ""}, {"items", f_items, ""},
    {"reverse", f_reverse, ""}, {"random", f_random, ""}, {"sum", f_sum, "?attribute ?start"},
    {"sort", f_sort, "?reverse ?case_sensitive ?attribute"}, {"dictsort", f_dictsort, "?case_sensitive ?by ?reverse"},
    {"min", f_min, "?case_sensitive ?attribute"}, {"max", f_max, "?case_sensitive ?attribute"},
    {"unique", f_unique, "?case_sensitive ?attribute"}, {"groupby", f_groupby, "attribute ?default ?case_sensitive"},
    {"batch", f_batch, "linecount ?fill_with"}, {"slice", f_slice, "slices ?fill_with"}, {"map", f_map, "*"},
    {"select", f_select, "*"}, {"reject", f_reject, "*"}, {"selectattr", f_selectattr, "*"}, {"rejectattr", f_rejectattr, "*"}, {0},
};
