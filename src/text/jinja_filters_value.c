/* text/jinja_filters_value.c - filters over any value: default, length, numbers, JSON, HTML marks. */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

#include "base/json.h"

#include <math.h>

#define FILTER(name) static sg_jval name(sg_jinja *j, sg_jval v, const sg_jval *a, const sg_jargs *args)
#define UNUSED ((void)j, (void)v, (void)a, (void)args)

const sg_jfilter *sg_jfilter_find(sg_jval name)
{
    static const sg_jfilter *const tables[] = {sg_jfilters_value, sg_jfilters_text, sg_jfilters_list};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const sg_jfilter *f = tables[t]; f->name; f++)
            if (sg_jval_is_str(name, f->name))
                return f;
    return NULL;
}

FILTER(f_default)
{
    UNUSED;
    if (v.kind == SG_J_UNDEF || (sg_jarg_bool(a[1], false) && !sg_jval_truthy(v)))
        return a[0].kind == SG_J_ABSENT ? sg_jval_str("", 0) : a[0];
    return v;
}

FILTER(f_length)
{
    UNUSED;
    int64_t n = sg_jval_length(v);
    if (n < 0)
        sg_jinja_fail(j, SG_E_ARGUMENT, "a value of type %s has no length", sg_jval_type(v));
    sg_jinja_charge(j, v.kind == SG_J_STR ? v.n / 64 : 0);
    return sg_jval_int(n);
}

FILTER(f_string) { UNUSED; return sg_jval_to_str(j, v); }

/* ---- numbers -------------------------------------------------------------------- */

/* Text without white space around it and underscores in it, NUL-terminated; NULL when too long to be a number. */
static const char *number_text(sg_jinja *j, sg_jval v)
{
    sg_jval s = sg_jstr_strip(j, v, (sg_jval){0}, true, true);
    sg_jinja_text t = {.j = j};
    if (s.n > 400)
        return NULL;
    for (uint32_t i = 0; i < s.n; i++)
        if (s.s[i] != '_')
            sg_jinja_text_addc(&t, s.s[i]);
    sg_jinja_text_addc(&t, '\0');
    return sg_jinja_ok(j) ? t.s : NULL;
}

static bool parse_integer(const char *s, int base, int64_t *out)
{
    bool negative = *s == '-';
    s += *s == '-' || *s == '+';
    char mark = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
    if (mark && s[0] == '0' && (s[1] | 32) == mark)
        s += 2;
    if (!*s)
        return false;
    int64_t n = 0;
    for (; *s; s++) {
        int d = *s >= '0' && *s <= '9' ? *s - '0' : (*s | 32) >= 'a' && (*s | 32) <= 'z' ? (*s | 32) - 'a' + 10 : 99;
        if (d >= base || __builtin_mul_overflow(n, base, &n) ||
            (negative ? __builtin_sub_overflow(n, d, &n) : __builtin_add_overflow(n, d, &n)))
            return false;
    }
    *out = n;
    return true;
}

static bool parse_double(const char *s, double *out)
{
    char *end;
    if (!*s || strpbrk(s, "xXpP("))
        return false;
    *out = sg_jinja_strtod(s, &end);
    return !*end;
}

FILTER(f_int)
{
    UNUSED;
    sg_jval fallback = a[0].kind == SG_J_ABSENT ? sg_jval_int(0) : a[0];
    int64_t base = sg_jarg_int(j, a[1], 10), n;
    double x;
    if (sg_jval_integral(v))
        return sg_jval_int(v.i);
    if (v.kind == SG_J_BIG)
        return v;
    if (v.kind == SG_J_FLOAT)
        return fabs(v.f) < 0x1p63 ? sg_jval_int((int64_t)v.f) : fallback;
    if (v.kind != SG_J_STR || base < 2 || base > 36)
        return fallback;
    const char *s = number_text(j, v);
    if (s && parse_integer(s, (int)base, &n))
        return sg_jval_int(n);
    if (s && parse_double(s, &x) && fabs(x) < 0x1p63)
        return sg_jval_int((int64_t)x);
    return fallback;
}

FILTER(f_float)
{
    UNUSED;
    double x;
    if (sg_jval_numeric(v))
        return sg_jval_float(sg_jval_as_double(v));
    const char *s = v.kind == SG_J_STR ? number_text(j, v) : NULL;
    if (s && parse_double(s, &x))
        return sg_jval_float(x);
    return a[0].kind == SG_J_ABSENT ? sg_jval_float(0) : a[0];
}

FILTER(f_abs)
{
    UNUSED;
    if (v.kind == SG_J_FLOAT)
        return sg_jval_float(fabs(v.f));
    if (sg_jval_integral(v))
        return v.i < 0 ? sg_jinja_negate(j, v) : sg_jval_int(v.i);
    if (sg_jval_need_defined(j, v))
        sg_jinja_fail(j, SG_E_ARGUMENT, "abs needs a number, not %s", sg_jval_type(v));
    return v;
}

FILTER(f_round)
{
    UNUSED;
    int64_t digits = sg_jarg_int(j, a[0], 0);
    bool common = a[1].kind == SG_J_ABSENT || sg_jval_is_str(a[1], "common");
    bool up = sg_jval_is_str(a[1], "ceil"), down = sg_jval_is_str(a[1], "floor");
    if (!sg_jval_numeric(v) || !(common || up || down) || digits < -300 || digits > 300) {
        if (sg_jval_need_defined(j, v))
            sg_jinja_fail(j, SG_E_ARGUMENT, "round needs a number, a precision, and common, ceil or floor");
        return v;
    }
    if (common && sg_jval_integral(v))
        return digits >= 0 ? sg_jval_int(v.i)
                           : sg_jval_int((int64_t)(nearbyint((double)v.i * pow(10, (double)digits)) *
                                                   pow(10, (double)-digits)));
    double x = sg_jval_as_double(v), scale = pow(10, (double)digits);
    if (up || down)
        return sg_jval_float((up ? ceil(x * scale) : floor(x * scale)) / scale);
    if (digits < 0)
        return sg_jval_float(nearbyint(x * scale) / scale);
    /* The decimal digits of x decide, as in Python: printing rounds them correctly. */
    char out[720];
    if (!sg_jinja_charge(j, 200)) /* hundreds of digits take some microseconds */
        return v;
    sg_jinja_format_double(out, sizeof out, 'f', (int)digits, x);
    return sg_jval_float(sg_jinja_strtod(out, NULL));
}

FILTER(f_filesizeformat)
{
    UNUSED;
    static const char *const units[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
    bool binary = sg_jarg_bool(a[0], false);
    sg_jval number = f_float(j, v, a + 1, args);
    double x = number.kind == SG_J_FLOAT ? number.f : 0, base = binary ? 1024 : 1000;
    char out[64];
    sg_jinja_text t = {.j = j};
    if (x == 1) {
        sg_jinja_text_adds(&t, "1 Byte");
    } else if (!(x >= base)) {
        sg_jinja_text_addf(&t, "%lld Bytes", x >= 0 ? (long long)x : 0LL);
    } else {
        size_t i = 0;
        for (x /= base; x >= base && i < 7; i++)
            x /= base;
        sg_jinja_format_double(out, sizeof out, 'f', 1, x);
        sg_jinja_text_addf(&t, "%s %s%s", out, binary && i == 0 ? "K" : units[i], binary ? "iB" : "B");
    }
    return sg_jval_text(&t);
}

/* ---- JSON -------------------------------------------------------------------------- */

static bool separators(sg_jinja *j, sg_jval pair, sg_json_style *st)
{
    if (pair.kind == SG_J_ABSENT || pair.kind == SG_J_NONE)
        return true;
    if ((pair.kind != SG_J_TUPLE && pair.kind != SG_J_LIST) || pair.list->n != 2 || pair.list->items[0].kind != SG_J_STR ||
        pair.list->items[1].kind != SG_J_STR)
        return sg_jinja_fail(j, SG_E_ARGUMENT, "tojson: separators must be two strings");
    st->comma = pair.list->items[0];
    st->colon = pair.list->items[1];
    return true;
}

FILTER(f_tojson)
{
    UNUSED;
    sg_json_style st = {
        .ensure_ascii = sg_jarg_bool(a[0], false),
        .sort_keys = sg_jarg_bool(a[3], false),
        .pretty = a[1].kind != SG_J_ABSENT && a[1].kind != SG_J_NONE,
        .indent = sg_jval_str("", 0),
        .colon = sg_jval_str(": ", 2),
    };
    st.comma = st.pretty ? sg_jval_str(",", 1) : sg_jval_str(", ", 2);
    if (!separators(j, a[2], &st))
        return v;
    if (a[1].kind == SG_J_STR) {
        st.indent = a[1];
    } else if (st.pretty) {
        int64_t n = sg_jarg_int(j, a[1], 0);
        sg_jinja_text t = {.j = j};
        sg_jinja_text_pad(&t, " ", 1, n > 0 ? (uint64_t)n : 0);
        st.indent = sg_jval_text(&t);
    }
    sg_jinja_text t = {.j = j};
    sg_jtext_json(&t, v, &st);
    return sg_jval_text(&t);
}

FILTER(f_from_json)
{
    UNUSED;
    json_t *parsed;
    sg_error err;
    if (v.kind != SG_J_STR) {
        if (sg_jval_need_defined(j, v))
            sg_jinja_fail(j, SG_E_ARGUMENT, "from_json needs a string, not %s", sg_jval_type(v));
        return v;
    }
    if (!sg_jinja_charge(j, v.n))
        return v;
    if (v.n > j->bytes_max / 64) { /* the parsed form lives outside of the arena: a number a byte, at the worst */
        sg_jinja_fail(j, SG_E_LIMIT, "from_json: %u bytes are too many", v.n);
        return v;
    }
    sg_status st = sg_json_parse(&parsed, v.s, v.n, "from_json", &err);
    if (st != SG_OK) {
        sg_jinja_fail(j, st, "%s", err.text);
        return v;
    }
    sg_jval out = sg_jval_from_json(j, parsed);
    json_decref(parsed);
    return out;
}

/* ---- HTML, and the rest --------------------------------------------------------------- */

static sg_jval escaped(sg_jinja *j, sg_jval v)
{
    sg_jinja_text t = {.j = j};
    sg_jtext_escape(&t, v);
    sg_jval out = sg_jval_text(&t);
    out.mark = 1;
    return out;
}

FILTER(f_escape) { UNUSED; return escaped(j, v); }

FILTER(f_forceescape)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v);
    s.mark = 0;
    return escaped(j, s);
}

FILTER(f_safe)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v);
    s.mark = 1;
    return s;
}

FILTER(f_attr)
{
    UNUSED;
    if (!sg_jval_need_defined(j, v) || a[0].kind != SG_J_STR)
        return sg_jval_undef();
    /* Attributes only, no keys. */
    sg_jval probe = v.kind == SG_J_DICT ? sg_jval_dict(j) : v;
    sg_jval found = sg_jinja_attr(j, probe, a[0]);
    if (found.kind == SG_J_METHOD)
        found.method->self = v;
    return found;
}

FILTER(f_format)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v), values = sg_jval_list(j, args->npos);
    for (uint32_t i = 0; i < args->npos && sg_jinja_ok(j); i++)
        sg_jlist_add(j, values.list, args->pos[i]);
    if (!sg_jinja_ok(j))
        return v;
    values.kind = SG_J_TUPLE;
    if (args->nkw) {
        values = sg_jval_dict(j);
        for (uint32_t i = 0; i < args->nkw && sg_jinja_ok(j); i++)
            sg_jdict_set(j, values.dict, args->kw[i].name, args->kw[i].value);
    }
    return sg_jinja_ok(j) ? sg_jinja_printf(j, s, values) : v;
}

FILTER(f_pprint)
{
    UNUSED;
    sg_jinja_text t = {.j = j};
    sg_jtext_repr(&t, v);
    return sg_jval_text(&t);
}

FILTER(f_xmlattr)
{
    UNUSED;
    sg_jinja_text t = {.j = j};
    if (v.kind != SG_J_DICT) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "xmlattr needs a mapping");
        return v;
    }
    for (uint32_t i = 0; i < v.dict->n && sg_jinja_ok(j); i++) {
        sg_jpair p = v.dict->items[i];
        if (p.value.kind == SG_J_NONE || p.value.kind == SG_J_UNDEF)
            continue;
        sg_jval key = sg_jval_to_str(j, p.key);
        for (uint32_t k = 0; k < key.n; k++)
            if (strchr(" \t\n\f\r/>=", key.s[k]))
                sg_jinja_fail(j, SG_E_ARGUMENT, "xmlattr: a key that is no attribute name");
        if (t.n || sg_jarg_bool(a[0], true))
            sg_jinja_text_addc(&t, ' ');
        sg_jtext_escape(&t, key);
        sg_jinja_text_adds(&t, "=\"");
        sg_jtext_escape(&t, p.value);
        sg_jinja_text_addc(&t, '"');
    }
    return sg_jval_text(&t);
}

const sg_jfilter sg_jfilters_value[] = {
    {"default", f_default, "?default_value ?boolean"}, {"d", f_default, "?default_value ?boolean"},
    {"length", f_length, ""}, {"count", f_length, ""}, {"string", f_string, ""},
    {"int", f_int, "?default ?base"}, {"float", f_float, "?default"}, {"abs", f_abs, ""}, {"round", f_round, "?precision ?method"},
    {"filesizeformat", f_filesizeformat, "?binary"},
    {"tojson", f_tojson, "?ensure_ascii ?indent ?separators ?sort_keys"}, {"from_json", f_from_json, ""}, {"fromjson", f_from_json, ""},
    {"escape", f_escape, ""}, {"e", f_escape, ""}, {"forceescape", f_forceescape, ""}, {"safe", f_safe, ""},
    {"attr", f_attr, "name"}, {"format", f_format, "*"}, {"pprint", f_pprint, ""}, {"xmlattr", f_xmlattr, "?autospace"}, {0},
};
