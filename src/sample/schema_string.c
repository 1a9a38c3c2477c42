/* sample/schema_string.c - strings: patterns, formats, lengths, names of properties, literals.
 *
 * A string with nothing but a length is rules:  '"' character{min,max} '"'.  As soon as there is a pattern, a format or
 * something excluded, automata are made and multiplied:
 *
 *     pattern x pattern x (not the names) x count  ->  one automaton over characters  ->  a rule for each state
 *
 *     state ::= class state' | class state'' | (nothing, where it accepts)
 *
 * A class of characters becomes the JSON text of its characters: themselves, \" \\ and control characters escaped.
 * Only strings without a pattern may also use \uXXXX for what needs no escape; a value has one spelling less to
 * be wrong in.
 */
#include "sample/schema.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 24, CLASSES_MAX = 1 << 15 };

/* ---- classes of characters --------------------------------------------------------------- */

typedef struct class_memo {
    size_t first, n; /* in ranges */
    uint32_t rule;
} class_memo;

struct sg_schema_classes {
    class_memo *memo;
    size_t n, cap;
    sg_char_range *ranges;
    size_t nrange, range_cap;
    uint32_t *index;
    size_t slots;
};

void sg_schema_classes_free(sg_schema_classes *m)
{
    if (!m)
        return;
    sg_free(m->memo);
    sg_free(m->ranges);
    sg_free(m->index);
    sg_free(m);
}

/* \X for the characters that have a short escape. */
static char short_escape(uint32_t cp)
{
    switch (cp) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
    }
}

static sg_status hex_rule(sg_schema *c, uint32_t *rule)
{
    if (c->hex == SG_NONE) {
        static const sg_char_range digits[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
        SG_TRY(sg_grammar_add_rule(c->g, &c->hex, c->err));
        SG_TRY(sg_grammar_add_chars(c->g, c->hex, digits, 3, c->err));
    }
    *rule = c->hex;
    return SG_OK;
}

/* The escapes of the control characters, the quote and the backslash in [low, high]. */
static sg_status add_escapes(sg_schema *c, uint32_t rule, uint32_t low, uint32_t high)
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t cp = low; cp <= high && cp <= '\\'; cp++) {
        if (short_escape(cp)) {
            char text[3] = {'\\', short_escape(cp), 0};
            SG_TRY(sg_schema_rule(c, rule, text, NULL));
        } else if (cp < 0x20) {
            char text[7] = {'\\', 'u', '0', '0', digits[cp >> 4], digits[cp & 15], 0};
            SG_TRY(sg_schema_rule(c, rule, text, NULL));
        }
    }
    return SG_OK;
}

static sg_status add_plain(sg_schema *c, uint32_t rule, uint32_t low, uint32_t high)
{
    static const sg_char_range plain[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, SG_CODE_POINT_MAX}};
    for (size_t i = 0; i < 3; i++) {
        sg_char_range r = {low > plain[i].low ? low : plain[i].low, high < plain[i].high ? high : plain[i].high};
        if (r.low <= r.high)
            SG_TRY(sg_grammar_add_chars(c->g, rule, &r, 1, c->err));
    }
    return SG_OK;
}

/* Any character: plain, or escaped in any way. */
static sg_status character(sg_schema *c, uint32_t *rule)
{
    if (c->character == SG_NONE) {
        static const sg_char_range no_d[] = {{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}, d[] = {{'D', 'D'}, {'d', 'd'}};
        static const sg_char_range octal[] = {{'0', '7'}}, high[] = {{'8', '9'}, {'A', 'B'}, {'a', 'b'}}, low[] = {{'C', 'F'}, {'c', 'f'}};
        static const struct {
            const sg_char_range *r;
            size_t n;
        } sets[] = {{no_d, 5}, {d, 2}, {octal, 1}, {high, 3}, {low, 2}};
        uint32_t h, r[5], x;
        SG_TRY(hex_rule(c, &h));
        for (size_t i = 0; i < 5; i++) {
            SG_TRY(sg_grammar_add_rule(c->g, &r[i], c->err));
            SG_TRY(sg_grammar_add_chars(c->g, r[i], sets[i].r, sets[i].n, c->err));
        }
        SG_TRY(sg_grammar_add_rule(c->g, &x, c->err));
        SG_TRY(add_plain(c, x, 0, SG_CODE_POINT_MAX));
        for (const char *e = "\"\\/bfnrt"; *e; e++)
            SG_TRY(sg_schema_rule(c, x, (char[]){'\\', *e, 0}, NULL));
        SG_TRY(sg_schema_rule(c, x, "\\u%%%%", (uint32_t[]){r[0], h, h, h}));
        SG_TRY(sg_schema_rule(c, x, "\\u%%%%", (uint32_t[]){r[1], r[2], h, h}));
        SG_TRY(sg_schema_rule(c, x, "\\u%%%%\\u%%%%", (uint32_t[]){r[1], r[3], h, h, r[1], r[4], h, h}));
        c->character = x;
    }
    *rule = c->character;
    return SG_OK;
}

static size_t class_slot(const sg_schema_classes *m, const sg_char_range *r, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ ((uint64_t)r[i].low << 32 | r[i].high)) * 0x9e3779b97f4a7c15u;
        h ^= h >> 31;
    }
    size_t at = (size_t)h & (m->slots - 1);
    for (; m->index[at]; at = (at + 1) & (m->slots - 1)) {
        const class_memo *x = &m->memo[m->index[at] - 1];
        if (x->n == n && memcmp(m->ranges + x->first, r, n * sizeof *r) == 0)
            break;
    }
    return at;
}

static sg_status grow_classes(sg_schema *c, size_t n)
{
    sg_schema_classes *m = c->classes;
    if (!m) {
        m = c->classes = sg_calloc(1, sizeof *m);
        if (!m || !(m->index = sg_calloc(2 * CLASSES_MAX, sizeof *m->index)))
            return sg_fail_nomem(c->err, "a schema");
        m->slots = 2 * CLASSES_MAX;
    }
    if (!m->index)
        return sg_fail_nomem(c->err, "a schema");
    if (m->n == CLASSES_MAX)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "patterns with more than %d sets of characters", CLASSES_MAX);
    if (m->n == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 64;
        class_memo *wider = sg_realloc(m->memo, cap * sizeof *wider);
        if (!wider)
            return sg_fail_nomem(c->err, "a schema");
        m->memo = wider;
        m->cap = cap;
    }
    if (m->nrange + n > m->range_cap) {
        size_t cap = 2 * (m->nrange + n) + 64;
        sg_char_range *wider = cap <= 1 << 24 ? sg_realloc(m->ranges, cap * sizeof *wider) : NULL;
        if (!wider)
            return sg_fail_nomem(c->err, "a schema");
        m->ranges = wider;
        m->range_cap = cap;
    }
    return SG_OK;
}

/* The rule of a set of characters, as they stand inside quotes. */
static sg_status class_rule(sg_schema *c, const sg_char_range *r, size_t n, uint32_t *rule)
{
    if (n == 1 && r[0].low == 0 && r[0].high == SG_CODE_POINT_MAX)
        return character(c, rule);
    SG_TRY(grow_classes(c, n));
    sg_schema_classes *m = c->classes;
    size_t slot = class_slot(m, r, n);
    if (!m->index[slot]) {
        uint32_t made;
        SG_TRY(sg_grammar_add_rule(c->g, &made, c->err));
        for (size_t i = 0; i < n; i++) {
            SG_TRY(add_escapes(c, made, r[i].low, r[i].high));
            SG_TRY(add_plain(c, made, r[i].low, r[i].high));
        }
        memcpy(m->ranges + m->nrange, r, n * sizeof *r);
        m->memo[m->n] = (class_memo){m->nrange, n, made};
        m->nrange += n;
        m->index[slot] = (uint32_t)++m->n;
    }
    *rule = m->memo[m->index[slot] - 1].rule;
    return SG_OK;
}

/* ---- automata to rules ----------------------------------------------------------------------- */

static int by_target(const void *a, const void *b)
{
    const sg_dfa_edge *x = a, *y = b;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->low < y->low ? -1 : x->low > y->low;
}

static sg_status state_rules(sg_schema *c, const sg_dfa *d, size_t state, uint32_t first_rule, sg_dfa_edge *edges, sg_char_range *r)
{
    size_t n = d->first[state + 1] - d->first[state];
    if (n) /* an automaton of the empty text alone has no edges at all */
        memcpy(edges, d->edge + d->first[state], n * sizeof *edges);
    if (n > 1)
        qsort(edges, n, sizeof *edges, by_target);
    for (size_t i = 0; i < n;) {
        uint32_t class, to = edges[i].to;
        size_t k = 0;
        for (; i < n && edges[i].to == to; i++)
            if (k && r[k - 1].high + 1 == edges[i].low)
                r[k - 1].high = edges[i].high;
            else
                r[k++] = (sg_char_range){edges[i].low, edges[i].high};
        SG_TRY(class_rule(c, r, k, &class));
        SG_TRY(sg_schema_rule(c, first_rule + (uint32_t)state, "%%", (uint32_t[]){class, first_rule + to}));
    }
    return SG_OK;
}

/* The quoted strings that the automaton accepts with exactly these bits. */
static sg_status automaton_rule(sg_schema *c, const sg_dfa *d, uint32_t bits, uint32_t *rule)
{
    size_t most = 1;
    uint32_t first = 0, r;
    for (size_t i = 0; i < d->n; i++) {
        size_t n = d->first[i + 1] - d->first[i];
        most = n > most ? n : most;
        SG_TRY(sg_grammar_add_rule(c->g, &r, c->err));
        first = i ? first : r;
    }
    sg_dfa_edge *edges = sg_calloc(most, sizeof *edges);
    sg_char_range *ranges = sg_calloc(most, sizeof *ranges);
    sg_status st = edges && ranges ? SG_OK : sg_fail_nomem(c->err, "a schema");
    for (size_t i = 0; i < d->n && st == SG_OK; i++) {
        st = state_rules(c, d, i, first, edges, ranges);
        if (st == SG_OK && d->accept[i] == bits)
            st = sg_schema_rule(c, first + (uint32_t)i, "", NULL);
    }
    sg_free(edges);
    sg_free(ranges);
    SG_TRY(st);
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    return sg_schema_rule(c, *rule, "\"%\"", &first);
}

/* ---- products ------------------------------------------------------------------------------------ */

typedef enum role { MUST, MUST_NOT, SORTS } role; /* SORTS: its acceptance is a bit of the class */

typedef struct part {
    const sg_dfa *d;
    role how;
} part;

typedef struct product {
    part part[PARTS_MAX];
    size_t n;
    int64_t min, max, top; /* characters; top: where counting stops */
    uint32_t *cut;
} product;

static sg_status add_part(sg_schema *c, const json_t *s, product *p, const sg_dfa *d, role how)
{
    if (p->n == PARTS_MAX)
        return sg_schema_fail(c, s, SG_E_LIMIT, "more than %d patterns hold here at once", PARTS_MAX);
    p->part[p->n].d = d;
    p->part[p->n++].how = how;
    return SG_OK;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Where the behaviour of some part changes. */
static size_t find_cuts(const product *p, const uint32_t *key)
{
    size_t n = 0, out = 0;
    p->cut[n++] = 0;
    p->cut[n++] = SG_CODE_POINT_MAX + 1;
    for (size_t i = 0; i < p->n; i++)
        for (uint32_t k = key[i] == UINT32_MAX ? 0 : p->part[i].d->first[key[i]];
             key[i] != UINT32_MAX && k < p->part[i].d->first[key[i] + 1]; k++) {
            p->cut[n++] = p->part[i].d->edge[k].low;
            p->cut[n++] = p->part[i].d->edge[k].high + 1;
        }
    qsort(p->cut, n, sizeof *p->cut, by_value);
    for (size_t i = 0; i < n; i++)
        if (!out || p->cut[i] != p->cut[out - 1])
            p->cut[out++] = p->cut[i];
    return out;
}

static uint32_t acceptance(const product *p, const uint32_t *key)
{
    uint32_t bits = 1;
    int class = 1;
    for (size_t i = 0; i < p->n; i++) {
        bool is = key[i] != UINT32_MAX && p->part[i].d->accept[key[i]];
        if (p->part[i].how == SORTS)
            bits |= (uint32_t)is << class++;
        else if (is != (p->part[i].how == MUST))
            return 0;
    }
    return key[p->n] >= (uint64_t)p->min ? bits : 0;
}

static sg_status expand(void *arg, sg_explorer *x, const void *from)
{
    const product *p = arg;
    uint32_t key[PARTS_MAX + 1], next[PARTS_MAX + 1];
    memcpy(key, from, (p->n + 1) * sizeof *key);
    sg_explorer_accept(x, acceptance(p, key));
    if (p->max >= 0 && key[p->n] >= (uint64_t)p->max)
        return SG_OK;
    size_t n = find_cuts(p, key);
    for (size_t i = 0; i + 1 < n; i++) {
        bool dead = false;
        for (size_t k = 0; k < p->n; k++) {
            next[k] = sg_dfa_step(p->part[k].d, key[k], p->cut[i]);
            dead |= next[k] == UINT32_MAX && p->part[k].how == MUST;
        }
        next[p->n] = key[p->n] < (uint64_t)p->top ? key[p->n] + 1 : key[p->n];
        if (!dead)
            SG_TRY(sg_explorer_edge(x, p->cut[i], p->cut[i + 1] - 1, next));
    }
    return SG_OK;
}

static sg_status multiply(sg_schema *c, product *p, sg_dfa *d)
{
    size_t cuts = 2;
    uint32_t start[PARTS_MAX + 1] = {0};
    for (size_t i = 0; i < p->n; i++) {
        size_t most = 0;
        for (size_t k = 0; k < p->part[i].d->n; k++)
            most = p->part[i].d->first[k + 1] - p->part[i].d->first[k] > most ? p->part[i].d->first[k + 1] - p->part[i].d->first[k] : most;
        cuts += 2 * most;
    }
    p->top = p->max >= 0 ? p->max : p->min;
    if (p->top > SG_DFA_STATES_MAX)
        return sg_schema_fail(c, NULL, SG_E_LIMIT, "a length above %d together with a pattern", SG_DFA_STATES_MAX);
    p->cut = sg_calloc(cuts, sizeof *p->cut);
    if (!p->cut)
        return sg_fail_nomem(c->err, "a schema");
    sg_status st = sg_dfa_explore(d, (p->n + 1) * sizeof *start, start, SG_DFA_STATES_MAX * 2, expand, p, c->err);
    sg_free(p->cut);
    p->cut = NULL;
    return st == SG_OK ? st : sg_schema_fail_at(c, NULL, st);
}

/* ---- what a set says of strings ---------------------------------------------------------------------- */

static const char *format_pattern(const char *format)
{
#define DATE "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,9})?(Z|z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    static const struct {
        const char *name, *pattern;
    } formats[] = {
        {"date", "^" DATE "$"},
        {"time", "^" TIME "$"},
        {"date-time", "^" DATE "[Tt]" TIME "$"},
        {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
        {"email", "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"},
        {"ipv4", "^" BYTE "\\." BYTE "\\." BYTE "\\." BYTE "$"},
        {"duration", "^P([0-9]+W|([0-9]+Y)?([0-9]+M)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\\.[0-9]+)?S)?)?)$"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(formats[i].name, format) == 0)
            return formats[i].pattern;
    return NULL;
}

/* An automaton of the strings among the values; *any: there are some. */
static sg_status texts_of(sg_schema *c, const json_t *values, sg_dfa *d, bool *any)
{
    size_t n = json_array_size(values), k = 0;
    const char **text = sg_calloc(n + 1, sizeof *text);
    size_t *len = sg_calloc(n + 1, sizeof *len);
    sg_status st = text && len ? SG_OK : sg_fail_nomem(c->err, "a schema");
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        const json_t *v = json_array_get(values, i);
        if (!json_is_string(v))
            continue;
        text[k] = json_string_value(v);
        len[k++] = json_string_length(v);
    }
    *any = k > 0;
    if (st == SG_OK && k)
        st = sg_dfa_of_texts(d, text, len, k, c->err);
    sg_free(text);
    sg_free(len);
    return st;
}

typedef struct owned {
    sg_dfa d[SG_SCHEMA_SET_MAX];
    size_t n;
} owned;

/* The parts and bounds that one schema adds. */
static sg_status add_schema(sg_schema *c, json_t *s, product *p, owned *own)
{
    const json_t *pattern = json_object_get(s, "pattern"), *not = json_object_get(s, SG_KEY_NOT_PATTERN);
    const json_t *format = json_object_get(s, "format");
    const sg_dfa *d;
    int64_t min, max;
    SG_TRY(sg_schema_count(c, s, "minLength", 0, &min));
    SG_TRY(sg_schema_count(c, s, "maxLength", -1, &max));
    p->min = min > p->min ? min : p->min;
    p->max = max >= 0 && (p->max < 0 || max < p->max) ? max : p->max;
    if (pattern) {
        SG_TRY(sg_schema_pattern(c, s, json_string_value(pattern), json_string_length(pattern), &d));
        SG_TRY(add_part(c, s, p, d, MUST));
    }
    if (json_is_string(not)) {
        SG_TRY(sg_schema_pattern(c, s, json_string_value(not), json_string_length(not), &d));
        SG_TRY(add_part(c, s, p, d, MUST_NOT));
    }
    const char *known = json_is_string(format) ? format_pattern(json_string_value(format)) : NULL;
    if (known) {
        SG_TRY(sg_schema_pattern(c, s, known, strlen(known), &d));
        SG_TRY(add_part(c, s, p, d, MUST));
    }
    const json_t *excluded = json_object_get(s, SG_KEY_NOT_ENUM);
    if (!json_is_array(excluded))
        return SG_OK;
    bool any;
    SG_TRY(texts_of(c, excluded, &own->d[own->n], &any));
    return any ? add_part(c, s, p, &own->d[own->n++], MUST_NOT) : SG_OK;
}

static void owned_fini(owned *own)
{
    for (size_t i = 0; i < own->n; i++)
        sg_dfa_fini(&own->d[i]);
    sg_free(own);
}

sg_status sg_schema_any_string(sg_schema *c, uint32_t *rule)
{
    if (c->string == SG_NONE) {
        uint32_t one, many, made;
        SG_TRY(character(c, &one));
        SG_TRY(sg_schema_repeat(c, one, 0, -1, &many));
        SG_TRY(sg_grammar_add_rule(c->g, &made, c->err));
        SG_TRY(sg_schema_rule(c, made, "\"%\"", &many));
        c->string = made;
    }
    *rule = c->string;
    return SG_OK;
}

static sg_status plain_string(sg_schema *c, int64_t min, int64_t max, uint32_t rule)
{
    uint32_t one, many;
    if (max >= 0 && max < min)
        return SG_OK; /* nothing */
    if (min == 0 && max < 0) {
        SG_TRY(sg_schema_any_string(c, &many));
        return sg_schema_rule(c, rule, "%", &many);
    }
    SG_TRY(character(c, &one));
    SG_TRY(sg_schema_repeat(c, one, min, max, &many));
    return sg_schema_rule(c, rule, "\"%\"", &many);
}

static sg_status product_string(sg_schema *c, product *p, uint32_t rule)
{
    sg_dfa d;
    uint32_t all;
    SG_TRY(multiply(c, p, &d));
    sg_status st = automaton_rule(c, &d, 1, &all);
    sg_dfa_fini(&d);
    return st == SG_OK ? sg_schema_rule(c, rule, "%", &all) : st;
}

sg_status sg_schema_string(sg_schema *c, const sg_schema_set *set, uint32_t rule)
{
    product p = {.max = -1};
    owned *own = sg_calloc(1, sizeof *own);
    sg_status st = own ? SG_OK : sg_fail_nomem(c->err, "a schema");
    for (size_t i = 0; i < set->n && st == SG_OK; i++)
        st = add_schema(c, set->s[i], &p, own);
    if (st == SG_OK)
        st = p.n ? product_string(c, &p, rule) : plain_string(c, p.min, p.max, rule);
    if (own)
        owned_fini(own);
    return st;
}

/* ---- names of properties --------------------------------------------------------------------------------- */

/* What propertyNames may say here: what a string may obey without choices. */
static sg_status add_names(sg_schema *c, json_t *s, product *p, owned *own, int depth)
{
    static const char *const can[] = {"pattern", "minLength", "maxLength", "format", "type", "enum", "const", "$ref"};
    const char *key;
    json_t *v, *target;
    bool any;
    if (json_is_boolean(s)) {
        if (json_is_false(s))
            p->max = 0, p->min = 1;
        return SG_OK;
    }
    json_object_foreach(s, key, v) {
        static const char *const means_nothing[] = {"title", "description", "default", "examples", "$comment", "deprecated"};
        size_t i = 0, k = 0;
        while (i < 8 && strcmp(can[i], key) != 0)
            i++;
        while (k < 6 && strcmp(means_nothing[k], key) != 0)
            k++;
        if (i == 8 && k == 6)
            return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "'%.40s' inside of propertyNames is not supported", key);
    }
    unsigned types;
    SG_TRY(sg_schema_types(c, s, &types));
    if (!(types & SG_TYPE_STRING))
        p->max = 0, p->min = 1;
    if (json_object_get(s, "$ref")) {
        if (depth == 16)
            return sg_schema_fail(c, s, SG_E_FORMAT, "a reference that leads back to itself and to no value");
        SG_TRY(sg_schema_resolve(c, s, &target));
        SG_TRY(add_names(c, target, p, own, depth + 1));
    }
    json_t *one = json_object_get(s, "const"), *values = json_object_get(s, "enum"), *list = NULL;
    if (one && !(list = json_pack("[O]", one)))
        return sg_fail_nomem(c->err, "a schema");
    sg_status st = SG_OK;
    if (list || values) {
        any = false;
        st = own->n == SG_SCHEMA_SET_MAX ? sg_schema_fail(c, s, SG_E_LIMIT, "too many propertyNames")
                                         : texts_of(c, list ? list : values, &own->d[own->n], &any);
        if (st == SG_OK && any)
            st = add_part(c, s, p, &own->d[own->n++], MUST);
        else if (st == SG_OK)
            p->max = 0, p->min = 1;
    }
    json_decref(list);
    return st == SG_OK ? add_schema(c, s, p, own) : st;
}

static sg_status each_class(sg_schema *c, const sg_dfa *d, sg_status (*found)(void *arg, uint32_t class, uint32_t rule), void *arg)
{
    for (size_t i = 0; i < d->n; i++) {
        bool before = !d->accept[i];
        for (size_t k = 0; k < i && !before; k++)
            before = d->accept[k] == d->accept[i];
        if (before)
            continue;
        uint32_t rule;
        SG_TRY(automaton_rule(c, d, d->accept[i], &rule));
        SG_TRY(found(arg, d->accept[i] >> 1, rule));
    }
    return SG_OK;
}

static sg_status names(sg_schema *c, const sg_schema_set *set, const sg_dfa *not, const sg_dfa *const *patterns, size_t npattern,
                       owned *own, sg_status (*found)(void *arg, uint32_t class, uint32_t rule), void *arg)
{
    product p = {.max = -1};
    uint32_t rule;
    for (size_t i = 0; i < npattern; i++) {
        if (i == PARTS_MAX / 2)
            return sg_schema_fail(c, NULL, SG_E_LIMIT, "more than %d patternProperties at one place", PARTS_MAX / 2);
        SG_TRY(add_part(c, NULL, &p, patterns[i], SORTS));
    }
    if (not)
        SG_TRY(add_part(c, NULL, &p, not, MUST_NOT));
    for (size_t i = 0; i < set->n; i++)
        if (json_object_get(set->s[i], "propertyNames"))
            SG_TRY(add_names(c, json_object_get(set->s[i], "propertyNames"), &p, own, 0));
    if (p.max >= 0 && p.min > p.max)
        return SG_OK;
    if (p.n == 0) {
        SG_TRY(sg_grammar_add_rule(c->g, &rule, c->err));
        SG_TRY(plain_string(c, p.min, p.max, rule));
        return found(arg, 0, rule);
    }
    sg_dfa d;
    SG_TRY(multiply(c, &p, &d));
    sg_status st = each_class(c, &d, found, arg);
    sg_dfa_fini(&d);
    return st;
}

sg_status sg_schema_names(sg_schema *c, const sg_schema_set *set, const char *const *not, const size_t *len, size_t nnot,
                          const sg_dfa *const *patterns, size_t npattern,
                          sg_status (*found)(void *arg, uint32_t class, uint32_t rule), void *arg)
{
    sg_dfa excluded = {0};
    owned *own = sg_calloc(1, sizeof *own);
    sg_status st = own ? SG_OK : sg_fail_nomem(c->err, "a schema");
    if (st == SG_OK && nnot)
        st = sg_dfa_of_texts(&excluded, not, len, nnot, c->err);
    if (st == SG_OK)
        st = names(c, set, nnot ? &excluded : NULL, patterns, npattern, own, found, arg);
    sg_dfa_fini(&excluded);
    if (own)
        owned_fini(own);
    return st;
}

/* ---- literals ------------------------------------------------------------------------------------------------ */

typedef struct list {
    const char *const *text;
    const size_t *len;
    uint32_t *order;
} list;

/* The texts order[from..to) share `at` bytes: go on with the next byte of each, as a trie. */
static sg_status trie(sg_schema *c, const list *l, size_t from, size_t to, size_t at, uint32_t rule)
{
    for (size_t i = from; i < to;) {
        const char *s = l->text[l->order[i]];
        size_t n = l->len[l->order[i]], end = i + 1;
        while (end < to && n > at && l->len[l->order[end]] > at && l->text[l->order[end]][at] == s[at])
            end++;
        size_t stop = at;
        if (end - i == 1)
            stop = n;
        else /* how far do all of them agree? they are sorted: the first and the last decide */
            while (stop < n && stop < l->len[l->order[end - 1]] && l->text[l->order[end - 1]][stop] == s[stop])
                stop++;
        sg_sequence seq = {0};
        sg_status st = sg_schema_literal(c, &seq, s + at, stop - at);
        uint32_t rest = SG_NONE;
        if (st == SG_OK && end - i > 1) {
            st = sg_grammar_add_rule(c->g, &rest, c->err);
            if (st == SG_OK)
                st = sg_sequence_add(&seq, sg_symbol_rule(rest), c->err);
        }
        if (st == SG_OK)
            st = sg_grammar_add_alternative(c->g, rule, seq.at, seq.n, c->err);
        sg_sequence_fini(&seq);
        SG_TRY(st);
        if (rest != SG_NONE && stop == at) /* the same empty rest again and again */
            return sg_schema_rule(c, rest, "", NULL);
        if (rest != SG_NONE)
            SG_TRY(trie(c, l, i, end, stop, rest));
        i = end;
    }
    return SG_OK;
}

static bool before(const list *l, uint32_t a, uint32_t b)
{
    size_t n = l->len[a] < l->len[b] ? l->len[a] : l->len[b];
    int order = memcmp(l->text[a], l->text[b], n);
    return order ? order < 0 : l->len[a] < l->len[b];
}

static void sift(const list *l, size_t n, size_t i)
{
    uint32_t *a = l->order;
    for (size_t kid; (kid = 2 * i + 1) < n; i = kid) {
        if (kid + 1 < n && before(l, a[kid], a[kid + 1]))
            kid++;
        if (!before(l, a[i], a[kid]))
            return;
        uint32_t t = a[i];
        a[i] = a[kid];
        a[kid] = t;
    }
}

/* Sorted by bytes, each text once; returns how many. */
static size_t sort_texts(const list *l, size_t n)
{
    uint32_t *a = l->order;
    size_t out = 0;
    for (size_t i = n / 2; i-- > 0;)
        sift(l, n, i);
    for (size_t left = n; left > 1;) {
        uint32_t t = a[0];
        a[0] = a[--left];
        a[left] = t;
        sift(l, left, 0);
    }
    for (size_t i = 0; i < n; i++)
        if (!out || l->len[a[i]] != l->len[a[out - 1]] || memcmp(l->text[a[i]], l->text[a[out - 1]], l->len[a[i]]) != 0)
            a[out++] = a[i];
    return out;
}

sg_status sg_schema_texts(sg_schema *c, const char *const *text, const size_t *len, size_t n, uint32_t rule)
{
    list l = {text, len, sg_calloc(n + 1, sizeof *l.order)};
    if (!l.order)
        return sg_fail_nomem(c->err, "a schema");
    for (uint32_t i = 0; i < n; i++)
        l.order[i] = i;
    n = sort_texts(&l, n);
    sg_status st = SG_OK;
    if (n)
        st = trie(c, &l, 0, n, 0, rule);
    sg_free(l.order);
    return st;
}

sg_status sg_schema_dump(sg_schema *c, const json_t *v, char **text, size_t *n)
{
    *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!*text)
        return sg_fail_nomem(c->err, "a schema");
    *n = strlen(*text);
    return SG_OK;
}
