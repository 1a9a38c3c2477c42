/* sample/schema_unique.c - arrays whose items are all different, when the items are few: values of an enum, integers
 * between two bounds, booleans.
 *
 * A grammar remembers by being in another rule.  Which of n values were written are 2^n subsets:
 *
 *     state(S) ::= "," v state(S + v)  for each v that is not in S  |  "]"
 *
 * Of up to SUBSETS_MAX values every order is possible.  More are written in the order of the enum, or upwards, as objects write their
 * properties:
 *
 *     from(i, k) ::= v_i from(i+1, k+1) | from(i+1, k)         k: items written so far, counted as far as it matters
 *
 * Values that cannot be listed (strings of any kind) would need a state for every text: they are refused, unless one item at most is
 * possible (schema_object.c).
 */
#include "sample/schema.h"

#include "base/heap.h"

#include <stdio.h>
#include <string.h>

enum { SUBSETS_MAX = 10, VALUES_MAX = 1024, RANGE_MAX = 256 };

/* Integers from one bound to another, when they are few, and the two booleans, as an array; NULL: s says nothing of the kind. */
static sg_status few(sg_schema *c, json_t *s, json_t **values)
{
    const char *type = json_string_value(json_object_get(s, "type"));
    const json_t *low = json_object_get(s, "minimum"), *high = json_object_get(s, "maximum");
    bool boolean = type && strcmp(type, "boolean") == 0, integer = type && strcmp(type, "integer") == 0;
    json_int_t from = json_integer_value(low), to = json_integer_value(high), far = (json_int_t)1 << 52;
    bool bounds = integer && json_is_integer(low) && json_is_integer(high) && from > -far && to < far;
    bool ranged = bounds && from <= to && to - from < RANGE_MAX;
    if ((*values = sg_schema_made(c, s, "few")) || !(boolean || ranged))
        return SG_OK;
    json_t *all = boolean ? json_pack("[b, b]", 1, 0) : json_array();
    for (json_int_t i = from; ranged && all && i <= to; i++)
        if (json_array_append_new(all, json_integer(i)) != 0) {
            json_decref(all);
            all = NULL;
        }
    SG_TRY(sg_schema_keep(c, s, "few", all));
    *values = sg_schema_made(c, s, "few");
    return SG_OK;
}

/* An enum or const that schema s, or what holds with it, has; NULL: none. */
static sg_status listed(sg_schema *c, json_t *s, int depth, json_t **values)
{
    json_t *x;
    size_t i;
    *values = json_object_get(s, "enum") ? json_object_get(s, "enum") : json_object_get(s, "const");
    bool ref = json_object_get(s, "$ref") != NULL;
    if (depth > 16 || !json_is_object(s) || (*values && !(ref && c->lone_ref)))
        return SG_OK;
    *values = NULL;
    if (ref) {
        SG_TRY(sg_schema_resolve(c, s, &x));
        SG_TRY(listed(c, x, depth + 1, values));
        if (c->lone_ref)
            return SG_OK;
    }
    json_array_foreach(json_object_get(s, "allOf"), i, x)
        if (!*values)
            SG_TRY(listed(c, x, depth + 1, values));
    return *values ? SG_OK : few(c, s, values);
}

/* A rule for each of the values, none twice; item[] has room for all. */
static sg_status item_rules(sg_schema *c, const sg_schema_set *set, json_t *values, uint32_t *item, size_t *n)
{
    size_t count = json_is_array(values) ? json_array_size(values) : 1;
    char key[32];
    *n = 0;
    for (size_t i = 0; i < count; i++) {
        json_t *v = json_is_array(values) ? json_array_get(values, i) : values, *one;
        bool twice = false;
        for (size_t k = 0; k < i && !twice; k++)
            twice = sg_schema_same(v, json_array_get(values, k));
        if (twice)
            continue;
        snprintf(key, sizeof key, "value %zu", i);
        if (!sg_schema_made(c, values, key))
            SG_TRY(sg_schema_keep(c, values, key, json_pack("{s:O}", "const", v)));
        one = sg_schema_made(c, values, key);
        sg_schema_set with = *set;
        SG_TRY(sg_schema_set_add(c, &with, one));
        SG_TRY(sg_schema_rule_of(c, &with, &item[(*n)++]));
    }
    return SG_OK;
}

typedef struct unique {
    const uint32_t *item;
    size_t n;
    int64_t min, max; /* max: at most n */
    uint32_t ws;
} unique;

static sg_status new_rules(sg_schema *c, size_t n, uint32_t *first)
{
    uint32_t r;
    for (size_t i = 0; i < n; i++) {
        SG_TRY(sg_grammar_add_rule(c->g, &r, c->err));
        *first = i ? *first : r;
    }
    return SG_OK;
}

/* state(S), S being bits; returns the one of the empty set, which has no comma. */
static sg_status subsets(sg_schema *c, const unique *u, uint32_t *start)
{
    uint32_t first = 0;
    SG_TRY(new_rules(c, (size_t)1 << u->n, &first));
    for (uint32_t s = 0; s < 1u << u->n; s++) {
        int k = __builtin_popcount(s);
        if (k >= u->min && k <= u->max && k > 0)
            SG_TRY(sg_schema_rule(c, first + s, "%]", &u->ws));
        for (uint32_t i = 0; i < u->n && k < u->max; i++) {
            uint32_t next = first + (s | 1u << i);
            if (s >> i & 1)
                continue;
            SG_TRY(s ? sg_schema_rule(c, first + s, ",%%%", (uint32_t[]){u->ws, u->item[i], next})
                     : sg_schema_rule(c, first + s, "%%", (uint32_t[]){u->item[i], next}));
        }
    }
    *start = first;
    return SG_OK;
}

/* from(i, k); the empty array is not among them. */
static sg_status in_order(sg_schema *c, const unique *u, uint32_t *start)
{
    bool bound = u->max < (int64_t)u->n;
    int64_t top = bound ? u->max : u->min > 1 ? u->min : 1;
    size_t width = (size_t)top + 1;
    uint32_t first = 0;
    if (width > 1024 || (u->n + 1) * width > SG_GRAMMAR_SYMBOLS_MAX / 16)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "too many different items to be counted");
    SG_TRY(new_rules(c, (u->n + 1) * width, &first));
    for (size_t i = 0; i < u->n; i++)
        for (size_t k = 0; k < width && k <= i; k++) {
            uint32_t here = first + (uint32_t)(i * width + k), below = first + (uint32_t)((i + 1) * width);
            uint32_t with = below + (uint32_t)(k + 1 < width ? k + 1 : k), without = below + (uint32_t)k;
            if (!bound || (int64_t)k < u->max)
                SG_TRY(k ? sg_schema_rule(c, here, ",%%%", (uint32_t[]){u->ws, u->item[i], with})
                         : sg_schema_rule(c, here, "%%", (uint32_t[]){u->item[i], with}));
            SG_TRY(sg_schema_rule(c, here, "%", &without));
        }
    for (size_t k = 1; k < width && k <= u->n; k++)
        if ((int64_t)k >= u->min)
            SG_TRY(sg_schema_rule(c, first + (uint32_t)(u->n * width + k), "%]", &u->ws));
    *start = first;
    return SG_OK;
}

sg_status sg_schema_unique(sg_schema *c, const sg_schema_set *set, int64_t min, int64_t max, uint32_t rule, bool *done)
{
    json_t *values = NULL;
    unique u = {.min = min};
    uint32_t start = 0;
    *done = false;
    for (size_t i = 0; i < set->n && !values; i++)
        SG_TRY(listed(c, set->s[i], 0, &values));
    size_t count = json_is_array(values) ? json_array_size(values) : 1;
    if (!values || count > VALUES_MAX)
        return SG_OK;
    *done = true;
    if ((c->work -= (int64_t)(count * count / 64 + count)) < 0)
        return sg_schema_fail(c, values, SG_E_LIMIT, "too many values of arrays with different items");
    uint32_t *item = sg_calloc(count + 1, sizeof *item);
    if (!item)
        return sg_fail_nomem(c->err, "a schema");
    u.item = item;
    sg_status st = sg_schema_ws(c, &u.ws);
    if (st == SG_OK)
        st = item_rules(c, set, values, item, &u.n);
    u.max = max < 0 || max > (int64_t)u.n ? (int64_t)u.n : max;
    if (st == SG_OK && min == 0)
        st = sg_schema_rule(c, rule, "[%]", &u.ws);
    if (st == SG_OK && u.max > 0 && u.min <= u.max)
        st = u.n <= SUBSETS_MAX ? subsets(c, &u, &start) : in_order(c, &u, &start);
    if (st == SG_OK && u.max > 0 && u.min <= u.max)
        st = sg_schema_rule(c, rule, "[%%", (uint32_t[]){u.ws, start});
    sg_free(item);
    return st;
}
