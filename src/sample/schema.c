/* sample/schema.c - JSON Schema to a grammar: sets of schemas, and the choices between them.
 *
 *     rule_of({s1, s2})   one rule for each set of schemas that must hold together
 *     fill                resolve $ref and allOf into the set, branch over anyOf and oneOf:
 *
 *         {s, anyOf:[a, b]}  ->  { s, a } | { s, b }      each a set without open choices
 *
 *     flat                the values of such a set, type by type; or the values of its enum that obey
 *
 * if, oneOf, dependentRequired and not are turned into anyOf and allOf of schemas made here, with the opposite of a schema
 * (schema_logic.c) where one is needed.  What cannot be turned is refused by its keyword and place.
 *
 * Rejected: a translation keyword by keyword, without sets.  It cannot see that allOf narrows a property that is
 * declared elsewhere, and multiplies out what is the same.
 */
#include "sample/schema.h"

#include "base/heap.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct memo_set {
    size_t first, n; /* in members */
    uint32_t rule;
} memo_set;

typedef struct memo_pattern {
    const char *text; /* borrowed from the schema or from `made` */
    size_t n;
    sg_dfa d;
} memo_pattern;

struct sg_schema_memo {
    memo_set *set;
    size_t nset, set_cap, filled;
    json_t **member;
    size_t nmember, member_cap;
    uint32_t *index; /* of sets, open addressing, number + 1 */
    size_t slots;
    memo_pattern *pattern;
    size_t npattern, pattern_cap;
};

enum { PATTERNS_MAX = 4096 };

sg_status sg_schema_pattern(sg_schema *c, const json_t *s, const char *text, size_t n, const sg_dfa **d)
{
    sg_schema_memo *m = c->memo;
    for (size_t i = 0; i < m->npattern; i++)
        if (m->pattern[i].n == n && memcmp(m->pattern[i].text, text, n) == 0) {
            *d = &m->pattern[i].d;
            return SG_OK;
        }
    if (m->npattern == PATTERNS_MAX)
        return sg_schema_fail(c, s, SG_E_LIMIT, "more than %d patterns", PATTERNS_MAX);
    if (!m->pattern && !(m->pattern = sg_calloc(PATTERNS_MAX, sizeof *m->pattern))) /* never moved: automata are borrowed */
        return sg_fail_nomem(c->err, "a schema");
    sg_dfa made;
    sg_status st = sg_dfa_of_pattern(&made, text, n, c->err);
    if (st != SG_OK)
        return sg_schema_fail_at(c, s, st);
    m->pattern[m->npattern] = (memo_pattern){text, n, made};
    *d = &m->pattern[m->npattern++].d;
    return SG_OK;
}

/* ---- schemas made here ----------------------------------------------------------------------- */

static void made_name(char name[64], const json_t *s, const char *key) { snprintf(name, 64, "%p %.30s", (const void *)s, key); }

json_t *sg_schema_made(sg_schema *c, const json_t *s, const char *key)
{
    char name[64];
    made_name(name, s, key);
    return json_object_get(c->made, name);
}

sg_status sg_schema_keep(sg_schema *c, const json_t *s, const char *key, json_t *made)
{
    char name[64];
    made_name(name, s, key);
    if (!made || json_object_set_new(c->made, name, made) != 0)
        return sg_fail_nomem(c->err, "a schema");
    return SG_OK;
}

/* ---- sets ------------------------------------------------------------------------------------------ */

sg_status sg_schema_set_add(sg_schema *c, sg_schema_set *set, json_t *s)
{
    if (json_is_boolean(s)) {
        set->never |= json_is_false(s);
        return SG_OK;
    }
    if (!sg_schema_constrains(s))
        return SG_OK;
    for (size_t i = 0; i < set->n; i++)
        if (set->s[i] == s)
            return SG_OK;
    if (set->n == SG_SCHEMA_SET_MAX)
        return sg_schema_fail(c, s, SG_E_LIMIT, "more than %d schemas hold here at once", SG_SCHEMA_SET_MAX);
    set->s[set->n++] = s;
    return SG_OK;
}

static size_t set_slot(const sg_schema_memo *m, json_t *const *s, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (uint64_t)(uintptr_t)s[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    size_t at = (size_t)h & (m->slots - 1);
    for (; m->index[at]; at = (at + 1) & (m->slots - 1)) {
        const memo_set *x = &m->set[m->index[at] - 1];
        if (x->n == n && memcmp(m->member + x->first, s, n * sizeof *s) == 0)
            break;
    }
    return at;
}

static sg_status grow(void **p, size_t n, size_t *cap, size_t size, sg_error *err)
{
    if (n < *cap)
        return SG_OK;
    size_t wider = *cap ? 2 * *cap : 64;
    void *q = wider < n + 1 ? NULL : sg_realloc(*p, wider * size);
    if (!q)
        return sg_fail_nomem(err, "a schema");
    *p = q;
    *cap = wider;
    return SG_OK;
}

static sg_status widen_index(sg_schema *c)
{
    sg_schema_memo *m = c->memo;
    size_t slots = m->slots ? 2 * m->slots : 256;
    uint32_t *index = sg_calloc(slots, sizeof *index);
    if (!index)
        return sg_fail_nomem(c->err, "a schema");
    sg_free(m->index);
    m->index = index;
    m->slots = slots;
    for (size_t i = 0; i < m->nset; i++)
        m->index[set_slot(m, m->member + m->set[i].first, m->set[i].n)] = (uint32_t)i + 1;
    return SG_OK;
}

static sg_status new_set(sg_schema *c, const sg_schema_set *set, uint32_t *rule)
{
    sg_schema_memo *m = c->memo;
    if (m->nset == SG_SCHEMA_SETS_MAX)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "the schema describes more than %d different places", SG_SCHEMA_SETS_MAX);
    void *p = m->set;
    sg_status st = grow(&p, m->nset, &m->set_cap, sizeof *m->set, c->err);
    m->set = p;
    for (size_t i = 0; i < set->n && st == SG_OK; i++) {
        void *q = m->member;
        st = grow(&q, m->nmember + i, &m->member_cap, sizeof *m->member, c->err);
        m->member = q;
    }
    SG_TRY(st);
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    memcpy(m->member + m->nmember, set->s, set->n * sizeof *set->s);
    m->set[m->nset++] = (memo_set){m->nmember, set->n, *rule};
    m->nmember += set->n;
    return SG_OK;
}

/* While the only schema is a reference and nothing else, take what it points at. */
static sg_status unwrap(sg_schema *c, sg_schema_set *set)
{
    for (int depth = 0; set->n == 1 && depth < SG_SCHEMA_DEPTH_MAX; depth++) {
        json_t *s = set->s[0], *target, *v;
        const char *key;
        if (!json_object_get(s, "$ref"))
            return SG_OK;
        json_object_foreach(s, key, v)
            if (!c->lone_ref && strcmp(key, "$ref") != 0 && sg_schema_keyword(key))
                return SG_OK;
        SG_TRY(sg_schema_resolve(c, s, &target));
        if (target == s)
            break;
        set->n = 0;
        SG_TRY(sg_schema_set_add(c, set, target));
    }
    return SG_OK;
}

sg_status sg_schema_rule_of(sg_schema *c, sg_schema_set *set, uint32_t *rule)
{
    sg_schema_memo *m = c->memo;
    SG_TRY(unwrap(c, set));
    if (set->never) {
        if (c->nothing == SG_NONE)
            SG_TRY(sg_grammar_add_rule(c->g, &c->nothing, c->err));
        *rule = c->nothing;
        return SG_OK;
    }
    if (set->n == 0)
        return sg_schema_anything(c, rule);
    if (2 * (m->nset + 1) > m->slots)
        SG_TRY(widen_index(c));
    size_t slot = set_slot(m, set->s, set->n);
    if (m->index[slot]) {
        *rule = m->set[m->index[slot] - 1].rule;
        return SG_OK;
    }
    SG_TRY(new_set(c, set, rule));
    m->index[slot] = (uint32_t)m->nset;
    return SG_OK;
}

/* ---- a set without open choices ------------------------------------------------------------------------ */

static sg_status obeys_all(sg_schema *c, const sg_schema_set *set, const json_t *v, bool *obeys)
{
    *obeys = true;
    for (size_t i = 0; i < set->n && *obeys; i++)
        SG_TRY(sg_schema_obeys(c, set->s[i], v, obeys));
    return SG_OK;
}

typedef struct texts {
    char **text;
    size_t *len;
    size_t n;
} texts;

static sg_status value_of(sg_schema *c, json_t *v, int depth, uint32_t *rule);

/* [ v, v, ... ] or { "k": v, ... } with blanks where they may be: an alternative of `rule`. */
static sg_status container(sg_schema *c, json_t *v, int depth, uint32_t rule)
{
    uint32_t ws, item;
    size_t i, n = 0;
    const char *key;
    json_t *x;
    sg_sequence s = {0};
    SG_TRY(sg_schema_ws(c, &ws));
    sg_status st = sg_schema_literal(c, &s, json_is_array(v) ? "[" : "{", 1);
    if (st == SG_OK)
        st = sg_sequence_add(&s, sg_symbol_rule(ws), c->err);
    void *it = json_is_object(v) ? json_object_iter(v) : NULL;
    for (i = 0; st == SG_OK && (json_is_array(v) ? i < json_array_size(v) : it != NULL); i++) {
        x = it ? json_object_iter_value(it) : json_array_get(v, i);
        key = it ? json_object_iter_key(it) : NULL;
        if (i && (st = sg_schema_literal(c, &s, ",", 1)) == SG_OK)
            st = sg_sequence_add(&s, sg_symbol_rule(ws), c->err);
        if (st == SG_OK && key) {
            json_t *name = json_string(key);
            char *text = NULL;
            st = name ? sg_schema_dump(c, name, &text, &n) : sg_fail_nomem(c->err, "a schema");
            json_decref(name);
            if (st == SG_OK)
                st = sg_schema_literal(c, &s, text, n);
            sg_free(text);
            if (st == SG_OK && (st = sg_schema_literal(c, &s, ":", 1)) == SG_OK)
                st = sg_sequence_add(&s, sg_symbol_rule(ws), c->err);
        }
        if (st == SG_OK && (st = value_of(c, x, depth + 1, &item)) == SG_OK)
            st = sg_sequence_add(&s, sg_symbol_rule(item), c->err);
        it = it ? json_object_iter_next(v, it) : NULL;
    }
    if (st == SG_OK && i)
        st = sg_sequence_add(&s, sg_symbol_rule(ws), c->err);
    if (st == SG_OK)
        st = sg_schema_literal(c, &s, json_is_array(v) ? "]" : "}", 1);
    if (st == SG_OK)
        st = sg_grammar_add_alternative(c->g, rule, s.at, s.n, c->err);
    sg_sequence_fini(&s);
    return st;
}

/* Exactly this value. */
static sg_status value_of(sg_schema *c, json_t *v, int depth, uint32_t *rule)
{
    if (depth > SG_SCHEMA_DEPTH_MAX)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "a value of 'enum' or 'const' is too deep");
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    if (json_is_array(v) || json_is_object(v))
        return container(c, v, depth, *rule);
    char *text;
    size_t n;
    sg_sequence s = {0};
    SG_TRY(sg_schema_dump(c, v, &text, &n));
    sg_status st = sg_schema_literal(c, &s, text, n);
    if (st == SG_OK)
        st = sg_grammar_add_alternative(c->g, *rule, s.at, s.n, c->err);
    sg_sequence_fini(&s);
    sg_free(text);
    return st;
}

static sg_status add_obedient(sg_schema *c, const sg_schema_set *set, json_t *v, texts *t, uint32_t rule)
{
    bool obeys;
    SG_TRY(obeys_all(c, set, v, &obeys));
    if (!obeys)
        return SG_OK;
    if (json_is_array(v) || json_is_object(v))
        return container(c, v, 0, rule);
    SG_TRY(sg_schema_dump(c, v, &t->text[t->n], &t->len[t->n]));
    t->n++;
    return SG_OK;
}

/* The values of an enum or const that obey the whole set. */
static sg_status enumerate(sg_schema *c, const sg_schema_set *set, json_t *values, uint32_t rule)
{
    size_t n = json_is_array(values) ? json_array_size(values) : 1;
    texts t = {sg_calloc(n + 1, sizeof *t.text), sg_calloc(n + 1, sizeof *t.len), 0};
    sg_status st = t.text && t.len ? SG_OK : sg_fail_nomem(c->err, "a schema");
    c->known = values;
    for (size_t i = 0; i < n && st == SG_OK; i++)
        st = add_obedient(c, set, json_is_array(values) ? json_array_get(values, i) : values, &t, rule);
    c->known = NULL;
    if (st == SG_OK && t.n)
        st = sg_schema_texts(c, (const char *const *)t.text, t.len, t.n, rule);
    for (size_t i = 0; i < t.n; i++)
        sg_free(t.text[i]);
    sg_free(t.text);
    sg_free(t.len);
    return st;
}

static sg_status types_of(sg_schema *c, const sg_schema_set *set, unsigned *types)
{
    *types = SG_TYPE_ANY;
    for (size_t i = 0; i < set->n; i++) {
        unsigned t;
        SG_TRY(sg_schema_types(c, set->s[i], &t));
        *types &= t;
    }
    return SG_OK;
}

/* null, true and false, minus what is excluded. */
static sg_status words(sg_schema *c, const sg_schema_set *set, unsigned types, uint32_t rule)
{
    json_t *const v[] = {json_null(), json_true(), json_false()};
    static const char *const text[] = {"null", "true", "false"};
    for (size_t i = 0; i < 3; i++) {
        bool obeys;
        if (!(types & (i ? SG_TYPE_BOOLEAN : SG_TYPE_NULL)))
            continue;
        SG_TRY(obeys_all(c, set, v[i], &obeys));
        if (obeys)
            SG_TRY(sg_schema_rule(c, rule, text[i], NULL));
    }
    return SG_OK;
}

/* Excluded values of a kind that cannot be excluded. */
static sg_status check_excluded(sg_schema *c, const sg_schema_set *set, unsigned types)
{
    for (size_t i = 0; i < set->n; i++) {
        const json_t *not = json_object_get(set->s[i], SG_KEY_NOT_ENUM);
        for (size_t k = 0; k < json_array_size(not); k++) {
            const json_t *v = json_array_get(not, k);
            if ((json_is_object(v) && types & SG_TYPE_OBJECT) || (json_is_array(v) && types & SG_TYPE_ARRAY) ||
                (json_is_number(v) && types & SG_TYPE_NUMBER))
                return sg_schema_fail(c, set->s[i], SG_E_UNSUPPORTED, "a number, object or array cannot be excluded by value");
        }
    }
    return SG_OK;
}

/* Numbers that are no integers: no multiples of 1. */
static sg_status fractions(sg_schema *c, const sg_schema_set *set, uint32_t rule)
{
    sg_schema_set with = *set;
    if (!sg_schema_made(c, NULL, "fraction"))
        SG_TRY(sg_schema_keep(c, NULL, "fraction", json_pack("{s:i}", SG_KEY_NOT_MULTIPLE, 1)));
    SG_TRY(sg_schema_set_add(c, &with, sg_schema_made(c, NULL, "fraction")));
    return sg_schema_number(c, &with, false, rule);
}

static sg_status flat(sg_schema *c, const sg_schema_set *set, uint32_t rule)
{
    unsigned types;
    for (size_t i = 0; i < set->n; i++) {
        json_t *one = json_object_get(set->s[i], "const"), *many = json_object_get(set->s[i], "enum");
        if (one || many)
            return enumerate(c, set, one ? one : many, rule);
    }
    SG_TRY(types_of(c, set, &types));
    SG_TRY(check_excluded(c, set, types));
    SG_TRY(words(c, set, types, rule));
    if (types & SG_TYPE_STRING)
        SG_TRY(sg_schema_string(c, set, rule));
    if ((types & SG_TYPE_NUMBER) == SG_TYPE_FRACTION)
        SG_TRY(fractions(c, set, rule));
    else if (types & SG_TYPE_NUMBER)
        SG_TRY(sg_schema_number(c, set, !(types & SG_TYPE_FRACTION), rule));
    if (types & SG_TYPE_OBJECT)
        SG_TRY(sg_schema_object(c, set, rule));
    if (types & SG_TYPE_ARRAY)
        SG_TRY(sg_schema_array(c, set, rule));
    return SG_OK;
}

/* ---- choices ---------------------------------------------------------------------------------------------- */

/* {"anyOf": [a, b]}, which are taken over and may be NULL: out of memory. */
static json_t *either(json_t *a, json_t *b)
{
    json_t *both = a && b ? json_pack("{s:[O, O]}", "anyOf", a, b) : NULL;
    json_decref(a);
    json_decref(b);
    return both;
}

/* if c then t else e:  (c and t) or (not c and e) */
static sg_status make_if(sg_schema *c, json_t *s, json_t **out)
{
    json_t *cond = json_object_get(s, "if"), *then = json_object_get(s, "then"), *other = json_object_get(s, "else"), *not;
    *out = json_true();
    if ((!then || json_is_true(then)) && (!other || json_is_true(other)))
        return SG_OK;
    if ((*out = sg_schema_made(c, s, "if")))
        return SG_OK;
    sg_status st = sg_schema_opposite(c, cond, &not);
    if (st != SG_OK)
        return st == SG_E_UNSUPPORTED ? sg_schema_fail(c, s, st, "'if' has a condition whose opposite cannot be expressed") : st;
    json_t *yes = json_pack("{s:[O, O]}", "allOf", cond, then ? then : json_true());
    json_t *no = json_pack("{s:[O, O]}", "allOf", not, other ? other : json_true());
    SG_TRY(sg_schema_keep(c, s, "if", either(yes, no)));
    *out = sg_schema_made(c, s, "if");
    return SG_OK;
}

/* "a" asks for more:  no "a", or "a" and the rest */
static json_t *dependency(const char *name, json_t *asks)
{
    json_t *absent = json_pack("{s:{s:b}}", "properties", name, 0);
    json_t *present = json_is_array(asks) ? json_pack("{s:[{s:[s]}, {s:O}]}", "allOf", "required", name, "required", asks)
                                          : json_pack("{s:[{s:[s]}, O]}", "allOf", "required", name, asks);
    return either(absent, present);
}

static sg_status make_dependencies(sg_schema *c, json_t *s, const char *keyword, json_t **out)
{
    json_t *map = json_object_get(s, keyword), *asks, *all;
    const char *name;
    if ((*out = sg_schema_made(c, s, keyword)))
        return SG_OK;
    if (!(all = json_array()))
        return sg_fail_nomem(c->err, "a schema");
    json_object_foreach(map, name, asks) {
        json_t *one = dependency(name, asks);
        if (!one || json_array_append_new(all, one) != 0) {
            json_decref(all);
            return sg_fail_nomem(c->err, "a schema");
        }
    }
    SG_TRY(sg_schema_keep(c, s, keyword, json_array_size(all) ? json_pack("{s:o}", "allOf", all) : (json_decref(all), json_object())));
    *out = sg_schema_made(c, s, keyword);
    return SG_OK;
}

/* One of them and no other: each with the opposite of those that are not plainly apart from it. */
static sg_status one_of(sg_schema *c, json_t *s, size_t i, json_t *all)
{
    json_t *list = json_object_get(s, "oneOf"), *me = json_array_get(list, i);
    json_t *mine = json_array();
    sg_status st = mine && json_array_append(mine, me) == 0 ? SG_OK : sg_fail_nomem(c->err, "a schema");
    for (size_t k = 0; k < json_array_size(list) && st == SG_OK; k++) {
        bool apart = true;
        json_t *not;
        if (k != i)
            st = sg_schema_apart(c, me, json_array_get(list, k), &apart);
        if (st != SG_OK || apart)
            continue;
        st = sg_schema_opposite(c, json_array_get(list, k), &not);
        if (st == SG_E_UNSUPPORTED) {
            c->partly = true;
            st = sg_schema_opposite(c, json_array_get(list, k), &not);
            c->partly = false;
        }
        if (st == SG_E_UNSUPPORTED)
            st = sg_schema_fail(c, s, st, "'oneOf': the choices %zu and %zu may overlap; use anyOf", i, k);
        else if (st == SG_OK && json_array_append(mine, not) != 0)
            st = sg_fail_nomem(c->err, "a schema");
    }
    json_t *both = st == SG_OK ? json_pack("{s:O}", "allOf", mine) : NULL;
    json_decref(mine);
    if (st == SG_OK && (!both || json_array_append_new(all, both) != 0))
        return sg_fail_nomem(c->err, "a schema");
    return st;
}

static sg_status make_one_of(sg_schema *c, json_t *s, json_t **out)
{
    if ((*out = sg_schema_made(c, s, "oneOf")))
        return SG_OK;
    json_t *all = json_array();
    sg_status st = all ? SG_OK : sg_fail_nomem(c->err, "a schema");
    for (size_t i = 0; i < json_array_size(json_object_get(s, "oneOf")) && st == SG_OK; i++) {
        if ((c->work -= (int64_t)json_array_size(json_object_get(s, "oneOf"))) < 0)
            st = sg_schema_fail(c, s, SG_E_LIMIT, "too many combinations of choices");
        else
            st = one_of(c, s, i, all);
    }
    if (st != SG_OK) {
        json_decref(all);
        return st;
    }
    SG_TRY(sg_schema_keep(c, s, "oneOf", json_pack("{s:o}", "anyOf", all)));
    *out = sg_schema_made(c, s, "oneOf");
    return SG_OK;
}

/* A branch being resolved: schemas met with the one that led to each, and choices that are open. */
typedef struct branch {
    struct {
        json_t *s;
        int from;   /* index of the one that led here, -1 */
        bool holds; /* its own keywords count */
    } met[2 * SG_SCHEMA_SET_MAX];
    struct {
        json_t *s;
        int from;
    } todo[4 * SG_SCHEMA_SET_MAX];
    json_t *open[SG_SCHEMA_SET_MAX]; /* schemas with anyOf */
    int open_from[SG_SCHEMA_SET_MAX];
    int nmet, ntodo, next, nopen; /* next: in todo, first come first met: properties keep the order of the document */
    bool never;
} branch;

static sg_status push(sg_schema *c, branch *b, json_t *s, int from)
{
    if (json_is_boolean(s)) {
        b->never |= json_is_false(s);
        return SG_OK;
    }
    if (b->next == b->ntodo)
        b->next = b->ntodo = 0;
    if (b->ntodo == 4 * SG_SCHEMA_SET_MAX)
        return sg_schema_fail(c, s, SG_E_LIMIT, "too many schemas hold here at once");
    b->todo[b->ntodo].s = s;
    b->todo[b->ntodo++].from = from;
    return SG_OK;
}

/* *skip: met before on another way.  A schema that led to itself never ends. */
static sg_status meet(sg_schema *c, branch *b, json_t *s, int from, bool *skip)
{
    *skip = false;
    for (int k = from; k >= 0; k = b->met[k].from)
        if (b->met[k].s == s)
            return sg_schema_fail(c, s, SG_E_FORMAT, "a reference that leads back to itself and to no value");
    for (int k = 0; k < b->nmet && !*skip; k++)
        *skip = b->met[k].s == s;
    if (*skip)
        return SG_OK;
    if (b->nmet == 2 * SG_SCHEMA_SET_MAX)
        return sg_schema_fail(c, s, SG_E_LIMIT, "too many schemas hold here at once");
    b->met[b->nmet].s = s;
    b->met[b->nmet].from = from;
    b->met[b->nmet++].holds = true;
    return SG_OK;
}

/* What a schema brings with it. */
static sg_status bring(sg_schema *c, branch *b, json_t *s, int me)
{
    json_t *x;
    size_t i;
    if (json_object_get(s, "$ref")) {
        SG_TRY(sg_schema_resolve(c, s, &x));
        SG_TRY(push(c, b, x, me));
        if (c->lone_ref) {
            b->met[me].holds = false;
            return SG_OK;
        }
    }
    json_array_foreach(json_object_get(s, "allOf"), i, x)
        SG_TRY(push(c, b, x, me));
    if ((x = json_object_get(s, "not"))) {
        sg_status st = sg_schema_opposite(c, x, &x);
        if (st != SG_OK)
            return st == SG_E_UNSUPPORTED ? sg_schema_fail(c, s, st, "'not' of this cannot be expressed") : st;
        SG_TRY(push(c, b, x, me));
    }
    if (json_object_get(s, "if")) {
        SG_TRY(make_if(c, s, &x));
        SG_TRY(push(c, b, x, me));
    }
    static const char *const dependent[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    for (i = 0; i < 3; i++)
        if (json_object_get(s, dependent[i])) {
            SG_TRY(make_dependencies(c, s, dependent[i], &x));
            SG_TRY(push(c, b, x, me));
        }
    if (json_object_get(s, "oneOf")) {
        SG_TRY(make_one_of(c, s, &x));
        SG_TRY(push(c, b, x, me));
    }
    if (!json_object_get(s, "anyOf"))
        return SG_OK;
    if (b->nopen == SG_SCHEMA_SET_MAX)
        return sg_schema_fail(c, s, SG_E_LIMIT, "too many choices at one place");
    b->open_from[b->nopen] = me;
    b->open[b->nopen++] = s;
    return SG_OK;
}

static sg_status settle(sg_schema *c, branch *b)
{
    while (b->next < b->ntodo && !b->never) {
        json_t *s = b->todo[b->next].s;
        int from = b->todo[b->next++].from;
        bool skip;
        if (--c->work < 0)
            return sg_schema_fail(c, s, SG_E_LIMIT, "too many combinations of choices");
        SG_TRY(meet(c, b, s, from, &skip));
        if (skip)
            continue;
        SG_TRY(sg_schema_check_keywords(c, s));
        SG_TRY(bring(c, b, s, b->nmet - 1));
    }
    return SG_OK;
}

static sg_status gather(sg_schema *c, const branch *b, sg_schema_set *set)
{
    for (int i = 0; i < b->nmet; i++)
        if (b->met[i].holds)
            SG_TRY(sg_schema_set_add(c, set, b->met[i].s));
    return SG_OK;
}

static sg_status branch_out(sg_schema *c, branch *b, uint32_t rule, int depth)
{
    sg_schema_set set = {0};
    unsigned types;
    SG_TRY(settle(c, b));
    if (b->never)
        return SG_OK;
    SG_TRY(gather(c, b, &set));
    SG_TRY(types_of(c, &set, &types));
    if (!types)
        return SG_OK;
    if (!b->nopen)
        return flat(c, &set, rule);
    if (depth == SG_SCHEMA_DEPTH_MAX)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "choices inside choices, too deep");
    json_t *s = b->open[--b->nopen], *x;
    int from = b->open_from[b->nopen];
    size_t i;
    branch *copy = sg_alloc(sizeof *copy);
    if (!copy)
        return sg_fail_nomem(c->err, "a schema");
    sg_status st = SG_OK;
    json_array_foreach(json_object_get(s, "anyOf"), i, x) {
        *copy = *b;
        st = push(c, copy, x, from);
        if (st == SG_OK)
            st = branch_out(c, copy, rule, depth + 1);
        if (st != SG_OK)
            break;
    }
    sg_free(copy);
    return st;
}

static sg_status fill(sg_schema *c, size_t i)
{
    const memo_set x = c->memo->set[i];
    branch *b = sg_calloc(1, sizeof *b);
    sg_status st = b ? SG_OK : sg_fail_nomem(c->err, "a schema");
    c->here = c->memo->member[x.first];
    for (size_t k = 0; k < x.n && st == SG_OK; k++)
        st = push(c, b, c->memo->member[x.first + k], -1);
    if (st == SG_OK)
        st = branch_out(c, b, x.rule, 0);
    sg_free(b);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static void memo_free(sg_schema_memo *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->npattern; i++)
        sg_dfa_fini(&m->pattern[i].d);
    sg_free(m->pattern);
    sg_free(m->set);
    sg_free(m->member);
    sg_free(m->index);
    sg_free(m);
}

static sg_status compile(sg_schema *c)
{
    sg_schema_set set = {0};
    uint32_t top;
    bool empty;
    const char *draft = json_is_object(c->root) ? json_string_value(json_object_get(c->root, "$schema")) : NULL;
    if (!sg_schema_is(c->root))
        return sg_fail(c->err, SG_E_FORMAT, "schema /: it must be an object, true or false");
    c->lone_ref = draft && (strstr(draft, "draft-03") || strstr(draft, "draft-04") || strstr(draft, "draft-06") ||
                            strstr(draft, "draft-07"));
    SG_TRY(sg_grammar_add_rule(c->g, &c->g->root, c->err));
    SG_TRY(sg_schema_set_add(c, &set, c->root));
    SG_TRY(sg_schema_rule_of(c, &set, &top));
    SG_TRY(sg_schema_rule(c, c->g->root, "%", &top));
    while (c->memo->filled < c->memo->nset)
        SG_TRY(fill(c, c->memo->filled++));
    SG_TRY(sg_grammar_prune(c->g, &empty, c->err));
    return empty ? sg_fail(c->err, SG_E_FORMAT, "schema /: no value obeys it") : SG_OK;
}

static sg_status from_json(sg_grammar **g, json_t *root, unsigned flags, sg_error *err)
{
    sg_schema c = {.root = root, .here = root, .flags = flags, .work = SG_SCHEMA_WORK_MAX, .ws = SG_NONE, .indent = SG_NONE,
                   .string = SG_NONE, .chars = SG_NONE, .character = SG_NONE, .hex = SG_NONE, .number = SG_NONE, .integer = SG_NONE,
                   .anything = SG_NONE, .nothing = SG_NONE, .err = err};
    c.g = sg_calloc(1, sizeof *c.g);
    c.memo = sg_calloc(1, sizeof *c.memo);
    c.made = json_object();
    sg_status st = c.g && c.memo && c.made ? compile(&c) : sg_fail_nomem(err, "a schema");
    memo_free(c.memo);
    sg_schema_classes_free(c.classes);
    json_decref(c.made);
    if (st == SG_OK)
        *g = c.g;
    else
        sg_grammar_free(c.g);
    return st;
}

sg_status sg_grammar_from_schema(sg_grammar **g, const char *json, size_t n, unsigned flags, sg_error *err)
{
    json_t *root;
    SG_TRY(sg_json_parse(&root, json, n, "schema", err));
    sg_status st = from_json(g, root, flags, err);
    json_decref(root);
    return st;
}
