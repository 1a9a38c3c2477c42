/* text/jinja_filters_text.c - filters over text.  What is no string is printed first. */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

#include "base/utf8.h"

#include <stdlib.h>

#define FILTER(name) static sg_jval name(sg_jinja *j, sg_jval v, const sg_jval *a, const sg_jargs *args)
#define UNUSED ((void)j, (void)v, (void)a, (void)args)

static sg_jval mapped(sg_jinja *j, sg_jval v, void (*map)(sg_jinja_text *, const char *, size_t))
{
    return sg_jstr_map(j, sg_jval_to_str(j, v), map);
}

FILTER(f_upper) { UNUSED; return mapped(j, v, sg_jtext_upper); }
FILTER(f_lower) { UNUSED; return mapped(j, v, sg_jtext_lower); }
FILTER(f_capitalize) { UNUSED; return mapped(j, v, sg_jtext_capitalize); }

/* Jinja's title: words are split at white space, hyphens and opening brackets only. */
static void title_words(sg_jinja_text *t, const char *s, size_t n)
{
    size_t at = 0;
    while (at < n && sg_jinja_charge(t->j, 1)) {
        uint32_t cp;
        size_t end = at, used;
        while (end < n && (used = sg_utf8_decode(s + end, n - end, &cp)) && !sg_jchar_is_space(cp) &&
               !(cp < 0x80 && strchr("-({[<", (int)cp)))
            end += used;
        sg_jinja_text word = {.j = t->j};
        size_t first = end > at ? sg_jstr_offset(s + at, end - at, 1) : 0;
        sg_jtext_upper(&word, s + at, first);
        sg_jtext_lower(&word, s + at + first, end - at - first);
        sg_jinja_text_add(t, word.s, word.n);
        if (end < n) {
            used = sg_jstr_offset(s + end, n - end, 1);
            sg_jinja_text_add(t, s + end, used);
            end += used;
        }
        at = end;
    }
}

FILTER(f_title) { UNUSED; return mapped(j, v, title_words); }
FILTER(f_trim) { UNUSED; return sg_jstr_strip(j, sg_jval_to_str(j, v), a[0], true, true); }
FILTER(f_center) { UNUSED; return sg_jstr_pad(j, sg_jval_to_str(j, v), sg_jarg_int(j, a[0], 80), (sg_jval){0}, 1); }

FILTER(f_replace)
{
    UNUSED;
    sg_jval count = a[2].kind == SG_J_NONE ? (sg_jval){0} : a[2];
    return sg_jstr_replace(j, sg_jval_to_str(j, v), sg_jval_to_str(j, a[0]), sg_jval_to_str(j, a[1]), sg_jarg_int(j, count, -1));
}

FILTER(f_truncate)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v), end = a[2].kind == SG_J_ABSENT ? sg_jval_cstr("...") : sg_jval_to_str(j, a[2]);
    int64_t length = sg_jarg_int(j, a[0], 255), leeway = a[3].kind == SG_J_NONE ? 5 : sg_jarg_int(j, a[3], 5);
    sg_jinja_charge(j, s.n / 64);
    int64_t n = (int64_t)sg_jstr_length(s.s, s.n), nend = (int64_t)sg_jstr_length(end.s, end.n);
    if (sg_jinja_ok(j) && (length < nend || leeway < 0 || leeway > INT32_MAX || length > INT64_MAX - INT32_MAX))
        sg_jinja_fail(j, SG_E_ARGUMENT, "truncate: the length or the leeway does not fit");
    if (!sg_jinja_ok(j) || n <= length + leeway)
        return s;
    size_t cut = sg_jstr_offset(s.s, s.n, (size_t)(length - nend));
    if (!sg_jarg_bool(a[1], false)) { /* not through a word */
        const char *space = cut ? memrchr(s.s, ' ', cut) : NULL;
        cut = space ? (size_t)(space - s.s) : cut;
    }
    sg_jinja_text t = {.j = j};
    sg_jinja_text_add(&t, s.s, cut);
    sg_jinja_text_add(&t, end.s, end.n);
    return sg_jval_text(&t);
}

FILTER(f_indent)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v), by = a[0];
    if (by.kind != SG_J_STR) {
        sg_jinja_text spaces = {.j = j};
        int64_t n = sg_jarg_int(j, a[0], 4);
        sg_jinja_text_pad(&spaces, " ", 1, n > 0 ? (uint64_t)n : 0);
        by = sg_jval_text(&spaces);
    }
    bool first = sg_jarg_bool(a[1], false), blank = sg_jarg_bool(a[2], false);
    /* Jinja adds a newline before it splits, so that a last empty line counts. */
    sg_jinja_text padded = {.j = j}, t = {.j = j};
    sg_jinja_text_add(&padded, s.s, s.n);
    sg_jinja_text_addc(&padded, '\n');
    if (!sg_jinja_ok(j))
        return s;
    sg_jval lines = sg_jstr_splitlines(j, sg_jval_text(&padded), false);
    for (uint32_t i = 0; sg_jinja_ok(j) && i < lines.list->n; i++) {
        sg_jval line = lines.list->items[i];
        if (i)
            sg_jinja_text_addc(&t, '\n');
        if (i ? blank || line.n : first)
            sg_jinja_text_add(&t, by.s, by.n);
        sg_jinja_text_add(&t, line.s, line.n);
    }
    return sg_jval_text(&t);
}

FILTER(f_wordcount)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v);
    int64_t n = 0;
    bool inside = false;
    for (size_t at = 0; at < s.n && sg_jinja_charge(j, 1);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s.s + at, s.n - at, &cp);
        bool word = cp == '_' || sg_jchar_is_alpha(cp) || sg_jchar_is_numeric(cp);
        n += word && !inside;
        inside = word;
        at += used ? used : 1;
    }
    return sg_jval_int(n);
}

/* One line of text broken into lines of at most `width`, at spaces. */
static void wrap_line(sg_jinja_text *t, sg_jval line, int64_t width, bool break_long, sg_jval joint)
{
    int64_t column = 0;
    size_t at = 0;
    while (at < line.n && sg_jinja_charge(t->j, 1)) {
        size_t space = at, end;
        while (space < line.n && line.s[space] == ' ')
            space++;
        for (end = space; end < line.n && line.s[end] != ' '; end++)
            ;
        int64_t gap = (int64_t)(space - at), word = (int64_t)sg_jstr_length(line.s + space, end - space);
        if (column && column + gap + word > width) {
            sg_jinja_text_add(t, joint.s, joint.n);
            column = gap = 0;
            at = space;
        }
        if (word > 0)
            sg_jinja_text_add(t, line.s + at, space - at);
        while (break_long && gap + word > width && word > 0 && sg_jinja_charge(t->j, 1)) {
            int64_t taken = width > gap ? width - gap : 1;
            size_t part = sg_jstr_offset(line.s + space, end - space, (size_t)taken);
            sg_jinja_text_add(t, line.s + space, part);
            space += part;
            word -= taken < word ? taken : word;
            gap = column = 0;
            if (word > 0)
                sg_jinja_text_add(t, joint.s, joint.n);
        }
        sg_jinja_text_add(t, line.s + space, end - space);
        column += gap + word;
        at = end;
    }
}

FILTER(f_wordwrap)
{
    UNUSED;
    int64_t width = sg_jarg_int(j, a[0], 79);
    sg_jval lines = sg_jstr_splitlines(j, sg_jval_to_str(j, v), false);
    sg_jval joint = a[2].kind == SG_J_STR ? a[2] : sg_jval_str("\n", 1);
    sg_jinja_text t = {.j = j};
    if (sg_jinja_ok(j) && width <= 0)
        sg_jinja_fail(j, SG_E_ARGUMENT, "wordwrap: the width must be above 0");
    for (uint32_t i = 0; sg_jinja_ok(j) && i < lines.list->n; i++) {
        if (i)
            sg_jinja_text_add(&t, joint.s, joint.n);
        wrap_line(&t, lines.list->items[i], width, sg_jarg_bool(a[1], true), joint);
    }
    return sg_jval_text(&t);
}

/* The character that an entity such as &amp; at s stands for; 0 when it is none. */
static uint32_t entity(const char *s, size_t n, size_t *used)
{
    static const struct {
        const char *name;
        uint32_t cp;
    } names[] = {{"&amp;", '&'},  {"&lt;", '<'},  {"&gt;", '>'},    {"&quot;", '"'},
                 {"&#39;", '\''}, {"&#34;", '"'}, {"&apos;", '\''}, {"&nbsp;", 0xa0}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *used = strlen(names[i].name);
        if (*used <= n && memcmp(s, names[i].name, *used) == 0)
            return names[i].cp;
    }
    return 0;
}

FILTER(f_striptags)
{
    UNUSED;
    sg_jval s = sg_jval_to_str(j, v);
    sg_jinja_text t = {.j = j}, out = {.j = j};
    const char *last = s.n ? memrchr(s.s, '>', s.n) : NULL;
    for (size_t i = 0; i < s.n && sg_jinja_charge(j, 1);) {
        const char *close = s.s[i] == '<' && last && s.s + i < last ? memchr(s.s + i, '>', s.n - i) : NULL;
        size_t used;
        uint32_t cp = s.s[i] == '&' ? entity(s.s + i, s.n - i, &used) : 0;
        if (close)
            i = (size_t)(close - s.s) + 1;
        else if (cp) {
            sg_jinja_text_cp(&t, cp);
            i += used;
        } else
            sg_jinja_text_addc(&t, s.s[i++]);
    }
    bool gap = false; /* white space becomes one space, none at the ends */
    for (size_t at = 0; at < t.n && sg_jinja_ok(j);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(t.s + at, t.n - at, &cp);
        used = used ? used : 1;
        if (sg_jchar_is_space(cp)) {
            gap = out.n > 0;
        } else {
            if (gap)
                sg_jinja_text_addc(&out, ' ');
            gap = false;
            sg_jinja_text_add(&out, t.s + at, used);
        }
        at += used;
    }
    return sg_jval_text(&out);
}

static void percent(sg_jinja_text *t, sg_jval v, bool query)
{
    sg_jval s = sg_jval_to_str(t->j, v);
    for (uint32_t i = 0; i < s.n && sg_jinja_ok(t->j); i++) {
        unsigned char c = (unsigned char)s.s[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("_.-~", c)) || (c == '/' && !query);
        if (plain)
            sg_jinja_text_addc(t, (char)c);
        else if (query && c == ' ')
            sg_jinja_text_addc(t, '+');
        else
            sg_jinja_text_addf(t, "%%%02X", c);
    }
}

FILTER(f_urlencode)
{
    UNUSED;
    sg_jinja_text t = {.j = j};
    if (v.kind == SG_J_STR || !sg_jval_iterable(v)) {
        percent(&t, v, false);
        return sg_jval_text(&t);
    }
    sg_jlist l = sg_jval_items(j, v.kind == SG_J_DICT ? (sg_jval){.kind = SG_J_VIEW, .mark = 2, .dict = v.dict} : v);
    for (uint32_t i = 0; i < l.n && sg_jinja_ok(j); i++) {
        sg_jlist pair = sg_jval_items(j, l.items[i]);
        if (pair.n != 2) {
            sg_jinja_fail(j, SG_E_ARGUMENT, "urlencode needs pairs");
            break;
        }
        if (i)
            sg_jinja_text_addc(&t, '&');
        percent(&t, pair.items[0], true);
        sg_jinja_text_addc(&t, '=');
        percent(&t, pair.items[1], true);
    }
    return sg_jval_text(&t);
}

const sg_jfilter sg_jfilters_text[] = {
    {"upper", f_upper, ""}, {"lower", f_lower, ""}, {"capitalize", f_capitalize, ""}, {"title", f_title, ""}, {"trim", f_trim, "?chars"},
    {"center", f_center, "?width"}, {"replace", f_replace, "old new ?count"}, {"truncate", f_truncate, "?length ?killwords ?end ?leeway"},
    {"indent", f_indent, "?width ?first ?blank"}, {"wordcount", f_wordcount, ""},
    {"wordwrap", f_wordwrap, "?width ?break_long_words ?wrapstring ?break_on_hyphens"}, {"striptags", f_striptags, ""},
    {"urlencode", f_urlencode, ""}, {0},
};
