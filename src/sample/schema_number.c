/* sample/schema_number.c - numbers between bounds, and multiples, as automata over their digits.
 *
 * A number is read from the left: sign, whole digits, point, digits of the fraction.  What has to be known at each place is
 * little: how many digits were read, how they compare with the same digits of each bound, and the remainder of what was
 * read so far.
 *
 *     minimum 12.5:   1 (=)  2 (=)  . 4 -> dead    13 (>)  free     100: three whole digits, more than two: (>)
 *
 * The magnitudes of each sign are a range of their own.  Bounds are decimal numbers as written in the schema (the
 * shortest that reads back as the same double), so 0.1 means 0.1.
 *
 * Numbers have at most DIGITS digits before and behind the point: a model that is stuck in digits gets out.  With bounds
 * (but for minimum 0) or multipleOf there is no exponent.  An integer may be written 1.0, as JSON Schema says.
 */
#include "sample/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 40, MULTIPLES_MAX = 4, PRODUCT_MAX = 1000000 };
#define NO_MULTIPLE UINT32_MAX /* a remainder that stays */

/* whole.fraction without leading and trailing zeros; "0" has one whole digit */
typedef struct decimal {
    bool negative, zero;
    int nwhole, nfraction;
    char whole[DIGITS], fraction[DIGITS];
} decimal;

typedef struct bound {
    bool is, exclusive;
    decimal d;
} bound;

typedef struct multiple {
    uint32_t p;  /* a multiple of p / 10^digits */
    int digits;
    bool not;
} multiple;

typedef struct numbers {
    bool integer;
    bound low, high;           /* of the value */
    multiple of[MULTIPLES_MAX];
    size_t nof;
    /* of the magnitudes of the sign at hand */
    bound least, most;
    bool exponent;
} numbers;

typedef enum phase { BEGIN, SIGN, ZERO, WHOLE, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS } phase;

/* How what was read compares: BELOW, EQUAL, ABOVE. */
enum { EQUAL, BELOW, ABOVE };

typedef struct key {
    uint8_t phase, n, low, high; /* n: digits read in this phase */
    uint32_t rest[MULTIPLES_MAX];
} key;

/* ---- reading bounds ------------------------------------------------------------------- */

/* The digits of |x|, by printing it as short as it reads back. */
static bool read_decimal(const json_t *v, decimal *d)
{
    char text[64] = "";
    double x = json_number_value(v);
    if (json_is_integer(v))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    for (int precision = 1; !json_is_integer(v) && precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, x);
        if (strtod(text, NULL) == x) /* NOLINT: exactly the same double is meant */
            break;
    }
    char digits[64];
    int n = 0, point = -1, exponent = 0;
    *d = (decimal){.negative = text[0] == '-'};
    for (const char *p = text + d->negative; *p; p++) {
        if (*p == 'e') {
            exponent = (int)strtol(p + 1, NULL, 10);
            break;
        }
        if (*p == '.')
            point = n;
        else
            digits[n++] = *p;
    }
    point = (point < 0 ? n : point) + exponent; /* digits before the point */
    for (int i = 0; i < point; i++) {
        char digit = i < n ? digits[i] : '0';
        if (digit == '0' && !d->nwhole)
            continue;
        if (d->nwhole == DIGITS)
            return false;
        d->whole[d->nwhole++] = digit;
    }
    while (n > 0 && digits[n - 1] == '0')
        n--;
    for (int i = point; i < n; i++) {
        if (d->nfraction == DIGITS)
            return false;
        d->fraction[d->nfraction++] = i >= 0 ? digits[i] : '0';
    }
    d->zero = !d->nwhole && !d->nfraction;
    if (!d->nwhole)
        d->whole[d->nwhole++] = '0';
    d->negative &= !d->zero;
    return true;
}

static int compare_magnitude(const decimal *a, const decimal *b)
{
    if (a->nwhole != b->nwhole)
        return a->nwhole < b->nwhole ? -1 : 1;
    int c = memcmp(a->whole, b->whole, (size_t)a->nwhole);
    for (int i = 0; c == 0 && i < (a->nfraction > b->nfraction ? a->nfraction : b->nfraction); i++)
        c = (i < a->nfraction ? a->fraction[i] : '0') - (i < b->nfraction ? b->fraction[i] : '0');
    return c < 0 ? -1 : c > 0;
}

static int compare(const decimal *a, const decimal *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int c = compare_magnitude(a, b);
    return a->negative ? -c : c;
}

/* Take the narrower of two bounds; sign 1: the larger is, -1: the smaller. */
static void narrow(bound *have, const bound *other, int sign)
{
    int c = have->is && other->is ? sign * compare(&other->d, &have->d) : 0;
    if (!have->is || c > 0)
        *have = other->is ? *other : *have;
    else if (c == 0 && other->is)
        have->exclusive |= other->exclusive;
}

static sg_status read_bound(sg_schema *c, const json_t *s, const char *inclusive, const char *exclusive, int sign, bound *out)
{
    const json_t *in = json_object_get(s, inclusive), *ex = json_object_get(s, exclusive);
    const json_t *both[2] = {in, json_is_number(ex) ? ex : NULL};
    for (int i = 0; i < 2; i++) {
        bound b = {.is = true, .exclusive = i == 1 || json_is_true(ex)}; /* draft 4: exclusiveMinimum true */
        if (!both[i])
            continue;
        if (!read_decimal(both[i], &b.d)) {
            double x = json_number_value(both[i]);
            if (fabs(x) > 1 && (sign > 0 ? x < 0 : x > 0))
                continue; /* further out than any number that is written here */
            return sg_schema_fail(c, s, SG_E_LIMIT, "'%s' has more than %d digits", i ? exclusive : inclusive, DIGITS);
        }
        narrow(out, &b, sign);
    }
    return SG_OK;
}

static sg_status read_multiple(sg_schema *c, const json_t *s, const char *keyword, bool not, numbers *x)
{
    const json_t *v = json_object_get(s, keyword);
    decimal d;
    uint64_t p = 0;
    if (!v)
        return SG_OK;
    if (!(json_number_value(v) > 0))
        return sg_schema_fail(c, s, SG_E_FORMAT, "'multipleOf' must be above 0");
    bool fits = read_decimal(v, &d) && d.nwhole <= 9 && d.nfraction <= 9;
    for (int i = 0; fits && i < d.nwhole; i++)
        p = p * 10 + (uint64_t)(d.whole[i] - '0');
    for (int i = 0; fits && i < d.nfraction; i++)
        p = p * 10 + (uint64_t)(d.fraction[i] - '0');
    if (!fits || p > PRODUCT_MAX || x->nof == MULTIPLES_MAX)
        return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "this 'multipleOf' is not supported");
    x->of[x->nof++] = (multiple){(uint32_t)p, d.nfraction, not};
    return SG_OK;
}

/* ---- the automaton ------------------------------------------------------------------------- */

/* How the whole part, now ended, compares with a bound's. */
static unsigned whole_against(const bound *b, int n, unsigned so_far)
{
    if (!b->is)
        return EQUAL;
    return n < b->d.nwhole ? BELOW : n > b->d.nwhole ? ABOVE : so_far;
}

static unsigned next_whole(const bound *b, unsigned so_far, int n, char digit)
{
    if (!b->is)
        return EQUAL;
    if (n >= b->d.nwhole)
        return ABOVE;
    return so_far != EQUAL || digit == b->d.whole[n] ? so_far : digit < b->d.whole[n] ? BELOW : ABOVE;
}

static unsigned next_fraction(const bound *b, unsigned so_far, int n, char digit)
{
    char want = b->is && n < b->d.nfraction ? b->d.fraction[n] : '0';
    return !b->is || so_far != EQUAL || digit == want ? so_far : digit < want ? BELOW : ABOVE;
}

/* May the number end here?  `low` and `high` are against the whole part and n digits of the fraction. */
static bool inside(const numbers *x, unsigned low, unsigned high, int n)
{
    if (x->least.is) {
        if (low == EQUAL && n < x->least.d.nfraction)
            low = BELOW;
        if (low == BELOW || (low == EQUAL && x->least.exclusive))
            return false;
    }
    if (x->most.is) {
        if (high == EQUAL && n < x->most.d.nfraction)
            high = BELOW;
        if (high == ABOVE || (high == EQUAL && x->most.exclusive))
            return false;
    }
    return true;
}

static bool is_multiple(const numbers *x, const key *k, int n)
{
    for (size_t i = 0; i < x->nof; i++) {
        uint64_t r = k->rest[i];
        for (int d = n; d < x->of[i].digits && r != NO_MULTIPLE; d++)
            r = r * 10 % x->of[i].p;
        if ((r == 0) == x->of[i].not)
            return false;
    }
    return true;
}

static bool settle_whole(const numbers *x, const key *k, unsigned *low, unsigned *high)
{
    *low = whole_against(&x->least, k->n, k->low);
    *high = whole_against(&x->most, k->n, k->high);
    return !(x->least.is && *low == BELOW) && !(x->most.is && *high == ABOVE);
}

static sg_status digit_edges(const numbers *x, sg_explorer *e, const key *k, int from, int to, phase next)
{
    for (int d = from; d <= to; d++) {
        key n = *k;
        char digit = (char)('0' + d);
        n.phase = (uint8_t)next;
        if (next == FRACTION) {
            int place = k->phase == FRACTION ? k->n : 0;
            n.low = (uint8_t)next_fraction(&x->least, k->low, place, digit);
            n.high = (uint8_t)next_fraction(&x->most, k->high, place, digit);
            n.n = (uint8_t)(place + 1);
            if ((x->least.is && n.low == BELOW) || (x->most.is && n.high == ABOVE))
                continue;
        } else {
            int place = k->phase == WHOLE ? k->n : 0;
            n.low = (uint8_t)next_whole(&x->least, k->low, place, digit);
            n.high = (uint8_t)next_whole(&x->most, k->high, place, digit);
            n.n = (uint8_t)(place + 1);
        }
        bool dead = false;
        for (size_t i = 0; i < x->nof; i++) {
            if (next == FRACTION && n.n > x->of[i].digits) { /* behind its last place only zeros keep it a multiple */
                dead |= d != 0 && !x->of[i].not;
                n.rest[i] = d ? NO_MULTIPLE : k->rest[i];
            } else
                n.rest[i] = (uint32_t)(((uint64_t)k->rest[i] * 10 + (uint64_t)d) % x->of[i].p);
        }
        if (!dead)
            SG_TRY(sg_explorer_edge(e, (unsigned char)digit, (unsigned char)digit, &n));
    }
    return SG_OK;
}

static sg_status exponent_edge(sg_explorer *e)
{
    key n = {.phase = EXPONENT};
    SG_TRY(sg_explorer_edge(e, 'E', 'E', &n));
    return sg_explorer_edge(e, 'e', 'e', &n);
}

/* Behind a whole number: its end, a point, an exponent. */
static sg_status behind_whole(const numbers *x, sg_explorer *e, const key *k)
{
    key n = *k;
    unsigned low, high;
    if (!settle_whole(x, k, &low, &high))
        return SG_OK;
    bool ends = inside(x, low, high, 0) && is_multiple(x, k, 0);
    sg_explorer_accept(e, ends);
    if (x->exponent)
        SG_TRY(exponent_edge(e));
    if (x->integer && !ends)
        return SG_OK;
    n.phase = POINT;
    n.n = 0;
    n.low = (uint8_t)low;
    n.high = (uint8_t)high;
    return sg_explorer_edge(e, '.', '.', &n);
}

static sg_status expand(void *arg, sg_explorer *e, const void *from)
{
    const numbers *x = arg;
    key k;
    memcpy(&k, from, sizeof k);
    switch ((phase)k.phase) {
    case BEGIN:
    case SIGN:
        SG_TRY(digit_edges(x, e, &k, 0, 0, ZERO));
        return digit_edges(x, e, &k, 1, 9, WHOLE);
    case ZERO:
        return behind_whole(x, e, &k);
    case WHOLE:
        SG_TRY(behind_whole(x, e, &k));
        return k.n < DIGITS ? digit_edges(x, e, &k, 0, 9, WHOLE) : SG_OK;
    case POINT:
        return digit_edges(x, e, &k, 0, x->integer ? 0 : 9, FRACTION);
    case FRACTION:
        sg_explorer_accept(e, inside(x, k.low, k.high, k.n) && is_multiple(x, &k, k.n));
        if (x->exponent)
            SG_TRY(exponent_edge(e));
        return k.n < DIGITS && !x->integer ? digit_edges(x, e, &k, 0, 9, FRACTION) : SG_OK;
    case EXPONENT: {
        key n = {.phase = EXPONENT_SIGN};
        SG_TRY(sg_explorer_edge(e, '+', '+', &n));
        SG_TRY(sg_explorer_edge(e, '-', '-', &n));
        n = (key){.phase = EXPONENT_DIGITS, .n = 1};
        return sg_explorer_edge(e, '0', '9', &n);
    }
    case EXPONENT_SIGN: {
        key n = {.phase = EXPONENT_DIGITS, .n = 1};
        return sg_explorer_edge(e, '0', '9', &n);
    }
    case EXPONENT_DIGITS: {
        key n = {.phase = EXPONENT_DIGITS, .n = (uint8_t)(k.n + 1)};
        sg_explorer_accept(e, 1);
        return k.n < 3 ? sg_explorer_edge(e, '0', '9', &n) : SG_OK;
    }
    }
    return SG_OK;
}

/* A rule for each state. */
static sg_status to_rules(sg_schema *c, const sg_dfa *d, uint32_t *start)
{
    uint32_t r;
    for (size_t i = 0; i < d->n; i++) {
        SG_TRY(sg_grammar_add_rule(c->g, &r, c->err));
        *start = i ? *start : r;
    }
    for (size_t i = 0; i < d->n; i++) {
        for (uint32_t k = d->first[i]; k < d->first[i + 1]; k++) {
            sg_symbol s[2] = {{SG_SYMBOL_BYTES, (uint8_t)d->edge[k].low, (uint8_t)d->edge[k].high, 0},
                              sg_symbol_rule(*start + d->edge[k].to)};
            SG_TRY(sg_grammar_add_alternative(c->g, *start + (uint32_t)i, s, 2, c->err));
        }
        if (d->accept[i])
            SG_TRY(sg_schema_rule(c, *start + (uint32_t)i, "", NULL));
    }
    return SG_OK;
}

/* The numbers of one sign: an alternative of `rule`. */
static sg_status one_sign(sg_schema *c, numbers *x, bool negative, uint32_t rule)
{
    const bound *low = &x->low, *high = &x->high;
    x->least = x->most = (bound){0};
    if (negative) { /* -m: m from -high to -low */
        if (low->is && !low->d.negative)
            return SG_OK; /* -0 needs no second spelling */
        x->least = high->is && high->d.negative ? *high : (bound){0};
        x->most = low->is ? *low : (bound){0};
        if (high->is && high->d.zero)
            x->least = *high;
    } else {
        if (high->is && (high->d.negative || (high->d.zero && high->exclusive)))
            return SG_OK;
        x->least = low->is && !low->d.negative ? *low : (bound){0};
        x->most = *high;
    }
    if (x->least.is && x->least.d.zero && !x->least.exclusive)
        x->least.is = false; /* all magnitudes are */
    x->exponent = !x->integer && !x->nof && !x->least.is && !x->most.is;
    key start = {.phase = BEGIN};
    sg_dfa d;
    uint32_t first = SG_NONE;
    sg_status st = sg_dfa_explore(&d, sizeof start, &start, SG_DFA_STATES_MAX, expand, x, c->err);
    if (st != SG_OK)
        return sg_schema_fail_at(c, NULL, st);
    st = to_rules(c, &d, &first);
    sg_dfa_fini(&d);
    return st == SG_OK ? sg_schema_rule(c, rule, negative ? "-%" : "%", &first) : st;
}

sg_status sg_schema_number(sg_schema *c, const sg_schema_set *set, bool integer, uint32_t rule)
{
    numbers x = {.integer = integer};
    for (size_t i = 0; i < set->n; i++) {
        SG_TRY(read_bound(c, set->s[i], "minimum", "exclusiveMinimum", 1, &x.low));
        SG_TRY(read_bound(c, set->s[i], "maximum", "exclusiveMaximum", -1, &x.high));
        SG_TRY(read_multiple(c, set->s[i], "multipleOf", false, &x));
        SG_TRY(read_multiple(c, set->s[i], SG_KEY_NOT_MULTIPLE, true, &x));
    }
    bool plain = !x.low.is && !x.high.is && !x.nof;
    uint32_t *shared = integer ? &c->integer : &c->number, all;
    if (plain && *shared != SG_NONE)
        return sg_schema_rule(c, rule, "%", shared);
    SG_TRY(sg_grammar_add_rule(c->g, &all, c->err));
    SG_TRY(one_sign(c, &x, false, all));
    SG_TRY(one_sign(c, &x, true, all));
    if (plain)
        *shared = all;
    return sg_schema_rule(c, rule, "%", &all);
}
