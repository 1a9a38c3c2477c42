/* sample/gbnf.c - GBNF text to rules (the notation is in sample/grammar.h).
 *
 * Recursive descent over
 *
 *     grammar      = { name "::=" alternatives newline }
 *     alternatives = sequence { "|" sequence }
 *     sequence     = { item [ "*" | "+" | "?" | "{" m [ "," [ n ] ] "}" ] }
 *     item         = literal | class | "." | name | "(" alternatives ")"
 *
 * Names are numbered when first seen; one that is never defined is an error at the end.
 */
#include "sample/grammar_rules.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <string.h>

enum { RANGES_MAX = 1024 };

typedef struct name {
    const char *s;
    size_t n;
    uint32_t rule, line;
    bool defined;
} name;

typedef struct parser {
    sg_grammar *g;
    const char *p, *end;
    uint32_t line, depth;
    name *names;
    size_t nname, name_cap;
    sg_error *err;
} parser;

static sg_status fail(parser *p, const char *what) { return sg_fail(p->err, SG_E_FORMAT, "grammar line %u: %s", p->line, what); }

/* ---- characters -------------------------------------------------------------------- */

static void newline(parser *p)
{
    p->line++;
    p->p++;
}

/* Blanks and comments; newlines too when asked. */
static void space(parser *p, bool newlines)
{
    for (; p->p < p->end; p->p++) {
        if (*p->p == '#')
            while (p->p + 1 < p->end && p->p[1] != '\n')
                p->p++;
        else if (*p->p == '\n' && newlines)
            p->line++;
        else if (*p->p != ' ' && *p->p != '\t' && *p->p != '\r')
            break;
    }
}

static bool at(const parser *p, char c) { return p->p < p->end && *p->p == c; }

static bool name_char(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

static sg_status hex(parser *p, int digits, uint32_t *cp)
{
    uint32_t v = 0;
    for (int i = 0; i < digits; i++, p->p++) {
        char c = p->p < p->end ? *p->p : ' ';
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0 || v > 0x10ffff)
            return fail(p, "bad hexadecimal escape");
        v = v * 16 + (uint32_t)d;
    }
    if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return fail(p, "an escape that is no character");
    *cp = v;
    return SG_OK;
}

/* One character of a literal or class, escapes resolved. */
static sg_status character(parser *p, uint32_t *cp)
{
    size_t used = sg_utf8_decode(p->p, (size_t)(p->end - p->p), cp);
    if (!used)
        return fail(p, p->p == p->end ? "the text ends inside quotes or brackets" : "not UTF-8");
    p->p += used;
    if (*cp == '\n')
        p->line++;
    if (*cp != '\\')
        return SG_OK;
    char c = p->p < p->end ? *p->p++ : '\0';
    switch (c) {
    case 'x':
        return hex(p, 2, cp);
    case 'u':
        return hex(p, 4, cp);
    case 'U':
        return hex(p, 8, cp);
    case 'n':
        *cp = '\n';
        return SG_OK;
    case 'r':
        *cp = '\r';
        return SG_OK;
    case 't':
        *cp = '\t';
        return SG_OK;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^':
        *cp = (uint32_t)c;
        return SG_OK;
    default:
        return fail(p, "unknown escape");
    }
}

static sg_status literal(parser *p, sg_sequence *s)
{
    p->p++;
    while (!at(p, '"')) {
        uint32_t cp;
        char b[4];
        SG_TRY(character(p, &cp));
        size_t n = sg_utf8_encode(b, cp);
        for (size_t i = 0; i < n; i++)
            SG_TRY(sg_sequence_add(s, (sg_symbol){SG_SYMBOL_BYTES, (uint8_t)b[i], (uint8_t)b[i], 0}, p->err));
    }
    p->p++;
    return SG_OK;
}

/* Sort and merge; returns the new number. */
static size_t tidy(sg_char_range *r, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && r[k].low < r[k - 1].low; k--) {
            sg_char_range swap = r[k];
            r[k] = r[k - 1];
            r[k - 1] = swap;
        }
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (out && r[i].low <= r[out - 1].high + 1)
            r[out - 1].high = r[i].high > r[out - 1].high ? r[i].high : r[out - 1].high;
        else
            r[out++] = r[i];
    }
    return out;
}

/* What tidy ranges leave out; room for n + 1. */
static size_t invert(sg_char_range *r, size_t n)
{
    uint32_t from = 0;
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        sg_char_range x = r[i];
        if (x.low > from)
            r[out++] = (sg_char_range){from, x.low - 1};
        from = x.high + 1;
    }
    if (from <= 0x10ffff)
        r[out++] = (sg_char_range){from, 0x10ffff};
    return out;
}

static sg_status read_ranges(parser *p, sg_char_range *r, size_t *n)
{
    while (!at(p, ']')) {
        sg_char_range x;
        if (*n == RANGES_MAX)
            return fail(p, "a class of more than 1024 ranges");
        SG_TRY(character(p, &x.low));
        x.high = x.low;
        if (at(p, '-') && p->p + 1 < p->end && p->p[1] != ']') {
            p->p++;
            SG_TRY(character(p, &x.high));
        }
        if (x.high < x.low)
            return fail(p, "a range that runs backward");
        r[(*n)++] = x;
    }
    p->p++;
    return SG_OK;
}

static sg_status add_class(parser *p, sg_char_range *r, size_t n, sg_sequence *s)
{
    uint32_t rule;
    SG_TRY(sg_grammar_add_rule(p->g, &rule, p->err));
    SG_TRY(sg_grammar_add_chars(p->g, rule, r, n, p->err));
    return sg_sequence_add(s, (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = rule}, p->err);
}

static sg_status class(parser *p, sg_sequence *s)
{
    sg_char_range *r = sg_calloc(RANGES_MAX + 1, sizeof *r);
    if (!r)
        return sg_fail_nomem(p->err, "grammar");
    p->p++;
    bool negated = at(p, '^');
    p->p += negated;
    size_t n = 0;
    sg_status st = read_ranges(p, r, &n);
    if (st == SG_OK) {
        n = tidy(r, n);
        n = negated ? invert(r, n) : n;
        st = add_class(p, r, n, s);
    }
    sg_free(r);
    return st;
}

/* ---- rules ---------------------------------------------------------------------------- */

/* The name here, numbered; NULL after a failure. */
static sg_status read_name(parser *p, size_t *index)
{
    const char *s = p->p;
    while (p->p < p->end && name_char(*p->p))
        p->p++;
    size_t n = (size_t)(p->p - s);
    if (n == 0)
        return fail(p, "a name, a literal, a class or a parenthesis is expected");
    for (size_t i = 0; i < p->nname; i++)
        if (p->names[i].n == n && memcmp(p->names[i].s, s, n) == 0) {
            *index = i;
            return SG_OK;
        }
    if (p->nname == p->name_cap) {
        size_t cap = p->name_cap ? 2 * p->name_cap : 16;
        name *wider = cap <= 1 << 14 ? sg_realloc(p->names, cap * sizeof *wider) : NULL;
        if (!wider)
            return cap > 1 << 14 ? sg_fail(p->err, SG_E_LIMIT, "grammar: more than 16384 rules") : sg_fail_nomem(p->err, "grammar");
        p->names = wider;
        p->name_cap = cap;
    }
    name x = {s, n, 0, p->line, false};
    SG_TRY(sg_grammar_add_rule(p->g, &x.rule, p->err));
    *index = p->nname;
    p->names[p->nname++] = x;
    return SG_OK;
}

static sg_status alternatives(parser *p, uint32_t rule, bool nested);

static sg_status group(parser *p, sg_sequence *s)
{
    uint32_t rule;
    if (p->depth == SG_GRAMMAR_NEST_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "grammar line %u: more than %d parentheses deep", p->line, SG_GRAMMAR_NEST_MAX);
    p->p++;
    p->depth++;
    SG_TRY(sg_grammar_add_rule(p->g, &rule, p->err));
    SG_TRY(alternatives(p, rule, true));
    p->depth--;
    if (!at(p, ')'))
        return fail(p, "')' is missing");
    p->p++;
    return sg_sequence_add(s, (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = rule}, p->err);
}

static sg_status item(parser *p, sg_sequence *s)
{
    if (at(p, '"'))
        return literal(p, s);
    if (at(p, '['))
        return class(p, s);
    if (at(p, '('))
        return group(p, s);
    if (at(p, '.')) {
        sg_char_range all[] = {{0, 0x10ffff}};
        p->p++;
        return add_class(p, all, 1, s);
    }
    size_t index;
    SG_TRY(read_name(p, &index));
    return sg_sequence_add(s, (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = p->names[index].rule}, p->err);
}

static sg_status count(parser *p, int64_t *out)
{
    if (p->p == p->end || *p->p < '0' || *p->p > '9')
        return fail(p, "a number is expected");
    int64_t v = 0;
    for (; p->p < p->end && *p->p >= '0' && *p->p <= '9'; p->p++) {
        v = v * 10 + (*p->p - '0');
        if (v > SG_GRAMMAR_REPEAT_MAX)
            return sg_fail(p->err, SG_E_LIMIT, "grammar line %u: more than %d repetitions", p->line, SG_GRAMMAR_REPEAT_MAX);
    }
    space(p, false);
    *out = v;
    return SG_OK;
}

/* {m}, {m,} or {m,n} */
static sg_status bounds(parser *p, int64_t *min, int64_t *max)
{
    p->p++;
    space(p, false);
    SG_TRY(count(p, min));
    *max = *min;
    if (at(p, ',')) {
        p->p++;
        space(p, false);
        *max = -1;
        if (!at(p, '}'))
            SG_TRY(count(p, max));
    }
    if (!at(p, '}') || (*max >= 0 && *max < *min))
        return fail(p, "bad repetition");
    p->p++;
    return SG_OK;
}

/* The operators behind an item, which is the symbols of s from `from` on. */
static sg_status postfix(parser *p, sg_sequence *s, size_t from)
{
    for (;;) {
        int64_t min = 0, max = -1;
        if (at(p, '{'))
            SG_TRY(bounds(p, &min, &max));
        else if (at(p, '*') || at(p, '+') || at(p, '?')) {
            min = *p->p == '+';
            max = *p->p == '?' ? 1 : -1;
            p->p++;
        } else
            return SG_OK;
        sg_symbol whole;
        SG_TRY(sg_grammar_repeat(p->g, s->n > from ? s->at + from : NULL, s->n - from, min, max, &whole, p->err));
        s->n = from;
        SG_TRY(sg_sequence_add(s, whole, p->err));
        space(p, p->depth > 0);
    }
}

static bool sequence_ends(const parser *p) { return p->p == p->end || *p->p == '|' || *p->p == ')' || *p->p == '\n'; }

static sg_status sequence(parser *p, uint32_t rule, bool nested)
{
    sg_sequence s = {0};
    sg_status st = SG_OK;
    space(p, nested);
    while (st == SG_OK && !sequence_ends(p)) {
        size_t from = s.n;
        st = item(p, &s);
        if (st == SG_OK) {
            space(p, nested);
            st = postfix(p, &s, from);
        }
    }
    if (st == SG_OK)
        st = sg_grammar_add_alternative(p->g, rule, s.at, s.n, p->err);
    sg_sequence_fini(&s);
    return st;
}

/* A | at the start of the next line goes on with the rule. */
static bool another(parser *p)
{
    parser ahead = *p;
    space(&ahead, true);
    if (!at(&ahead, '|'))
        return false;
    p->p = ahead.p + 1;
    p->line = ahead.line;
    space(p, true);
    return true;
}

static sg_status alternatives(parser *p, uint32_t rule, bool nested)
{
    do
        SG_TRY(sequence(p, rule, nested));
    while (another(p));
    return SG_OK;
}

static sg_status rule(parser *p)
{
    size_t index;
    SG_TRY(read_name(p, &index));
    if (p->names[index].defined)
        return fail(p, "a rule that is defined twice");
    p->names[index].defined = true;
    space(p, false);
    if (p->end - p->p < 3 || memcmp(p->p, "::=", 3) != 0)
        return fail(p, "'::=' is missing");
    p->p += 3;
    space(p, true);
    SG_TRY(alternatives(p, p->names[index].rule, false));
    if (p->p < p->end && *p->p != '\n')
        return fail(p, "the rule should end here");
    if (p->p < p->end)
        newline(p);
    return SG_OK;
}

static sg_status check_hollow(parser *p)
{
    bool *hollow = sg_calloc(p->g->nrule + 1, sizeof *hollow);
    if (!hollow)
        return sg_fail_nomem(p->err, "grammar");
    sg_status st = sg_grammar_hollow(p->g, hollow, p->err);
    for (size_t i = 0; st == SG_OK && i < p->nname; i++)
        if (hollow[p->names[i].rule]) {
            p->line = p->names[i].line;
            st = sg_fail(p->err, SG_E_FORMAT, "grammar line %u: rule '%.*s' leads to nothing but itself", p->line,
                         (int)(p->names[i].n < 60 ? p->names[i].n : 60), p->names[i].s);
        }
    sg_free(hollow);
    return st;
}

static sg_status parse(parser *p)
{
    bool root = false;
    for (space(p, true); p->p < p->end; space(p, true))
        SG_TRY(rule(p));
    for (size_t i = 0; i < p->nname; i++) {
        name *x = &p->names[i];
        p->line = x->line;
        if (!x->defined)
            return sg_fail(p->err, SG_E_FORMAT, "grammar line %u: rule '%.*s' is not defined", x->line, (int)(x->n < 60 ? x->n : 60), x->s);
        if (x->n == 4 && memcmp(x->s, "root", 4) == 0) {
            root = true;
            p->g->root = x->rule;
        }
    }
    if (!root)
        return sg_fail(p->err, SG_E_FORMAT, "grammar: there is no rule 'root'");
    uint64_t shortest = 0;
    SG_TRY(sg_grammar_shortest(p->g, &shortest, p->err));
    if (shortest != UINT64_MAX && shortest > SG_GRAMMAR_SHORTEST_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "grammar: its shortest text has more than %d bytes", SG_GRAMMAR_SHORTEST_MAX);
    uint32_t bad = SG_NONE;
    SG_TRY(sg_grammar_left_recursion(p->g, &bad, p->err));
    for (size_t i = 0; bad != SG_NONE && i < p->nname; i++)
        if (p->names[i].rule == bad) {
            p->line = p->names[i].line;
            return sg_fail(p->err, SG_E_FORMAT, "grammar line %u: rule '%.*s' begins with itself", p->line,
                           (int)(p->names[i].n < 60 ? p->names[i].n : 60), p->names[i].s);
        }
    return bad == SG_NONE ? check_hollow(p) : sg_fail(p->err, SG_E_FORMAT, "grammar: a group begins with itself");
}

sg_status sg_grammar_parse(sg_grammar **out, const char *text, size_t n, sg_error *err)
{
    sg_grammar *g = sg_calloc(1, sizeof *g);
    if (!g)
        return sg_fail_nomem(err, "grammar");
    parser p = {.g = g, .p = text, .end = text + n, .line = 1, .err = err};
    sg_status st = parse(&p);
    sg_free(p.names);
    if (st == SG_OK)
        *out = g;
    else
        sg_grammar_free(g);
    return st;
}
