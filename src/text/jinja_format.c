/* text/jinja_format.c - '...' % values and '...'.format(values).
 *
 * Both end in the same place: a value, turned into digits or text, put into a field of some width.
 *
 *     % [-+ #0] [width] [.precision] conversion          {[name] ! : [[fill]align][sign][#][0][width][,][.precision][type]}
 *
 * Widths and precisions come from the template, so they pass through the arena's cap like all output;
 * for floats a precision is at most 100.
 */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"

#include <math.h>
#include <stdio.h>

typedef struct field {
    const char *fill;
    size_t nfill;
    char align; /* '<' '>' '^' '=' or 0: the type's own */
    char sign;  /* '+' ' ' or 0 */
    bool alternate, zero, comma;
    int64_t width, precision; /* precision -1: none */
    char type;
} field;

enum { FLOAT_PRECISION = 100 };

/* Digits as a number at *p; too many are a failure. */
static bool number(sg_jinja *j, const char **p, const char *end, int64_t *out)
{
    int64_t v = 0;
    while (*p < end && **p >= '0' && **p <= '9') {
        v = v * 10 + (*(*p)++ - '0');
        if (v > INT32_MAX)
            return sg_jinja_fail(j, SG_E_LIMIT, "a width or precision beyond 2147483647");
    }
    *out = v;
    return true;
}

/* Write sign + body into a field. */
static void place(sg_jinja_text *t, const field *f, const char *sign, const char *body, size_t n, char own_align)
{
    char align = f->align ? f->align : f->zero ? '=' : own_align;
    const char *fill = f->nfill ? f->fill : f->zero ? "0" : " ";
    size_t nfill = f->nfill ? f->nfill : 1;
    int64_t used = (int64_t)(sg_jstr_length(body, n) + strlen(sign)), room = f->width > used ? f->width - used : 0;
    int64_t before = align == '>' ? room : align == '^' ? room / 2 : 0;
    sg_jinja_text_pad(t, fill, nfill, (uint64_t)before);
    sg_jinja_text_adds(t, sign);
    if (align == '=')
        sg_jinja_text_pad(t, fill, nfill, (uint64_t)room);
    sg_jinja_text_add(t, body, n);
    if (align == '<' || align == '^')
        sg_jinja_text_pad(t, fill, nfill, (uint64_t)(room - before));
}

static void put_string(sg_jinja_text *t, const field *f, sg_jval v)
{
    size_t n = v.n;
    if (f->precision >= 0)
        n = sg_jstr_offset(v.s, v.n, (size_t)f->precision);
    place(t, f, "", v.s, n, '<');
}

static const char *sign_text(const field *f, bool negative) { return negative ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : ""; }

/* Commas between groups of three, before any '.'. */
static void put_digits(sg_jinja_text *t, const field *f, const char *sign, const char *digits)
{
    size_t n = strlen(digits), whole = strspn(digits, "0123456789");
    if (!f->comma || whole <= 3) {
        place(t, f, sign, digits, n, '>');
        return;
    }
    sg_jinja_text grouped = {.j = t->j};
    for (size_t i = 0; i < n; i++) {
        if (i && i < whole && (whole - i) % 3 == 0)
            sg_jinja_text_addc(&grouped, ',');
        sg_jinja_text_addc(&grouped, digits[i]);
    }
    if (sg_jinja_ok(t->j))
        place(t, f, sign, grouped.s, grouped.n, '>');
}

static void put_integer(sg_jinja_text *t, const field *f, int64_t v)
{
    char digits[72], sign[8], *p = digits + sizeof digits - 1;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    unsigned base = f->type == 'x' || f->type == 'X' ? 16 : f->type == 'o' ? 8 : f->type == 'b' ? 2 : 10;
    const char *set = f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    *p = '\0';
    do {
        *--p = set[u % base];
        u /= base;
    } while (u);
    char prefix[] = {'0', f->type, '\0'};
    snprintf(sign, sizeof sign, "%s%s", sign_text(f, v < 0), f->alternate && base != 10 ? prefix : "");
    sg_jinja_text precise = {.j = t->j};
    int64_t n = digits + sizeof digits - 1 - p;
    if (f->precision > n) {
        sg_jinja_text_pad(&precise, "0", 1, (uint64_t)(f->precision - n));
        sg_jinja_text_adds(&precise, p);
        if (sg_jinja_ok(t->j))
            place(t, f, sign, precise.s, precise.n, '>');
        return;
    }
    put_digits(t, f, sign, p);
}

static void put_float(sg_jinja_text *t, const field *f, double x)
{
    char out[480];
    char type = f->type == '%' ? 'f' : f->type ? f->type : 'g';
    if (!sg_jinja_charge(t->j, 100))
        return;
    if (f->type == '%')
        x *= 100;
    if (f->precision > FLOAT_PRECISION) {
        sg_jinja_fail(t->j, SG_E_LIMIT, "a precision of more than %d digits", FLOAT_PRECISION);
        return;
    }
    int n = sg_jinja_format_double(out, sizeof out - 1, type, f->precision < 0 ? 6 : (int)f->precision, fabs(x));
    if (f->type == '%' && n >= 0 && (size_t)n < sizeof out - 1)
        memcpy(out + n, "%", 2);
    field plain = *f;
    plain.zero = f->zero && isfinite(x);
    put_digits(t, &plain, sign_text(f, signbit(x) && !isnan(x)), out);
}

static bool to_int(sg_jinja *j, sg_jval v, int64_t *out)
{
    if (sg_jval_integral(v)) {
        *out = v.i;
        return true;
    }
    if (v.kind == SG_J_FLOAT && fabs(v.f) < 0x1p62) {
        *out = (int64_t)v.f;
        return true;
    }
    sg_jval_need_defined(j, v);
    return sg_jinja_fail(j, SG_E_ARGUMENT, "a number is needed by this format, not %s", sg_jval_type(v));
}

/* ---- % ---------------------------------------------------------------------------------- */

static void convert(sg_jinja_text *t, const field *f, sg_jval v, bool html)
{
    sg_jinja *j = t->j;
    int64_t i = 0;
    sg_jinja_text inner = {.j = j};
    switch (f->type) {
    case 's':
        html ? sg_jtext_escape(&inner, v) : sg_jtext_str(&inner, v);
        put_string(t, f, sg_jval_text(&inner));
        return;
    case 'r':
    case 'a':
        sg_jtext_repr(&inner, v);
        put_string(t, f, sg_jval_text(&inner));
        return;
    case 'c':
        if (v.kind == SG_J_STR) {
            put_string(t, f, v);
        } else if (to_int(j, v, &i)) {
            sg_jinja_text_cp(&inner, i >= 0 && i < 0x110000 ? (uint32_t)i : 0xfffd);
            put_string(t, f, sg_jval_text(&inner));
        }
        return;
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        if (to_int(j, v, &i))
            put_integer(t, f, i);
        return;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (sg_jval_numeric(v))
            put_float(t, f, sg_jval_as_double(v));
        else
            to_int(j, v, &i);
        return;
    default:
        sg_jinja_fail(j, SG_E_ARGUMENT, "unsupported format character '%c'", f->type >= ' ' && f->type < 127 ? f->type : '?');
    }
}

typedef struct values {
    sg_jval all;
    uint32_t next;
    bool by_name;
} values;

static sg_jval take(sg_jinja *j, values *v)
{
    if (v->all.kind == SG_J_TUPLE ? v->next < v->all.list->n : v->next == 0) {
        v->next++;
        return v->all.kind == SG_J_TUPLE ? v->all.list->items[v->next - 1] : v->all;
    }
    sg_jinja_fail(j, SG_E_ARGUMENT, "not enough arguments for format string");
    return sg_jval_undef();
}

/* A width or precision: digits, or * for the next argument. */
static bool star_number(sg_jinja *j, const char **p, const char *end, values *v, int64_t *out)
{
    if (*p == end || **p != '*')
        return number(j, p, end, out);
    ++*p;
    *out = sg_jarg_int(j, take(j, v), 0);
    if (*out > INT32_MAX || *out < -INT32_MAX)
        return sg_jinja_fail(j, SG_E_LIMIT, "a width or precision beyond 2147483647");
    return sg_jinja_ok(j);
}

static const char *printf_flags(field *f, const char *p, const char *end)
{
    for (; p < end && strchr("-+ #0", *p) && *p; p++) {
        if (*p == '-')
            f->align = '<';
        else if (*p == '0')
            f->zero = true;
        else if (*p == '#')
            f->alternate = true;
        else if (f->sign != '+')
            f->sign = *p;
    }
    return p;
}

/* (name): the value of that key. */
static bool mapped(sg_jinja *j, const char **p, const char *end, values *v, sg_jval *out)
{
    const char *close = memchr(*p, ')', (size_t)(end - *p));
    if (!close || v->all.kind != SG_J_DICT)
        return sg_jinja_fail(j, SG_E_ARGUMENT, "format requires a mapping");
    const sg_jval *found = sg_jdict_get(j, v->all.dict, sg_jval_str(*p + 1, (size_t)(close - *p - 1)));
    if (!found)
        return sg_jinja_fail(j, SG_E_ARGUMENT, "format: no such key");
    *out = *found;
    *p = close + 1;
    v->by_name = true;
    return true;
}

/* One conversion behind a %; gives the place behind it. */
static const char *conversion(sg_jinja_text *t, const char *p, const char *end, values *v, bool html)
{
    sg_jinja *j = t->j;
    field f = {.precision = -1};
    sg_jval value = {0};
    if (p < end && *p == '(' && !mapped(j, &p, end, v, &value))
        return end;
    p = printf_flags(&f, p, end);
    if (!star_number(j, &p, end, v, &f.width))
        return end;
    if (f.width < 0) {
        f.align = '<';
        f.width = -f.width;
    }
    if (p < end && *p == '.') {
        p++;
        if (!star_number(j, &p, end, v, &f.precision))
            return end;
    }
    while (p < end && (*p == 'l' || *p == 'h' || *p == 'L'))
        p++;
    if (p == end) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "incomplete format");
        return end;
    }
    f.type = *p++;
    if (f.type == '%') {
        sg_jinja_text_addc(t, '%');
        return p;
    }
    if (f.align == '<')
        f.zero = false;
    else if (strchr("srac", f.type))
        f.align = '>', f.zero = false;
    if (value.kind == SG_J_ABSENT)
        value = take(j, v);
    if (sg_jinja_ok(j))
        convert(t, &f, value, html);
    return p;
}

sg_jval sg_jinja_printf(sg_jinja *j, sg_jval format, sg_jval arguments)
{
    sg_jinja_text t = {.j = j};
    values v = {.all = arguments};
    const char *p = format.s, *end = p + format.n;
    while (p < end && sg_jinja_charge(j, 1)) {
        const char *percent = memchr(p, '%', (size_t)(end - p));
        sg_jinja_text_add(&t, p, (size_t)((percent ? percent : end) - p));
        p = percent ? conversion(&t, percent + 1, end, &v, format.mark) : end;
    }
    bool left = arguments.kind == SG_J_TUPLE ? v.next < arguments.list->n : v.next == 0 && arguments.kind != SG_J_DICT;
    if (left && !v.by_name)
        sg_jinja_fail(j, SG_E_ARGUMENT, "not all arguments converted during string formatting");
    sg_jval out = sg_jval_text(&t);
    out.mark = format.mark;
    return out;
}

/* ---- format() ------------------------------------------------------------------------------- */

static bool parse_spec(sg_jinja *j, field *f, const char *p, const char *end)
{
    size_t one = p < end ? sg_jstr_offset(p, (size_t)(end - p), 1) : 0;
    if (p + one < end && strchr("<>=^", p[one]) && p[one]) {
        f->fill = p;
        f->nfill = one;
        f->align = p[one];
        p += one + 1;
    } else if (p < end && strchr("<>=^", *p) && *p) {
        f->align = *p++;
    }
    if (p < end && (*p == '+' || *p == '-' || *p == ' ')) {
        f->sign = *p == '-' ? '\0' : *p;
        p++;
    }
    if (p < end && *p == '#') {
        f->alternate = true;
        p++;
    }
    if (p < end && *p == '0') {
        f->zero = true;
        p++;
    }
    if (!number(j, &p, end, &f->width))
        return false;
    if (p < end && *p == ',') {
        f->comma = true;
        p++;
    }
    if (p < end && *p == '.') {
        p++;
        if (!number(j, &p, end, &f->precision))
            return false;
    }
    if (p < end)
        f->type = *p++;
    return p == end || sg_jinja_fail(j, SG_E_ARGUMENT, "bad format specifier");
}

static void put_by_spec(sg_jinja_text *t, sg_jval v, const char *spec, size_t n)
{
    sg_jinja *j = t->j;
    field f = {.precision = -1};
    if (!parse_spec(j, &f, spec, spec + n))
        return;
    bool plain = f.type == '\0' && !(sg_jval_integral(v) && n) && !(v.kind == SG_J_FLOAT && (f.precision >= 0 || f.comma));
    if (f.type == 's' || plain) {
        sg_jval s = sg_jval_to_str(j, v);
        if (sg_jval_numeric(v) && !f.align)
            f.align = '>';
        if (sg_jinja_ok(j))
            put_string(t, &f, s);
        return;
    }
    int64_t i = 0;
    bool integer_type = f.type == '\0' ? sg_jval_integral(v) : strchr("dxXob", f.type) != NULL;
    if (v.kind == SG_J_STR || !(sg_jval_integral(v) || (v.kind == SG_J_FLOAT && !integer_type)))
        sg_jinja_fail(j, SG_E_ARGUMENT, "this format does not fit a %s", sg_jval_type(v));
    else if (integer_type && to_int(j, v, &i))
        put_integer(t, &f, i);
    else if (f.type == '\0' || strchr("eEfFgG%", f.type))
        put_float(t, &f, sg_jval_as_double(v));
    else
        sg_jinja_fail(j, SG_E_ARGUMENT, "unknown format code");
}

/* The argument that {NAME...} means, with .attribute and [item] steps. */
static sg_jval replacement(sg_jinja *j, const char *p, const char *end, const sg_jargs *args, uint32_t *automatic)
{
    size_t n = 0;
    while (p + n < end && p[n] != '.' && p[n] != '[')
        n++;
    sg_jval v = {0};
    if (n == 0 || (*p >= '0' && *p <= '9')) {
        int64_t at = 0;
        if (n == 0)
            at = (*automatic)++;
        else if (!number(j, &p, end, &at))
            return sg_jval_undef();
        if (n && *automatic) {
            sg_jinja_fail(j, SG_E_ARGUMENT, "cannot switch from automatic field numbering to manual");
            return sg_jval_undef();
        }
        if (at < args->npos)
            v = args->pos[at];
    } else {
        for (uint32_t i = 0; i < args->nkw; i++)
            if (args->kw[i].name.n == n && memcmp(args->kw[i].name.s, p, n) == 0)
                v = args->kw[i].value;
        p += n;
    }
    if (v.kind == SG_J_ABSENT || p != end) { /* steps into the argument are refused like other private matters */
        sg_jinja_fail(j, SG_E_ARGUMENT, "format: no argument for a field, or a field that looks into one");
        return sg_jval_undef();
    }
    return v;
}

static const char *replace_field(sg_jinja_text *t, const char *p, const char *end, const sg_jargs *args, uint32_t *automatic)
{
    const char *close = memchr(p, '}', (size_t)(end - p));
    if (!close) {
        sg_jinja_fail(t->j, SG_E_ARGUMENT, "expected '}' before end of string");
        return end;
    }
    const char *colon = memchr(p, ':', (size_t)(close - p));
    const char *bang = memchr(p, '!', (size_t)((colon ? colon : close) - p));
    sg_jval v = replacement(t->j, p, bang ? bang : colon ? colon : close, args, automatic);
    if (!sg_jinja_ok(t->j))
        return end;
    if (bang) {
        sg_jinja_text inner = {.j = t->j};
        bang[1] == 's' ? sg_jtext_str(&inner, v) : sg_jtext_repr(&inner, v);
        v = sg_jval_text(&inner);
    }
    put_by_spec(t, v, colon ? colon + 1 : close, colon ? (size_t)(close - colon - 1) : 0);
    return close + 1;
}

sg_jval sg_jinja_str_format(sg_jinja *j, sg_jval format, const sg_jargs *args)
{
    sg_jinja_text t = {.j = j};
    uint32_t automatic = 0;
    const char *p = format.s, *end = p + format.n;
    while (p < end && sg_jinja_charge(j, 1)) {
        if ((*p == '{' || *p == '}') && p + 1 < end && p[1] == *p) {
            sg_jinja_text_addc(&t, *p);
            p += 2;
        } else if (*p == '{') {
            p = replace_field(&t, p + 1, end, args, &automatic);
        } else if (*p == '}') {
            sg_jinja_fail(j, SG_E_ARGUMENT, "single '}' encountered in format string");
        } else {
            sg_jinja_text_addc(&t, *p++);
        }
    }
    return sg_jval_text(&t);
}
