/* sample/regex.c - regular expressions to automata.
 *
 *     pattern --recursive descent--> NFA (Thompson) --subsets--> DFA
 *
 * The parser writes NFA fragments as it reads, with one entry and one exit state; counted repetition reads its item
 * again and again.  States of the NFA:
 *
 *     SPLIT a b     go to either           SET k a    a character of set k, then a
 *     START a       only at the start      END a      only at the end
 *
 * A pattern is searched for, so the whole is  .* pattern .*  with anchors as conditions: START is passed before the first
 * character only; behind END no character may follow, so it counts for acceptance and not for steps.
 * A DFA state is the bit set of NFA states that stand at a SET (or could pass END), and "nothing was read yet".
 */
#include "sample/automaton.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <string.h>

typedef enum kind { SPLIT, SET, START, END, FINAL } kind;

typedef struct nstate {
    kind kind;
    uint32_t a, b, set; /* UINT32_MAX: none */
} nstate;

enum { SETS_MAX = 1024, RANGES_MAX = 1 << 14, NEST_MAX = 64, REPEAT_MAX = 2000 };

typedef struct range {
    uint32_t low, high;
} range;

typedef struct parser {
    const char *p, *end;
    nstate *s;  /* [SG_NFA_STATES_MAX] */
    size_t n;
    range *r;   /* [RANGES_MAX] */
    size_t nr;
    uint32_t set_first[SETS_MAX + 1];
    size_t nset;
    int nest;
    sg_error *err;
} parser;

typedef struct fragment {
    uint32_t in, out; /* out: a SPLIT whose `a` is still open */
} fragment;

static sg_status malformed(parser *p, const char *what) { return sg_fail(p->err, SG_E_FORMAT, "pattern: %s", what); }
static sg_status unsupported(parser *p, const char *what)
{
    return sg_fail(p->err, SG_E_UNSUPPORTED, "pattern: %s is not supported", what);
}

static sg_status add(parser *p, nstate s, uint32_t *at)
{
    if (p->n == SG_NFA_STATES_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "pattern: more than %d states", SG_NFA_STATES_MAX);
    *at = (uint32_t)p->n;
    p->s[p->n++] = s;
    return SG_OK;
}

static sg_status empty(parser *p, fragment *f)
{
    SG_TRY(add(p, (nstate){SPLIT, UINT32_MAX, UINT32_MAX, 0}, &f->in));
    f->out = f->in;
    return SG_OK;
}

static bool at(const parser *p, char c) { return p->p < p->end && *p->p == c; }

/* ---- sets of characters ------------------------------------------------------------ */

static sg_status add_range(parser *p, uint32_t low, uint32_t high)
{
    if (p->nr == RANGES_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "pattern: too many character ranges");
    p->r[p->nr++] = (range){low, high};
    return SG_OK;
}

/* Sort, merge and, when asked, complement the ranges from `from` on. */
static sg_status close_ranges(parser *p, size_t from, bool negated)
{
    range *r = p->r + from;
    size_t n = p->nr - from, out = 0;
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && r[k].low < r[k - 1].low; k--) {
            range t = r[k];
            r[k] = r[k - 1];
            r[k - 1] = t;
        }
    for (size_t i = 0; i < n; i++)
        if (out && r[i].low <= r[out - 1].high + 1)
            r[out - 1].high = r[i].high > r[out - 1].high ? r[i].high : r[out - 1].high;
        else
            r[out++] = r[i];
    p->nr = from + out;
    if (!negated)
        return SG_OK;
    SG_TRY(add_range(p, 0, 0)); /* room for one more */
    uint32_t next = 0;
    size_t kept = 0;
    for (size_t i = 0; i < out; i++) {
        range x = r[i];
        if (x.low > next)
            r[kept++] = (range){next, x.low - 1};
        next = x.high + 1;
    }
    if (next <= SG_CODE_POINT_MAX)
        r[kept++] = (range){next, SG_CODE_POINT_MAX};
    p->nr = from + kept;
    return SG_OK;
}

/* \d \w \s and their complements; *is is false for other letters. */
static sg_status add_shorthand(parser *p, char c, bool *is)
{
    static const range digit[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const range space[] = {{9, 13}, {' ', ' '}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                  {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    static const struct {
        char name;
        const range *r;
        size_t n;
    } table[] = {{'d', digit, 1}, {'w', word, 4}, {'s', space, 10}};
    *is = false;
    for (size_t i = 0; i < 3; i++) {
        if ((c | 32) != table[i].name)
            continue;
        *is = true;
        uint32_t next = 0;
        for (size_t k = 0; k < table[i].n; k++) {
            range x = table[i].r[k];
            if (c & 32)
                SG_TRY(add_range(p, x.low, x.high));
            else if (x.low > next)
                SG_TRY(add_range(p, next, x.low - 1));
            next = x.high + 1;
        }
        if (!(c & 32))
            SG_TRY(add_range(p, next, SG_CODE_POINT_MAX));
    }
    return SG_OK;
}

static sg_status hex(parser *p, int digits, uint32_t *cp)
{
    *cp = 0;
    for (int i = 0; i < digits; i++, p->p++) {
        char c = p->p < p->end ? *p->p : ' ';
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return malformed(p, "bad hexadecimal escape");
        *cp = *cp * 16 + (uint32_t)d;
    }
    return SG_OK;
}

/* \uXXXX, a pair of them, or \u{X...}; behind the u */
static sg_status unicode_escape(parser *p, uint32_t *cp)
{
    if (at(p, '{')) {
        p->p++;
        for (*cp = 0; !at(p, '}');) {
            uint32_t d;
            SG_TRY(hex(p, 1, &d));
            *cp = *cp * 16 + d;
            if (*cp > SG_CODE_POINT_MAX)
                return malformed(p, "an escape beyond U+10FFFF");
        }
        p->p++;
        return SG_OK;
    }
    SG_TRY(hex(p, 4, cp));
    if (*cp >= 0xd800 && *cp < 0xdc00 && p->end - p->p >= 6 && p->p[0] == '\\' && p->p[1] == 'u') {
        uint32_t low;
        p->p += 2;
        SG_TRY(hex(p, 4, &low));
        if (low < 0xdc00 || low > 0xdfff)
            return malformed(p, "half a surrogate pair");
        *cp = 0x10000 + ((*cp - 0xd800) << 10) + (low - 0xdc00);
    }
    return SG_OK;
}

/* What stands behind a backslash, if it is one character. */
static sg_status escape(parser *p, bool in_class, uint32_t *cp)
{
    if (p->p == p->end)
        return malformed(p, "it ends with a backslash");
    size_t used = sg_utf8_decode(p->p, (size_t)(p->end - p->p), cp);
    if (!used)
        return malformed(p, "not UTF-8");
    p->p += used;
    switch (*cp) {
    case 'n': *cp = '\n'; return SG_OK;
    case 'r': *cp = '\r'; return SG_OK;
    case 't': *cp = '\t'; return SG_OK;
    case 'f': *cp = '\f'; return SG_OK;
    case 'v': *cp = '\v'; return SG_OK;
    case 'x': return hex(p, 2, cp);
    case 'u': return unicode_escape(p, cp);
    case 'c':
        if (p->p == p->end || !((*p->p | 32) >= 'a' && (*p->p | 32) <= 'z'))
            return malformed(p, "\\c without a letter");
        *cp = (uint32_t)*p->p++ & 31;
        return SG_OK;
    case 'p':
    case 'P': return unsupported(p, "\\p");
    case 'b':
        if (in_class) {
            *cp = 8;
            return SG_OK;
        }
        return unsupported(p, "\\b");
    case 'B': return unsupported(p, "\\B");
    case 'k': return unsupported(p, "a back-reference");
    case '0': *cp = 0; return SG_OK;
    default: break;
    }
    if (*cp >= '1' && *cp <= '9')
        return in_class ? malformed(p, "an escaped digit") : unsupported(p, "a back-reference");
    if ((*cp >= 'a' && *cp <= 'z') || (*cp >= 'A' && *cp <= 'Z'))
        return malformed(p, "an unknown escape");
    return SG_OK;
}

/* One member of a class: *single tells whether it is one character. */
static sg_status class_member(parser *p, uint32_t *cp, bool *single)
{
    *single = true;
    if (at(p, '\\') && p->p + 1 < p->end) {
        bool is;
        SG_TRY(add_shorthand(p, p->p[1], &is));
        p->p += is ? 2 : 1;
        *single = !is;
        return is ? SG_OK : escape(p, true, cp);
    }
    size_t used = sg_utf8_decode(p->p, (size_t)(p->end - p->p), cp);
    p->p += used;
    return used ? SG_OK : malformed(p, "a class is not closed");
}

static sg_status class_body(parser *p)
{
    while (!at(p, ']')) {
        uint32_t low = 0, high = 0;
        bool one, other;
        SG_TRY(class_member(p, &low, &one));
        if (!(at(p, '-') && p->p + 1 < p->end && p->p[1] != ']')) {
            if (one)
                SG_TRY(add_range(p, low, low));
            continue;
        }
        p->p++;
        SG_TRY(class_member(p, &high, &other));
        if (one && other) {
            if (high < low)
                return malformed(p, "a range that runs backward");
            SG_TRY(add_range(p, low, high));
            continue;
        }
        SG_TRY(add_range(p, '-', '-')); /* [\w-.]: a plain minus */
        if (one)
            SG_TRY(add_range(p, low, low));
        if (other)
            SG_TRY(add_range(p, high, high));
    }
    p->p++;
    return SG_OK;
}

/* A fragment that reads one character of the ranges from `from` on. */
static sg_status set_fragment(parser *p, size_t from, bool negated, fragment *f)
{
    SG_TRY(close_ranges(p, from, negated));
    if (p->nset == SETS_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "pattern: more than %d character sets", SETS_MAX);
    /* the same set as before? */
    size_t n = p->nr - from, k = 0;
    for (; k < p->nset; k++)
        if (p->set_first[k + 1] - p->set_first[k] == n && (n == 0 || memcmp(p->r + p->set_first[k], p->r + from, n * sizeof *p->r) == 0))
            break;
    if (k == p->nset) {
        p->set_first[p->nset++] = (uint32_t)from;
        p->set_first[p->nset] = (uint32_t)p->nr;
    } else {
        p->nr = from;
    }
    SG_TRY(add(p, (nstate){SPLIT, UINT32_MAX, UINT32_MAX, 0}, &f->out));
    return add(p, (nstate){SET, f->out, UINT32_MAX, (uint32_t)k}, &f->in);
}

static sg_status any_fragment(parser *p, bool newlines, fragment *f)
{
    size_t from = p->nr;
    if (!newlines) {
        SG_TRY(add_range(p, '\n', '\n'));
        SG_TRY(add_range(p, '\r', '\r'));
        SG_TRY(add_range(p, 0x2028, 0x2029));
    }
    return set_fragment(p, from, true, f);
}

/* ---- the grammar of patterns ---------------------------------------------------------- */

static sg_status alternation(parser *p, fragment *f);

static sg_status group(parser *p, fragment *f)
{
    if (p->nest == NEST_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "pattern: more than %d parentheses deep", NEST_MAX);
    p->p++;
    if (at(p, '?')) {
        p->p++;
        if (at(p, '=') || at(p, '!'))
            return unsupported(p, "look-ahead");
        if (at(p, '<') && p->p + 1 < p->end && (p->p[1] == '=' || p->p[1] == '!'))
            return unsupported(p, "look-behind");
        if (at(p, '<')) {
            while (p->p < p->end && *p->p != '>')
                p->p++;
        } else if (!at(p, ':')) {
            return unsupported(p, "this kind of group");
        }
        if (p->p == p->end)
            return malformed(p, "a group is not closed");
        p->p++;
    }
    p->nest++;
    SG_TRY(alternation(p, f));
    p->nest--;
    if (!at(p, ')'))
        return malformed(p, "a group is not closed");
    p->p++;
    return SG_OK;
}

static sg_status atom(parser *p, fragment *f)
{
    size_t from = p->nr;
    uint32_t cp;
    switch (*p->p) {
    case '(': return group(p, f);
    case '.': p->p++; return any_fragment(p, false, f);
    case '^':
    case '$': {
        kind k = *p->p++ == '^' ? START : END;
        SG_TRY(add(p, (nstate){SPLIT, UINT32_MAX, UINT32_MAX, 0}, &f->out));
        return add(p, (nstate){k, f->out, UINT32_MAX, 0}, &f->in);
    }
    case '[': {
        p->p++;
        bool negated = at(p, '^');
        p->p += negated;
        SG_TRY(class_body(p));
        return set_fragment(p, from, negated, f);
    }
    case '*':
    case '+':
    case '?': return malformed(p, "a repetition of nothing");
    case '\\': {
        bool is = false;
        if (p->p + 1 < p->end)
            SG_TRY(add_shorthand(p, p->p[1], &is));
        if (is) {
            p->p += 2;
            return set_fragment(p, from, false, f);
        }
        p->p++;
        SG_TRY(escape(p, false, &cp));
        break;
    }
    default: {
        size_t used = sg_utf8_decode(p->p, (size_t)(p->end - p->p), &cp);
        if (!used)
            return malformed(p, "not UTF-8");
        p->p += used;
    }
    }
    SG_TRY(add_range(p, cp, cp));
    return set_fragment(p, from, false, f);
}

/* {m}, {m,} or {m,n}; *is is false when the brace is only a brace. */
static sg_status read_count(parser *p, int *min, int *max, bool *is)
{
    const char *s = p->p + 1;
    int v[2] = {0, -1};
    *is = false;
    for (int i = 0; i < 2; i++) {
        const char *digits = s;
        int x = 0;
        for (; s < p->end && *s >= '0' && *s <= '9'; s++)
            x = x > REPEAT_MAX ? x : x * 10 + (*s - '0');
        if (i == 0 && s == digits)
            return SG_OK;
        v[i] = s == digits ? -1 : x;
        if (i == 0 && s < p->end && *s == ',')
            s++;
        else if (i == 0) {
            v[1] = x;
            break;
        }
    }
    if (s == p->end || *s != '}')
        return SG_OK;
    if (v[0] > REPEAT_MAX || v[1] > REPEAT_MAX)
        return sg_fail(p->err, SG_E_LIMIT, "pattern: more than %d repetitions", REPEAT_MAX);
    if (v[1] >= 0 && v[1] < v[0])
        return malformed(p, "a repetition with its numbers out of order");
    p->p = s + 1;
    *min = v[0];
    *max = v[1];
    *is = true;
    return SG_OK;
}

static void join(parser *p, fragment *f, fragment next)
{
    p->s[f->out].a = next.in;
    f->out = next.out;
}

/* The item of text [from, to) once more. */
static sg_status again(parser *p, const char *from, const char *to, fragment *f)
{
    const char *here = p->p, *end = p->end;
    p->p = from;
    p->end = to;
    sg_status st = atom(p, f);
    p->p = here;
    p->end = end;
    return st;
}

/* x*: a SPLIT that enters x, which comes back to it. */
static sg_status star(parser *p, fragment item, fragment *f)
{
    uint32_t out = 0;
    SG_TRY(add(p, (nstate){SPLIT, UINT32_MAX, UINT32_MAX, 0}, &out));
    SG_TRY(add(p, (nstate){SPLIT, item.in, out, 0}, &f->in));
    p->s[item.out].a = f->in;
    f->out = out;
    return SG_OK;
}

static sg_status repeat(parser *p, const char *from, const char *to, fragment first, int min, int max, fragment *f)
{
    SG_TRY(empty(p, f));
    bool used = false; /* `first` */
    for (int i = 0; i < min; i++) {
        fragment item = first;
        if (used)
            SG_TRY(again(p, from, to, &item));
        used = true;
        join(p, f, item);
    }
    if (max < 0) {
        fragment item = first, loop = {0};
        if (used)
            SG_TRY(again(p, from, to, &item));
        SG_TRY(star(p, item, &loop));
        join(p, f, loop);
        return SG_OK;
    }
    uint32_t out = 0;
    SG_TRY(add(p, (nstate){SPLIT, UINT32_MAX, UINT32_MAX, 0}, &out));
    for (int i = min; i < max; i++) { /* each further one may be the end */
        fragment item = first;
        if (used)
            SG_TRY(again(p, from, to, &item));
        used = true;
        p->s[f->out].b = out;
        join(p, f, item);
    }
    p->s[f->out].a = out;
    f->out = out;
    return SG_OK;
}

static sg_status term(parser *p, fragment *f)
{
    const char *from = p->p;
    SG_TRY(atom(p, f));
    const char *to = p->p;
    int min = 1, max = 1;
    bool is = true;
    if (at(p, '{'))
        SG_TRY(read_count(p, &min, &max, &is));
    else if (at(p, '*') || at(p, '+') || at(p, '?')) {
        min = *p->p == '+';
        max = *p->p == '?' ? 1 : -1;
        p->p++;
    } else
        is = false;
    if (!is)
        return SG_OK;
    if (at(p, '?'))
        p->p++; /* lazy: finds the same texts */
    if (at(p, '*') || at(p, '+') || at(p, '?'))
        return malformed(p, "a repetition of a repetition");
    fragment once = *f;
    return repeat(p, from, to, once, min, max, f);
}

static sg_status sequence(parser *p, fragment *f)
{
    SG_TRY(empty(p, f));
    while (p->p < p->end && *p->p != '|' && *p->p != ')') {
        fragment next = {0};
        if (at(p, '{')) { /* a brace that repeats nothing is only a brace */
            int min, max;
            bool is;
            SG_TRY(read_count(p, &min, &max, &is));
            if (is)
                return malformed(p, "a repetition of nothing");
        }
        SG_TRY(term(p, &next));
        join(p, f, next);
    }
    return SG_OK;
}

static sg_status alternation(parser *p, fragment *f)
{
    SG_TRY(sequence(p, f));
    while (at(p, '|')) {
        fragment other = {0};
        uint32_t in = 0, out = 0;
        p->p++;
        SG_TRY(sequence(p, &other));
        SG_TRY(add(p, (nstate){SPLIT, f->in, other.in, 0}, &in));
        SG_TRY(add(p, (nstate){SPLIT, UINT32_MAX, UINT32_MAX, 0}, &out));
        p->s[f->out].a = p->s[other.out].a = out;
        *f = (fragment){in, out};
    }
    return SG_OK;
}

/* .* pattern .* */
static sg_status parse(parser *p, uint32_t *start)
{
    fragment any = {0}, before = {0}, body = {0}, behind = {0};
    uint32_t final = 0;
    SG_TRY(any_fragment(p, true, &any));
    SG_TRY(star(p, any, &before));
    SG_TRY(alternation(p, &body));
    if (p->p < p->end)
        return malformed(p, "a ')' without a '('");
    SG_TRY(any_fragment(p, true, &any));
    SG_TRY(star(p, any, &behind));
    SG_TRY(add(p, (nstate){FINAL, UINT32_MAX, UINT32_MAX, 0}, &final));
    join(p, &before, body);
    join(p, &before, behind);
    p->s[before.out].a = final;
    *start = before.in;
    return SG_OK;
}

/* ---- subsets ------------------------------------------------------------------------------ */

typedef struct subsets {
    const parser *p;
    size_t bytes;         /* of a key: one byte "nothing read yet", then bits */
    uint32_t *stack;      /* [nstate] */
    unsigned char *seen;  /* bits, of the closure being made */
    unsigned char *key;
    uint32_t *cut;        /* [2 * RANGES_MAX + 2] where sets begin or end */
    int64_t work;         /* steps left: a pattern made to be slow is refused */
    sg_error *err;
} subsets;

static bool has(const unsigned char *bits, uint32_t i) { return bits[i / 8] >> (i % 8) & 1; }

/* Everything that is reached from the states on the stack without reading: SET and END states go into `key`. */
static void close_over(subsets *x, size_t n, bool start, bool end, bool *final)
{
    const parser *p = x->p;
    memset(x->seen, 0, x->bytes);
    while (n) {
        uint32_t i = x->stack[--n];
        const nstate *s = &p->s[i];
        if (has(x->seen, i))
            continue;
        x->work--;
        x->seen[i / 8] |= (unsigned char)(1u << (i % 8));
        if (s->kind == FINAL)
            *final = true;
        if (s->kind == SET || (s->kind == END && !end)) {
            x->key[1 + i / 8] |= (unsigned char)(1u << (i % 8));
            continue;
        }
        if (s->kind == START && !start)
            continue;
        if (s->a != UINT32_MAX && !has(x->seen, s->a))
            x->stack[n++] = s->a;
        if (s->kind == SPLIT && s->b != UINT32_MAX && !has(x->seen, s->b))
            x->stack[n++] = s->b;
    }
    if (*final)
        x->key[1 + (p->n - 1) / 8] |= (unsigned char)(1u << ((p->n - 1) % 8)); /* FINAL is the last state */
}

/* Whether the state accepts: passing the ENDs in it. */
static bool accepts(subsets *x, const unsigned char *key)
{
    size_t n = 0;
    bool final = has(key + 1, (uint32_t)x->p->n - 1);
    for (uint32_t i = 0; i < x->p->n && !final; i++)
        if (has(key + 1, i) && x->p->s[i].kind == END)
            x->stack[n++] = i;
    if (n) {
        memset(x->key, 0, x->bytes);
        close_over(x, n, key[0], true, &final);
    }
    return final;
}

static sg_status edge_at(subsets *x, sg_explorer *e, const unsigned char *from, uint32_t low, uint32_t high)
{
    size_t n = 0;
    bool final = false;
    for (uint32_t i = 0; i < x->p->n; i++) {
        const nstate *s = &x->p->s[i];
        if (!has(from + 1, i) || s->kind != SET)
            continue;
        for (uint32_t k = x->p->set_first[s->set]; k < x->p->set_first[s->set + 1]; k++, x->work--)
            if (low >= x->p->r[k].low && low <= x->p->r[k].high) {
                x->stack[n++] = s->a;
                break;
            }
    }
    x->work -= (int64_t)x->p->n / 16 + 1;
    if (!n)
        return SG_OK;
    memset(x->key, 0, x->bytes);
    close_over(x, n, false, false, &final);
    return sg_explorer_edge(e, low, high, x->key);
}

static void sort_cuts(uint32_t *c, size_t *n)
{
    size_t out = 0;
    for (size_t gap = *n / 2 + 1; gap > 0; gap = gap == 1 ? 0 : gap / 2)
        for (size_t i = gap; i < *n; i++)
            for (size_t k = i; k >= gap && c[k] < c[k - gap]; k -= gap) {
                uint32_t t = c[k];
                c[k] = c[k - gap];
                c[k - gap] = t;
            }
    for (size_t i = 0; i < *n; i++)
        if (!out || c[i] != c[out - 1])
            c[out++] = c[i];
    *n = out;
}

static sg_status expand(void *arg, sg_explorer *e, const void *key)
{
    subsets *x = arg;
    const unsigned char *from = key;
    size_t n = 0;
    bool used[SETS_MAX] = {false};
    sg_explorer_accept(e, accepts(x, from));
    for (uint32_t i = 0; i < x->p->n; i++) {
        const nstate *s = &x->p->s[i];
        if (!has(from + 1, i) || s->kind != SET || used[s->set])
            continue;
        used[s->set] = true;
        for (uint32_t k = x->p->set_first[s->set]; k < x->p->set_first[s->set + 1]; k++) {
            x->cut[n++] = x->p->r[k].low;
            x->cut[n++] = x->p->r[k].high + 1;
        }
    }
    sort_cuts(x->cut, &n);
    for (size_t i = 0; i + 1 < n; i++)
        SG_TRY(edge_at(x, e, from, x->cut[i], x->cut[i + 1] - 1));
    return x->work > 0 ? SG_OK : sg_fail(x->err, SG_E_LIMIT, "pattern: its automaton is too large");
}

static sg_status determine(parser *p, uint32_t start, sg_dfa *d)
{
    enum { WORK = 200000000 };
    subsets x = {.p = p, .bytes = 1 + (p->n + 7) / 8, .work = WORK, .err = p->err};
    x.stack = sg_calloc(3 * p->n + 2, sizeof *x.stack);
    x.seen = sg_calloc(1, x.bytes);
    x.key = sg_calloc(1, x.bytes);
    x.cut = sg_calloc(2 * p->nr + 2, sizeof *x.cut);
    unsigned char *first = sg_calloc(1, x.bytes);
    sg_status st = SG_OK;
    if (!x.stack || !x.seen || !x.key || !x.cut || !first)
        st = sg_fail_nomem(p->err, "a pattern");
    if (st == SG_OK) {
        bool final = false;
        x.key[0] = 1;
        x.stack[0] = start;
        close_over(&x, 1, true, false, &final);
        memcpy(first, x.key, x.bytes);
        st = sg_dfa_explore(d, x.bytes, first, 4096, expand, &x, p->err);
    }
    sg_free(x.stack);
    sg_free(x.seen);
    sg_free(x.key);
    sg_free(x.cut);
    sg_free(first);
    return st;
}

sg_status sg_dfa_of_pattern(sg_dfa *d, const char *pattern, size_t n, sg_error *err)
{
    parser *p = sg_calloc(1, sizeof *p);
    if (!p)
        return sg_fail_nomem(err, "a pattern");
    p->p = pattern;
    p->end = pattern + n;
    p->err = err;
    p->s = sg_calloc(SG_NFA_STATES_MAX, sizeof *p->s);
    p->r = sg_calloc(RANGES_MAX, sizeof *p->r);
    uint32_t start = 0;
    sg_status st = p->s && p->r ? parse(p, &start) : sg_fail_nomem(err, "a pattern");
    if (st == SG_OK)
        st = determine(p, start, d);
    sg_free(p->s);
    sg_free(p->r);
    sg_free(p);
    return st;
}
