/* text/jinja_print.c - str(), repr() and JSON, as Python writes them.
 *
 * Two rules carry most of it: a string inside a container is quoted with ' unless it holds ' and no ",
 * and a float is printed with the fewest digits that identify it, in exponent form below 1e-4 and from
 * 1e16 on.  The shortest form is found by trying 1 to 17 digits; templates print few floats.
 */
#include "text/jinja_print.h"

#include "base/utf8.h"
#include "text/jinja_unicode.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static locale_t c_locale;
static void make_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

static locale_t plain_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    return c_locale;
}

double sg_jinja_strtod(const char *s, char **end)
{
    locale_t l = plain_locale();
    return l ? strtod_l(s, end, l) : strtod(s, end);
}

int sg_jinja_format_double(char *out, size_t cap, char conversion, int precision, double x)
{
    locale_t l = plain_locale(), old = l ? uselocale(l) : (locale_t)0;
    char format[] = {'%', '.', '*', conversion, '\0'};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int n = snprintf(out, cap, format, precision, x);
#pragma GCC diagnostic pop
    if (l)
        uselocale(old);
    return n;
}

void sg_jtext_double(sg_jinja_text *t, double x)
{
    if (!sg_jinja_charge(t->j, 100)) /* up to 17 tries, some microseconds */
        return;
    if (isnan(x) || isinf(x)) {
        sg_jinja_text_adds(t, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    char e[40];
    for (int digits = 1; digits <= 17; digits++) {
        sg_jinja_format_double(e, sizeof e, 'e', digits - 1, x);
        if (sg_jinja_strtod(e, NULL) == x)
            break;
    }
    char digit[24];
    int nd = 0, exponent = (int)strtol(strchr(e, 'e') + 1, NULL, 10);
    for (const char *p = e; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digit[nd++] = *p;
    while (nd > 1 && digit[nd - 1] == '0')
        nd--;
    if (signbit(x))
        sg_jinja_text_addc(t, '-');
    if (exponent < -4 || exponent >= 16) {
        sg_jinja_text_addc(t, digit[0]);
        if (nd > 1)
            sg_jinja_text_addc(t, '.');
        sg_jinja_text_add(t, digit + 1, (size_t)nd - 1);
        sg_jinja_text_addf(t, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        sg_jinja_text_adds(t, "0.");
        sg_jinja_text_pad(t, "0", 1, (uint64_t)(-exponent - 1));
        sg_jinja_text_add(t, digit, (size_t)nd);
        return;
    }
    for (int i = 0; i <= exponent; i++)
        sg_jinja_text_addc(t, i < nd ? digit[i] : '0');
    sg_jinja_text_addc(t, '.');
    if (nd > exponent + 1)
        sg_jinja_text_add(t, digit + exponent + 1, (size_t)(nd - exponent - 1));
    else
        sg_jinja_text_addc(t, '0');
}

/* ---- str and repr ---------------------------------------------------------------- */

static void quoted(sg_jinja_text *t, sg_jval v)
{
    char q = v.n && memchr(v.s, '\'', v.n) && !memchr(v.s, '"', v.n) ? '"' : '\'';
    sg_jinja_text_addc(t, q);
    for (size_t at = 0; at < v.n && sg_jinja_ok(t->j);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(v.s + at, v.n - at, &cp);
        used = used ? used : 1;
        if (cp == (uint32_t)q || cp == '\\')
            sg_jinja_text_addf(t, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            sg_jinja_text_adds(t, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        else if (sg_jchar_is_printable(cp))
            sg_jinja_text_add(t, v.s + at, used);
        else
            sg_jinja_text_addf(t, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
        at += used;
    }
    sg_jinja_text_addc(t, q);
}

static void repr_items(sg_jinja_text *t, sg_jlist l, const char *open, const char *close)
{
    sg_jinja_text_adds(t, open);
    for (uint32_t i = 0; i < l.n && sg_jinja_ok(t->j); i++) {
        if (i)
            sg_jinja_text_adds(t, ", ");
        sg_jtext_repr(t, l.items[i]);
    }
    sg_jinja_text_adds(t, close);
}

static void repr_dict(sg_jinja_text *t, const sg_jdict *d)
{
    sg_jinja_text_addc(t, '{');
    for (uint32_t i = 0; i < d->n && sg_jinja_ok(t->j); i++) {
        if (i)
            sg_jinja_text_adds(t, ", ");
        sg_jtext_repr(t, d->items[i].key);
        sg_jinja_text_adds(t, ": ");
        sg_jtext_repr(t, d->items[i].value);
    }
    sg_jinja_text_addc(t, '}');
}

static void repr_container(sg_jinja_text *t, sg_jval v)
{
    static const char *const views[] = {"dict_keys([", "dict_values([", "dict_items(["};
    switch (v.kind) {
    case SG_J_LIST:
        repr_items(t, *v.list, "[", "]");
        break;
    case SG_J_TUPLE:
        repr_items(t, *v.list, "(", v.list->n == 1 ? ",)" : ")");
        break;
    case SG_J_DICT:
        repr_dict(t, v.dict);
        break;
    case SG_J_SPACE:
        sg_jinja_text_adds(t, "<Namespace ");
        repr_dict(t, v.dict);
        sg_jinja_text_adds(t, ">");
        break;
    default:
        repr_items(t, sg_jval_items(t->j, v), views[v.mark], "])");
    }
}

static void repr_range(sg_jinja_text *t, const sg_jrange *r)
{
    sg_jinja_text_addf(t, "range(%lld, %lld", (long long)r->start, (long long)r->stop);
    if (r->step != 1)
        sg_jinja_text_addf(t, ", %lld", (long long)r->step);
    sg_jinja_text_addc(t, ')');
}

void sg_jtext_repr(sg_jinja_text *t, sg_jval v)
{
    if (!sg_jinja_charge(t->j, 1))
        return;
    switch (v.kind) {
    case SG_J_ABSENT:
    case SG_J_UNDEF:
        sg_jinja_text_adds(t, "Undefined");
        break;
    case SG_J_NONE:
        sg_jinja_text_adds(t, "None");
        break;
    case SG_J_BOOL:
        sg_jinja_text_adds(t, v.i ? "True" : "False");
        break;
    case SG_J_INT:
        sg_jinja_text_addf(t, "%lld", (long long)v.i);
        break;
    case SG_J_BIG:
        sg_jinja_text_add(t, v.s, v.n);
        break;
    case SG_J_FLOAT:
        sg_jtext_double(t, v.f);
        break;
    case SG_J_STR:
        quoted(t, v);
        break;
    case SG_J_LIST:
    case SG_J_TUPLE:
    case SG_J_DICT:
    case SG_J_SPACE:
    case SG_J_VIEW:
        if (sg_jinja_enter(t->j)) {
            repr_container(t, v);
            sg_jinja_leave(t->j);
        }
        break;
    case SG_J_RANGE:
        repr_range(t, v.range);
        break;
    case SG_J_SELF:
        sg_jinja_text_adds(t, "<TemplateReference None>");
        break;
    default:
        sg_jinja_text_addf(t, "<%s object>", sg_jval_type(v));
    }
}

void sg_jtext_str(sg_jinja_text *t, sg_jval v)
{
    if (v.kind == SG_J_STR)
        sg_jinja_text_add(t, v.s, v.n);
    else if (v.kind != SG_J_UNDEF && v.kind != SG_J_ABSENT)
        sg_jtext_repr(t, v);
}

sg_jval sg_jval_to_str(sg_jinja *j, sg_jval v)
{
    if (v.kind == SG_J_STR)
        return v;
    sg_jinja_text t = {.j = j};
    sg_jtext_str(&t, v);
    return sg_jval_text(&t);
}

void sg_jtext_escape(sg_jinja_text *t, sg_jval v)
{
    if (v.kind != SG_J_STR)
        v = sg_jval_to_str(t->j, v);
    else if (v.mark) {
        sg_jinja_text_add(t, v.s, v.n);
        return;
    }
    for (uint32_t i = 0; i < v.n && sg_jinja_ok(t->j); i++) {
        char c = v.s[i];
        const char *e = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '\'' ? "&#39;" : c == '"' ? "&#34;" : NULL;
        if (e)
            sg_jinja_text_adds(t, e);
        else
            sg_jinja_text_addc(t, c);
    }
}

/* ---- JSON ---------------------------------------------------------------------------- */

static void write_unit(sg_jinja_text *t, uint32_t unit) { sg_jinja_text_addf(t, "\\u%04x", unit); }

static void write_string(sg_jinja_text *t, sg_jval v, bool ascii)
{
    sg_jinja_text_addc(t, '"');
    for (size_t at = 0; at < v.n && sg_jinja_ok(t->j);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(v.s + at, v.n - at, &cp);
        used = used ? used : 1;
        const char *short_form = cp == '"' ? "\\\"" : cp == '\\' ? "\\\\" : cp == '\n' ? "\\n" : cp == '\r' ? "\\r"
                               : cp == '\t' ? "\\t" : cp == '\b' ? "\\b" : cp == '\f' ? "\\f" : NULL;
        if (short_form)
            sg_jinja_text_adds(t, short_form);
        else if (cp < 0x20)
            write_unit(t, cp);
        else if (cp < 0x7f || !ascii)
            sg_jinja_text_add(t, v.s + at, used);
        else if (cp < 0x10000)
            write_unit(t, cp);
        else {
            write_unit(t, 0xd800 + ((cp - 0x10000) >> 10));
            write_unit(t, 0xdc00 + ((cp - 0x10000) & 0x3ff));
        }
        at += used;
    }
    sg_jinja_text_addc(t, '"');
}

static void write_value(sg_jinja_text *t, sg_jval v, const sg_json_style *st, uint32_t level);

static void write_break(sg_jinja_text *t, const sg_json_style *st, uint32_t level)
{
    if (!st->pretty)
        return;
    sg_jinja_text_addc(t, '\n');
    sg_jinja_text_pad(t, st->indent.s, st->indent.n, level);
}

static void write_list(sg_jinja_text *t, const sg_jlist *l, const sg_json_style *st, uint32_t level)
{
    sg_jinja_text_addc(t, '[');
    for (uint32_t i = 0; i < l->n && sg_jinja_ok(t->j); i++) {
        if (i)
            sg_jinja_text_add(t, st->comma.s, st->comma.n);
        write_break(t, st, level + 1);
        write_value(t, l->items[i], st, level + 1);
    }
    if (l->n)
        write_break(t, st, level);
    sg_jinja_text_addc(t, ']');
}

/* Python makes keys of numbers, booleans and none into strings. */
static void write_key(sg_jinja_text *t, sg_jval k, const sg_json_style *st)
{
    if (k.kind == SG_J_STR) {
        write_string(t, k, st->ensure_ascii);
        return;
    }
    if (k.kind != SG_J_NONE && !sg_jval_numeric(k) && k.kind != SG_J_BIG) {
        sg_jinja_fail(t->j, SG_E_ARGUMENT, "tojson: a %s cannot be a key", sg_jval_type(k));
        return;
    }
    sg_jinja_text_addc(t, '"');
    write_value(t, k, st, 0);
    sg_jinja_text_addc(t, '"');
}

static void write_dict(sg_jinja_text *t, const sg_jdict *d, const sg_json_style *st, uint32_t level)
{
    sg_jpair *items = d->items;
    if (st->sort_keys && d->n > 1) {
        items = sg_jinja_array(t->j, d->n, sizeof *items);
        if (!items)
            return;
        memcpy(items, d->items, d->n * sizeof *items);
        for (uint32_t i = 1; i < d->n && sg_jinja_ok(t->j); i++) { /* insertion sort: few keys, steps are charged */
            sg_jpair p = items[i];
            uint32_t k = i;
            bool unordered = false;
            for (; k > 0 && sg_jinja_charge(t->j, 1) && sg_jval_compare(t->j, p.key, items[k - 1].key, "<", &unordered) < 0; k--)
                items[k] = items[k - 1];
            items[k] = p;
        }
    }
    sg_jinja_text_addc(t, '{');
    for (uint32_t i = 0; i < d->n && sg_jinja_ok(t->j); i++) {
        if (i)
            sg_jinja_text_add(t, st->comma.s, st->comma.n);
        write_break(t, st, level + 1);
        write_key(t, items[i].key, st);
        sg_jinja_text_add(t, st->colon.s, st->colon.n);
        write_value(t, items[i].value, st, level + 1);
    }
    if (d->n)
        write_break(t, st, level);
    sg_jinja_text_addc(t, '}');
}

static void write_value(sg_jinja_text *t, sg_jval v, const sg_json_style *st, uint32_t level)
{
    if (!sg_jinja_charge(t->j, 1))
        return;
    switch (v.kind) {
    case SG_J_NONE:
        sg_jinja_text_adds(t, "null");
        break;
    case SG_J_BOOL:
        sg_jinja_text_adds(t, v.i ? "true" : "false");
        break;
    case SG_J_INT:
    case SG_J_BIG:
        sg_jtext_repr(t, v);
        break;
    case SG_J_FLOAT:
        if (isfinite(v.f))
            sg_jtext_double(t, v.f);
        else
            sg_jinja_text_adds(t, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        break;
    case SG_J_STR:
        write_string(t, v, st->ensure_ascii);
        break;
    case SG_J_LIST:
    case SG_J_TUPLE:
    case SG_J_DICT:
        if (sg_jinja_enter(t->j)) {
            v.kind == SG_J_DICT ? write_dict(t, v.dict, st, level) : write_list(t, v.list, st, level);
            sg_jinja_leave(t->j);
        }
        break;
    default:
        sg_jinja_fail(t->j, SG_E_ARGUMENT, "tojson: a value of type %s cannot become JSON", sg_jval_type(v));
    }
}

void sg_jtext_json(sg_jinja_text *t, sg_jval v, const sg_json_style *style) { write_value(t, v, style, 0); }

static sg_jval copy_string(sg_jinja *j, const char *s, size_t n)
{
    char *p = sg_jinja_alloc(j, n);
    if (!p || !sg_jinja_charge(j, n / 64))
        return sg_jval_undef();
    memcpy(p, s, n);
    return sg_jval_str(p, n);
}

static sg_jval from_json_array(sg_jinja *j, const json_t *v)
{
    size_t n = json_array_size(v);
    sg_jval l = n < UINT32_MAX ? sg_jval_list(j, n) : sg_jval_undef();
    for (size_t i = 0; i < n && sg_jinja_ok(j); i++)
        sg_jlist_add(j, l.list, sg_jval_from_json(j, json_array_get(v, i)));
    return l;
}

static sg_jval from_json_object(sg_jinja *j, const json_t *v)
{
    sg_jval d = sg_jval_dict(j);
    const char *key;
    json_t *item, *object = (json_t *)(uintptr_t)v; /* jansson walks objects through a mutable pointer */
    json_object_foreach(object, key, item)
    {
        if (!sg_jinja_ok(j))
            break;
        sg_jval k = copy_string(j, key, strlen(key));
        sg_jdict_set(j, d.dict, k, sg_jval_from_json(j, item));
    }
    return d;
}

sg_jval sg_jval_from_json(sg_jinja *j, const json_t *v)
{
    sg_jval out = sg_jval_undef();
    if (!sg_jinja_charge(j, 1))
        return out;
    switch (json_typeof(v)) {
    case JSON_NULL:
        return sg_jval_none();
    case JSON_TRUE:
    case JSON_FALSE:
        return sg_jval_bool(json_is_true(v));
    case JSON_INTEGER:
        return sg_jval_int(json_integer_value(v));
    case JSON_REAL:
        return sg_jval_float(json_real_value(v));
    case JSON_STRING:
        return copy_string(j, json_string_value(v), json_string_length(v));
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (sg_jinja_enter(j)) {
            out = json_is_array(v) ? from_json_array(j, v) : from_json_object(j, v);
            sg_jinja_leave(j);
        }
    }
    return out;
}
