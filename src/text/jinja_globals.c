/* text/jinja_globals.c - the functions that every template can call.
 *
 * Jinja's own (range, dict, cycler, joiner, namespace, lipsum) and the two that chat templates are given:
 * raise_exception and strftime_now.  The time is what the caller of the rendering said.
 */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"

#include <time.h>

#define FUNC(name) static sg_jval name(sg_jinja *j, const sg_jval *a, const sg_jargs *args)
#define UNUSED ((void)j, (void)a, (void)args)

FUNC(g_raise)
{
    UNUSED;
    sg_jval text = sg_jval_to_str(j, a[0]);
    if (!sg_jinja_ok(j))
        return text;
    j->raised = text.s;
    j->nraised = text.n;
    j->status = sg_fail(&j->error, SG_E_ARGUMENT, "%.*s", (int)(text.n < 400 ? text.n : 400), text.s);
    return sg_jval_undef();
}

FUNC(g_range)
{
    UNUSED;
    for (uint32_t i = 0; i < 3; i++)
        if (a[i].kind != SG_J_ABSENT)
            sg_jarg_int(j, a[i], 0);
    if (!sg_jinja_ok(j))
        return sg_jval_undef();
    if (a[1].kind == SG_J_ABSENT)
        return sg_jval_range(j, 0, a[0].i, 1);
    return sg_jval_range(j, a[0].i, a[1].i, sg_jarg_int(j, a[2], 1));
}

/* dict(mapping or pairs, key=value, ...) */
static sg_jval make_dict(sg_jinja *j, const sg_jargs *args)
{
    sg_jval d = sg_jval_dict(j);
    if (args->npos > 1)
        sg_jinja_fail(j, SG_E_ARGUMENT, "at most one argument without a name");
    if (args->npos && args->pos[0].kind == SG_J_DICT) {
        const sg_jdict *from = args->pos[0].dict;
        for (uint32_t i = 0; i < from->n && sg_jinja_ok(j); i++)
            sg_jdict_set(j, d.dict, from->items[i].key, from->items[i].value);
    } else if (args->npos) {
        sg_jlist l = sg_jval_items(j, args->pos[0]);
        for (uint32_t i = 0; i < l.n && sg_jinja_ok(j); i++) {
            sg_jlist pair = sg_jval_items(j, l.items[i]);
            if (pair.n == 2)
                sg_jdict_set(j, d.dict, pair.items[0], pair.items[1]);
            else
                sg_jinja_fail(j, SG_E_ARGUMENT, "a mapping is made of pairs");
        }
    }
    for (uint32_t i = 0; i < args->nkw && sg_jinja_ok(j); i++)
        sg_jdict_set(j, d.dict, args->kw[i].name, args->kw[i].value);
    return d;
}

FUNC(g_dict)
{
    UNUSED;
    return make_dict(j, args);
}

FUNC(g_namespace)
{
    UNUSED;
    sg_jval d = make_dict(j, args);
    for (uint32_t i = 0; sg_jinja_ok(j) && i < d.dict->n; i++) {
        sg_jval k = d.dict->items[i].key;
        if (k.kind == SG_J_STR && k.n && k.s[0] == '_')
            sg_jinja_fail(j, SG_E_ARGUMENT, "a namespace takes no attribute that begins with an underscore");
    }
    d.kind = sg_jinja_ok(j) ? SG_J_SPACE : SG_J_UNDEF;
    return d;
}

static sg_jval make_cycler(sg_jinja *j, sg_jkind kind, const sg_jval *items, uint32_t n)
{
    sg_jval l = sg_jval_list(j, n);
    sg_jcycler *c = sg_jinja_alloc(j, sizeof *c);
    if (!c)
        return sg_jval_undef();
    for (uint32_t i = 0; i < n; i++)
        sg_jlist_add(j, l.list, items[i]);
    *c = (sg_jcycler){.list = *l.list};
    return (sg_jval){.kind = (uint8_t)kind, .cycler = c};
}

FUNC(g_cycler)
{
    UNUSED;
    if (args->npos)
        return make_cycler(j, SG_J_CYCLER, args->pos, args->npos);
    sg_jinja_fail(j, SG_E_ARGUMENT, "cycler: at least one item has to be provided");
    return sg_jval_undef();
}

FUNC(g_joiner)
{
    UNUSED;
    sg_jval separator = a[0].kind == SG_J_ABSENT ? sg_jval_cstr(", ") : sg_jval_to_str(j, a[0]);
    return make_cycler(j, SG_J_JOINER, &separator, 1);
}

/* Placeholder text: the same paragraph, n times. */
FUNC(g_lipsum)
{
    UNUSED;
    int64_t n = sg_jarg_int(j, a[0], 5);
    sg_jinja_text t = {.j = j};
    for (int64_t i = 0; i < n && sg_jinja_ok(j); i++)
        sg_jinja_text_adds(&t, i ? "\n\n<p>Lorem ipsum dolor sit amet.</p>" : "<p>Lorem ipsum dolor sit amet.</p>");
    return sg_jval_text(&t);
}

/* ---- strftime ------------------------------------------------------------------------------ */

static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March", "April", "May", "June",
                                     "July", "August", "September", "October", "November", "December"};

/* A number of `width` digits; `pad` is '0', '_' or '-'. */
static void put_number(sg_jinja_text *t, int v, int width, char pad)
{
    if (pad == '-')
        sg_jinja_text_addf(t, "%d", v);
    else if (pad == '_')
        sg_jinja_text_addf(t, "%*d", width, v);
    else
        sg_jinja_text_addf(t, "%0*d", width, v);
}

static void put_time(sg_jinja_text *t, const struct tm *m, const char *format, size_t n);

static void put_directive(sg_jinja_text *t, const struct tm *m, char c, char pad)
{
    int hour12 = m->tm_hour % 12 ? m->tm_hour % 12 : 12;
    switch (c) {
    case 'Y': put_number(t, m->tm_year + 1900, 1, pad); break;
    case 'C': put_number(t, (m->tm_year + 1900) / 100, 2, pad); break;
    case 'y': put_number(t, (m->tm_year + 1900) % 100, 2, pad); break;
    case 'm': put_number(t, m->tm_mon + 1, 2, pad); break;
    case 'd': put_number(t, m->tm_mday, 2, pad); break;
    case 'e': put_number(t, m->tm_mday, 2, pad == '0' ? '_' : pad); break;
    case 'H': put_number(t, m->tm_hour, 2, pad); break;
    case 'k': put_number(t, m->tm_hour, 2, pad == '0' ? '_' : pad); break;
    case 'I': put_number(t, hour12, 2, pad); break;
    case 'l': put_number(t, hour12, 2, pad == '0' ? '_' : pad); break;
    case 'M': put_number(t, m->tm_min, 2, pad); break;
    case 'S': put_number(t, m->tm_sec, 2, pad); break;
    case 'f': sg_jinja_text_adds(t, "000000"); break;
    case 'j': put_number(t, m->tm_yday + 1, 3, pad); break;
    case 'U': put_number(t, (m->tm_yday + 7 - m->tm_wday) / 7, 2, pad); break;
    case 'W': put_number(t, (m->tm_yday + 7 - (m->tm_wday + 6) % 7) / 7, 2, pad); break;
    case 'w': put_number(t, m->tm_wday, 1, pad); break;
    case 'u': put_number(t, m->tm_wday ? m->tm_wday : 7, 1, pad); break;
    case 'A': sg_jinja_text_adds(t, days[m->tm_wday]); break;
    case 'a': sg_jinja_text_add(t, days[m->tm_wday], 3); break;
    case 'B': sg_jinja_text_adds(t, months[m->tm_mon]); break;
    case 'b':
    case 'h': sg_jinja_text_add(t, months[m->tm_mon], 3); break;
    case 'p': sg_jinja_text_adds(t, m->tm_hour < 12 ? "AM" : "PM"); break;
    case 'P': sg_jinja_text_adds(t, m->tm_hour < 12 ? "am" : "pm"); break;
    case 'D':
    case 'x': put_time(t, m, "%m/%d/%y", 8); break;
    case 'F': put_time(t, m, "%Y-%m-%d", 8); break;
    case 'T':
    case 'X': put_time(t, m, "%H:%M:%S", 8); break;
    case 'R': put_time(t, m, "%H:%M", 5); break;
    case 'r': put_time(t, m, "%I:%M:%S %p", 11); break;
    case 'c': put_time(t, m, "%a %b %e %H:%M:%S %Y", 20); break;
    case 'n': sg_jinja_text_addc(t, '\n'); break;
    case 't': sg_jinja_text_addc(t, '\t'); break;
    case 'Z':
    case 'z': break; /* the time has no zone */
    case '%': sg_jinja_text_addc(t, '%'); break;
    default: sg_jinja_text_addc(t, '%'); sg_jinja_text_addc(t, c);
    }
}

static void put_time(sg_jinja_text *t, const struct tm *m, const char *format, size_t n)
{
    for (size_t i = 0; i < n && sg_jinja_charge(t->j, 1); i++) {
        if (format[i] != '%' || i + 1 == n) {
            sg_jinja_text_addc(t, format[i]);
            continue;
        }
        char pad = '0';
        i++;
        if ((format[i] == '-' || format[i] == '_' || format[i] == '0') && i + 1 < n)
            pad = format[i++];
        put_directive(t, m, format[i], pad);
    }
}

FUNC(g_strftime_now)
{
    UNUSED;
    sg_jinja_text t = {.j = j};
    if (a[0].kind != SG_J_STR)
        sg_jinja_fail(j, SG_E_ARGUMENT, "strftime_now: a format is needed, not %s", sg_jval_type(a[0]));
    else
        put_time(&t, j->now, a[0].s, a[0].n);
    return sg_jval_text(&t);
}

static const sg_jfunc funcs[] = {
    {"range", g_range, "start ?stop ?step"}, {"dict", g_dict, "*"}, {"namespace", g_namespace, "*"}, {"cycler", g_cycler, "*"},
    {"joiner", g_joiner, "?sep"}, {"lipsum", g_lipsum, "?n ?html ?min ?max"}, {"raise_exception", g_raise, "message"},
    {"strftime_now", g_strftime_now, "format"},
};

const sg_jfunc *sg_jfunc_find(sg_jval name)
{
    for (size_t i = 0; i < sizeof funcs / sizeof funcs[0]; i++)
        if (sg_jval_is_str(name, funcs[i].name))
            return &funcs[i];
    return NULL;
}
