/* sample/schema_object.c - objects and arrays.
 *
 * An object writes its properties in the order of the schema; optional ones may be left out; others come last:
 *
 *     from(i, k) ::= pair_i from(i+1, k+1) | from(i+1, k)      k: properties written so far, counted as far as it matters
 *     from(n, k) ::= other ... | nothing
 *
 * Every rule ends with the next one, so the matcher stacks nothing.  The values of a property obey what all schemas of the
 * set say about that name: properties, patternProperties that match it, or additionalProperties.
 *
 * Any order would need a rule for every subset of the properties: 2^n.  Models write the order of the schema when it
 * is all they can.
 */
#include "sample/schema.h"

#include "base/heap.h"

#include <string.h>

/* ---- names ---------------------------------------------------------------------------- */

typedef struct properties {
    const char **name;
    size_t *len;
    bool *required;
    uint32_t *pair;
    size_t n, cap;
} properties;

static sg_status add_name(sg_schema *c, properties *p, json_t *index, const char *name, size_t len, bool required)
{
    const json_t *known = json_object_get(index, name);
    if (known) {
        p->required[json_integer_value(known)] |= required;
        return SG_OK;
    }
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 16;
        void *a = sg_realloc(p->name, cap * sizeof *p->name);
        p->name = a ? a : p->name;
        void *b = sg_realloc(p->len, cap * sizeof *p->len);
        p->len = b ? b : p->len;
        void *d = sg_realloc(p->required, cap * sizeof *p->required);
        p->required = d ? d : p->required;
        void *e = sg_realloc(p->pair, cap * sizeof *p->pair);
        p->pair = e ? e : p->pair;
        if (!a || !b || !d || !e)
            return sg_fail_nomem(c->err, "a schema");
        p->cap = cap;
    }
    if (json_object_set_new(index, name, json_integer((json_int_t)p->n)) != 0)
        return sg_fail_nomem(c->err, "a schema");
    p->name[p->n] = name;
    p->len[p->n] = len;
    p->required[p->n++] = required;
    return SG_OK;
}

static sg_status collect(sg_schema *c, const sg_schema_set *set, properties *p, json_t *index)
{
    const char *key;
    json_t *v;
    size_t k;
    for (size_t i = 0; i < set->n; i++)
        json_object_foreach(json_object_get(set->s[i], "properties"), key, v)
            SG_TRY(add_name(c, p, index, key, strlen(key), false));
    for (size_t i = 0; i < set->n; i++)
        json_array_foreach(json_object_get(set->s[i], "required"), k, v) {
            if (strlen(json_string_value(v)) != json_string_length(v))
                return sg_schema_fail(c, set->s[i], SG_E_UNSUPPORTED, "a name in 'required' has a zero character");
            SG_TRY(add_name(c, p, index, json_string_value(v), json_string_length(v), true));
        }
    return SG_OK;
}

static void properties_fini(properties *p)
{
    sg_free(p->name);
    sg_free(p->len);
    sg_free(p->required);
    sg_free(p->pair);
}

/* What one schema says of properties that it does not list: bit k of `class` says that its k-th pattern matches. */
static sg_status unlisted(sg_schema *c, json_t *s, bool matched, sg_schema_set *value)
{
    json_t *other = json_object_get(s, "additionalProperties");
    if (matched)
        return SG_OK;
    if (!other && c->flags & SG_SCHEMA_CLOSED && json_object_get(s, "properties"))
        other = json_false();
    return other ? sg_schema_set_add(c, value, other) : SG_OK;
}

sg_status sg_schema_property(sg_schema *c, const sg_schema_set *set, const char *name, size_t n, sg_schema_set *value)
{
    const char *pattern;
    json_t *v;
    for (size_t i = 0; i < set->n; i++) {
        json_t *s = set->s[i], *own = json_object_get(json_object_get(s, "properties"), name);
        bool matched = own != NULL;
        if (own)
            SG_TRY(sg_schema_set_add(c, value, own));
        json_object_foreach(json_object_get(s, "patternProperties"), pattern, v) {
            const sg_dfa *d;
            SG_TRY(sg_schema_pattern(c, s, pattern, strlen(pattern), &d));
            if (!sg_dfa_match(d, name, n))
                continue;
            matched = true;
            SG_TRY(sg_schema_set_add(c, value, v));
        }
        SG_TRY(unlisted(c, s, matched, value));
    }
    return SG_OK;
}

/* ---- pairs ------------------------------------------------------------------------------ */

/* "name": value */
static sg_status listed_pair(sg_schema *c, const sg_schema_set *set, const char *name, size_t n, uint32_t *rule)
{
    sg_schema_set value = {0};
    uint32_t of, ws;
    char *text = NULL;
    size_t len = 0;
    bool allowed = true;
    json_t *key = json_stringn(name, n);
    sg_status st = key ? sg_schema_dump(c, key, &text, &len) : sg_fail_nomem(c->err, "a schema");
    for (size_t i = 0; i < set->n && st == SG_OK && allowed; i++)
        if (json_object_get(set->s[i], "propertyNames"))
            st = sg_schema_obeys(c, json_object_get(set->s[i], "propertyNames"), key, &allowed);
    json_decref(key);
    value.never = !allowed;
    if (st == SG_OK)
        st = sg_schema_property(c, set, name, n, &value);
    if (st == SG_OK)
        st = sg_schema_rule_of(c, &value, &of);
    if (st == SG_OK)
        st = sg_schema_ws(c, &ws);
    if (st == SG_OK)
        st = sg_grammar_add_rule(c->g, rule, c->err);
    sg_sequence s = {0};
    if (st == SG_OK)
        st = sg_schema_literal(c, &s, text, len);
    if (st == SG_OK)
        st = sg_schema_literal(c, &s, ":", 1);
    if (st == SG_OK)
        st = sg_sequence_add(&s, sg_symbol_rule(ws), c->err);
    if (st == SG_OK)
        st = sg_sequence_add(&s, sg_symbol_rule(of), c->err);
    if (st == SG_OK)
        st = sg_grammar_add_alternative(c->g, *rule, s.at, s.n, c->err);
    sg_sequence_fini(&s);
    sg_free(text);
    return st;
}

enum { PATTERNS_MAX = 24 };

typedef struct others {
    sg_schema *c;
    const sg_schema_set *set;
    const sg_dfa *pattern[PATTERNS_MAX];
    json_t *schema[PATTERNS_MAX]; /* what it asks of the value */
    size_t owner[PATTERNS_MAX];   /* which schema of the set has it */
    size_t n;
    uint32_t rule; /* of all pairs that are not listed */
} others;

/* Keys of one class: what the values must obey. */
static sg_status other_pairs(void *arg, uint32_t class, uint32_t key)
{
    others *o = arg;
    sg_schema *c = o->c;
    sg_schema_set value = {0};
    uint32_t of, ws;
    for (size_t i = 0; i < o->set->n; i++) {
        bool matched = false;
        for (size_t k = 0; k < o->n; k++)
            if (o->owner[k] == i && class >> k & 1) {
                matched = true;
                SG_TRY(sg_schema_set_add(c, &value, o->schema[k]));
            }
        SG_TRY(unlisted(c, o->set->s[i], matched, &value));
    }
    if (value.never)
        return SG_OK;
    SG_TRY(sg_schema_rule_of(c, &value, &of));
    SG_TRY(sg_schema_ws(c, &ws));
    return sg_schema_rule(c, o->rule, "%:%%", (uint32_t[]){key, ws, of});
}

/* Are other properties out of the question?  Saves the automaton of the names. */
static bool closed(const sg_schema *c, const sg_schema_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        const json_t *s = set->s[i], *other = json_object_get(s, "additionalProperties");
        if (json_object_size(json_object_get(s, "patternProperties")))
            continue;
        if (json_is_false(other) || (!other && c->flags & SG_SCHEMA_CLOSED && json_object_get(s, "properties")))
            return true;
    }
    return false;
}

static sg_status other_rule(sg_schema *c, const sg_schema_set *set, const properties *p, uint32_t *rule)
{
    others o = {.c = c, .set = set};
    const char *pattern;
    json_t *v;
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    if (closed(c, set))
        return SG_OK;
    o.rule = *rule;
    for (size_t i = 0; i < set->n; i++)
        json_object_foreach(json_object_get(set->s[i], "patternProperties"), pattern, v) {
            if (o.n == PATTERNS_MAX)
                return sg_schema_fail(c, set->s[i], SG_E_LIMIT, "more than %d patternProperties", PATTERNS_MAX);
            SG_TRY(sg_schema_pattern(c, set->s[i], pattern, strlen(pattern), &o.pattern[o.n]));
            o.schema[o.n] = v;
            o.owner[o.n++] = i;
        }
    return sg_schema_names(c, set, p->name, p->len, p->n, o.pattern, o.n, other_pairs, &o);
}

/* ---- objects ------------------------------------------------------------------------------- */

typedef struct object {
    int64_t min, max; /* properties; max negative: any number */
    int64_t top;      /* counting stops here */
    uint32_t ws, other;
} object;

/* The others, `k` being written already: comma and pair, as many as are allowed. */
static sg_status tail_rule(sg_schema *c, const object *o, int64_t k, uint32_t rule)
{
    uint32_t next, many;
    int64_t min = o->min > k ? o->min - k : 0, max = o->max < 0 ? -1 : o->max - k;
    if (o->max >= 0 && (max < 0 || max < min))
        return SG_OK;
    if (k == 0 && min == 0)
        SG_TRY(sg_schema_rule(c, rule, "}", NULL));
    if (k == 0 && max == 0)
        return SG_OK;
    SG_TRY(sg_grammar_add_rule(c->g, &next, c->err));
    SG_TRY(sg_schema_rule(c, next, ",%%", (uint32_t[]){o->ws, o->other}));
    if (k == 0) { /* the first has no comma */
        SG_TRY(sg_schema_repeat(c, next, min ? min - 1 : 0, max < 0 ? -1 : max - 1, &many));
        return sg_schema_rule(c, rule, "%%%}", (uint32_t[]){o->other, many, o->ws});
    }
    SG_TRY(sg_schema_repeat(c, next, min, max, &many));
    return sg_schema_rule(c, rule, "%%}", (uint32_t[]){many, o->ws});
}

/* from(i, k) for all i and k. */
static sg_status chain(sg_schema *c, const object *o, const properties *p, uint32_t *start)
{
    size_t width = (size_t)o->top + 1;
    uint32_t first = 0, r;
    if ((p->n + 1) * width > SG_GRAMMAR_SYMBOLS_MAX)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "too many properties to be counted");
    for (size_t i = 0; i < (p->n + 1) * width; i++) {
        SG_TRY(sg_grammar_add_rule(c->g, &r, c->err));
        first = i ? first : r;
    }
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < width && k <= i; k++) {
            uint32_t here = first + (uint32_t)(i * width + k), below = first + (uint32_t)((i + 1) * width);
            uint32_t with = below + (uint32_t)(k + 1 < width ? k + 1 : k), without = below + (uint32_t)k;
            if (!(o->max >= 0 && (int64_t)k >= o->max))
                SG_TRY(k ? sg_schema_rule(c, here, ",%%%", (uint32_t[]){o->ws, p->pair[i], with})
                         : sg_schema_rule(c, here, "%%", (uint32_t[]){p->pair[i], with}));
            if (!p->required[i])
                SG_TRY(sg_schema_rule(c, here, "%", &without));
        }
    for (size_t k = 0; k < width && k <= p->n; k++)
        SG_TRY(tail_rule(c, o, (int64_t)k, first + (uint32_t)(p->n * width + k)));
    *start = first;
    return SG_OK;
}

static sg_status build_object(sg_schema *c, const sg_schema_set *set, properties *p, uint32_t rule)
{
    object o = {.max = -1};
    uint32_t start = 0;
    int64_t required = 0;
    for (size_t i = 0; i < set->n; i++) {
        int64_t min, max;
        SG_TRY(sg_schema_count(c, set->s[i], "minProperties", 0, &min));
        SG_TRY(sg_schema_count(c, set->s[i], "maxProperties", -1, &max));
        o.min = min > o.min ? min : o.min;
        o.max = max >= 0 && (o.max < 0 || max < o.max) ? max : o.max;
    }
    for (size_t i = 0; i < p->n; i++)
        required += p->required[i];
    if (o.min <= required)
        o.min = 0;
    int64_t most = o.max > o.min ? o.max : o.min;
    o.top = most > (int64_t)p->n ? (int64_t)p->n : most;
    o.top = o.top < 1 ? 1 : o.top;
    SG_TRY(sg_schema_ws(c, &o.ws));
    for (size_t i = 0; i < p->n; i++)
        SG_TRY(listed_pair(c, set, p->name[i], p->len[i], &p->pair[i]));
    SG_TRY(other_rule(c, set, p, &o.other));
    SG_TRY(chain(c, &o, p, &start));
    return sg_schema_rule(c, rule, "{%%", (uint32_t[]){o.ws, start});
}

sg_status sg_schema_object(sg_schema *c, const sg_schema_set *set, uint32_t rule)
{
    properties p = {0};
    json_t *index = json_object();
    sg_status st = index ? collect(c, set, &p, index) : sg_fail_nomem(c->err, "a schema");
    if (st == SG_OK)
        st = build_object(c, set, &p, rule);
    json_decref(index);
    properties_fini(&p);
    return st;
}

/* ---- arrays ----------------------------------------------------------------------------------- */

/* The items of a schema's tuple: prefixItems, or items when it is a list (until 2019-09). */
static const json_t *tuple_of(const json_t *s)
{
    const json_t *tuple = json_object_get(s, "prefixItems"), *items = json_object_get(s, "items");
    return tuple ? tuple : json_is_array(items) ? items : NULL;
}

/* What the set says of item i; i at the length of the longest tuple: of all further ones. */
static sg_status item_set(sg_schema *c, const sg_schema_set *set, size_t i, sg_schema_set *value)
{
    for (size_t k = 0; k < set->n; k++) {
        const json_t *s = set->s[k], *tuple = tuple_of(s), *items = json_object_get(s, "items");
        json_t *one = i < json_array_size(tuple) ? json_array_get(tuple, i)
                      : json_is_array(items)     ? json_object_get(s, "additionalItems")
                                                 : json_object_get(s, "items");
        if (one)
            SG_TRY(sg_schema_set_add(c, value, one));
    }
    return SG_OK;
}

typedef struct array {
    int64_t min, max; /* max negative: any number */
    size_t ntuple;
    json_t *contains;
    int64_t min_contains, max_contains;
    bool unique;
} array;

static sg_status read_array(sg_schema *c, const sg_schema_set *set, array *a)
{
    *a = (array){.max = -1, .min_contains = 1, .max_contains = -1};
    for (size_t i = 0; i < set->n; i++) {
        json_t *s = set->s[i], *contains = json_object_get(s, "contains");
        int64_t min, max;
        SG_TRY(sg_schema_count(c, s, "minItems", 0, &min));
        SG_TRY(sg_schema_count(c, s, "maxItems", -1, &max));
        a->min = min > a->min ? min : a->min;
        a->max = max >= 0 && (a->max < 0 || max < a->max) ? max : a->max;
        a->ntuple = json_array_size(tuple_of(s)) > a->ntuple ? json_array_size(tuple_of(s)) : a->ntuple;
        a->unique |= json_is_true(json_object_get(s, "uniqueItems"));
        if (!contains)
            continue;
        SG_TRY(sg_schema_count(c, s, "minContains", 1, &min));
        SG_TRY(sg_schema_count(c, s, "maxContains", -1, &max));
        if (min == 0 && max < 0)
            continue;
        if (a->contains)
            return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "'contains' twice is not supported");
        a->contains = contains;
        a->min_contains = min;
        a->max_contains = max;
    }
    a->unique &= a->max < 0 || a->max > 1;
    if (a->contains && (a->min || a->max >= 0 || a->ntuple))
        return sg_schema_fail(c, set->s[0], SG_E_UNSUPPORTED, "'contains' together with other limits of an array is not supported");
    return SG_OK;
}

static sg_status item_rule(sg_schema *c, const sg_schema_set *set, size_t i, json_t *also, uint32_t *rule)
{
    sg_schema_set value = {0};
    SG_TRY(item_set(c, set, i, &value));
    if (also)
        SG_TRY(sg_schema_set_add(c, &value, also));
    return sg_schema_rule_of(c, &value, rule);
}

/* Items that match and items that do not: count the ones that do.  state(k) ::= , other state(k) | , match state(k+1) */
static sg_status containing(sg_schema *c, const sg_schema_set *set, const array *a, uint32_t rule)
{
    enum { COUNT_MAX = 1000 };
    uint32_t ws, match, other, first = 0, r;
    json_t *not = NULL;
    SG_TRY(sg_schema_ws(c, &ws));
    int64_t top = a->max_contains >= 0 ? a->max_contains : a->min_contains;
    if (top > COUNT_MAX)
        return sg_schema_fail(c, set->s[0], SG_E_LIMIT, "'contains' more than %d times", COUNT_MAX);
    if (a->max_contains >= 0 && a->max_contains < a->min_contains)
        return SG_OK;
    if (a->max_contains >= 0) {
        sg_status st = sg_schema_opposite(c, a->contains, &not);
        if (st != SG_OK)
            return st == SG_E_UNSUPPORTED ? sg_schema_fail(c, set->s[0], st, "'maxContains' with this 'contains' is not supported") : st;
    }
    SG_TRY(item_rule(c, set, 0, a->contains, &match));
    SG_TRY(item_rule(c, set, 0, not, &other));
    for (int64_t k = 0; k <= 2 * top + 1; k++) { /* behind an item, and at the beginning */
        SG_TRY(sg_grammar_add_rule(c->g, &r, c->err));
        first = k ? first : r;
    }
    for (int64_t k = 0; k <= top; k++) {
        uint32_t here = first + (uint32_t)k, up = first + (uint32_t)(k < top ? k + 1 : k);
        bool full = k == top && a->max_contains >= 0;
        SG_TRY(sg_schema_rule(c, here, ",%%%", (uint32_t[]){ws, other, here}));
        if (!full)
            SG_TRY(sg_schema_rule(c, here, ",%%%", (uint32_t[]){ws, match, up}));
        if (k >= a->min_contains)
            SG_TRY(sg_schema_rule(c, here, "%]", &ws));
    }
    SG_TRY(sg_schema_rule(c, rule, "[%%%", (uint32_t[]){ws, other, first}));
    if (top > 0)
        SG_TRY(sg_schema_rule(c, rule, "[%%%", (uint32_t[]){ws, match, first + 1}));
    return a->min_contains == 0 ? sg_schema_rule(c, rule, "[%]", &ws) : SG_OK;
}

/* What stands behind i items of the tuple, i at least 1: from the last place backward. */
static sg_status tuple_rules(sg_schema *c, const sg_schema_set *set, const array *a, uint32_t ws, uint32_t *behind)
{
    uint32_t next, item, unit, many, r;
    int64_t n = (int64_t)(a->ntuple ? a->ntuple : 1);
    SG_TRY(item_rule(c, set, a->ntuple, NULL, &item));
    SG_TRY(sg_grammar_add_rule(c->g, &unit, c->err));
    SG_TRY(sg_schema_rule(c, unit, ",%%", (uint32_t[]){ws, item}));
    SG_TRY(sg_grammar_add_rule(c->g, &next, c->err));
    if (a->max < 0 || a->max >= n) {
        SG_TRY(sg_schema_repeat(c, unit, a->min > n ? a->min - n : 0, a->max < 0 ? -1 : a->max - n, &many));
        SG_TRY(sg_schema_rule(c, next, "%%]", (uint32_t[]){many, ws}));
    }
    for (int64_t i = n - 1; i >= 1; i--) {
        SG_TRY(sg_grammar_add_rule(c->g, &r, c->err));
        SG_TRY(item_rule(c, set, (size_t)i, NULL, &item));
        if (a->max < 0 || a->max > i)
            SG_TRY(sg_schema_rule(c, r, ",%%%", (uint32_t[]){ws, item, next}));
        if (a->min <= i && (a->max < 0 || a->max >= i))
            SG_TRY(sg_schema_rule(c, r, "%]", &ws));
        next = r;
    }
    *behind = next;
    return SG_OK;
}

/* Items that are all different, where they can be told apart. */
static sg_status different(sg_schema *c, const sg_schema_set *set, const array *a, uint32_t rule)
{
    sg_schema_set value = {0};
    bool done = false;
    if (!a->contains && !a->ntuple) {
        SG_TRY(item_set(c, set, 0, &value));
        SG_TRY(sg_schema_unique(c, &value, a->min, a->max, rule, &done));
    }
    return done ? SG_OK
                : sg_schema_fail(c, set->s[0], SG_E_UNSUPPORTED, "'uniqueItems' of items that cannot be listed is not supported");
}

sg_status sg_schema_array(sg_schema *c, const sg_schema_set *set, uint32_t rule)
{
    array a;
    uint32_t ws, item, behind;
    SG_TRY(read_array(c, set, &a));
    if (a.unique)
        return different(c, set, &a, rule);
    if (a.contains)
        return containing(c, set, &a, rule);
    SG_TRY(sg_schema_ws(c, &ws));
    if (a.max >= 0 && a.max < a.min)
        return SG_OK;
    if (a.min == 0)
        SG_TRY(sg_schema_rule(c, rule, "[%]", &ws));
    if (a.max == 0)
        return SG_OK;
    SG_TRY(item_rule(c, set, 0, NULL, &item));
    SG_TRY(tuple_rules(c, set, &a, ws, &behind));
    return sg_schema_rule(c, rule, "[%%%", (uint32_t[]){ws, item, behind});
}
