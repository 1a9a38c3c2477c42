/* text/jinja_text.c - string operations that methods and filters share. */
#include "text/jinja_text.h"

#include "base/utf8.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

static bool in_set(uint32_t cp, sg_jval set)
{
    for (size_t at = 0; at < set.n;) {
        uint32_t c;
        size_t used = sg_utf8_decode(set.s + at, set.n - at, &c);
        if (c == cp)
            return true;
        at += used ? used : 1;
    }
    return false;
}

sg_jval sg_jstr_strip(sg_jinja *j, sg_jval s, sg_jval chars, bool left, bool right)
{
    bool space = chars.kind == SG_J_ABSENT || chars.kind == SG_J_NONE;
    if (!space && chars.kind != SG_J_STR) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "strip takes a string, not %s", sg_jval_type(chars));
        return s;
    }
    size_t from = 0, to = s.n;
    while (left && from < to) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s.s + from, to - from, &cp);
        if (!(space ? sg_jchar_is_space(cp) : in_set(cp, chars)) || !sg_jinja_charge(j, 1 + (space ? 0 : chars.n / 16)))
            break;
        from += used ? used : 1;
    }
    while (right && to > from) {
        size_t start;
        uint32_t cp = sg_jstr_before(s.s, to, &start);
        if (!(space ? sg_jchar_is_space(cp) : in_set(cp, chars)) || !sg_jinja_charge(j, 1 + (space ? 0 : chars.n / 16)))
            break;
        to = start;
    }
    sg_jval v = sg_jval_str(s.s + from, to - from);
    v.mark = s.mark;
    return v;
}

/* `to` between all characters, and at both ends. */
static void interleave(sg_jinja_text *t, sg_jval s, sg_jval to, int64_t count)
{
    size_t at = 0;
    for (; count != 0 && sg_jinja_charge(t->j, 1); count--) {
        sg_jinja_text_add(t, to.s, to.n);
        if (at == s.n)
            return;
        size_t used = sg_jstr_offset(s.s + at, s.n - at, 1);
        sg_jinja_text_add(t, s.s + at, used);
        at += used;
    }
    sg_jinja_text_add(t, s.s + at, s.n - at);
}

sg_jval sg_jstr_replace(sg_jinja *j, sg_jval s, sg_jval from, sg_jval to, int64_t count)
{
    if (from.kind != SG_J_STR || to.kind != SG_J_STR) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "replace needs strings, not %s and %s", sg_jval_type(from), sg_jval_type(to));
        return s;
    }
    sg_jinja_text t = {.j = j};
    if (s.mark && !to.mark) {
        sg_jinja_text escaped = {.j = j};
        sg_jtext_escape(&escaped, to);
        to = sg_jval_text(&escaped);
    }
    if (from.n == 0) {
        interleave(&t, s, to, count);
    } else {
        size_t at = 0;
        for (; count != 0 && sg_jinja_ok(j); count--) {
            size_t hit = sg_jstr_find(j, s, from, at);
            if (hit == SIZE_MAX)
                break;
            sg_jinja_text_add(&t, s.s + at, hit - at);
            sg_jinja_text_add(&t, to.s, to.n);
            at = hit + from.n;
        }
        if (at == 0)
            return s;
        sg_jinja_text_add(&t, s.s + at, s.n - at);
    }
    sg_jval v = sg_jval_text(&t);
    v.mark = s.mark;
    return v;
}

sg_jval sg_jstr_map(sg_jinja *j, sg_jval s, void (*map)(sg_jinja_text *t, const char *s, size_t n))
{
    sg_jinja_text t = {.j = j};
    map(&t, s.s, s.n);
    sg_jval v = sg_jval_text(&t);
    v.mark = s.mark;
    return v;
}

static bool ends_line(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

sg_jval sg_jstr_splitlines(sg_jinja *j, sg_jval s, bool keep_ends)
{
    sg_jval l = sg_jval_list(j, 0);
    size_t start = 0, at = 0;
    while (at < s.n && sg_jinja_charge(j, 1)) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s.s + at, s.n - at, &cp);
        used = used ? used : 1;
        if (!ends_line(cp)) {
            at += used;
            continue;
        }
        size_t end = at;
        at += used;
        if (cp == '\r' && at < s.n && s.s[at] == '\n')
            at++;
        sg_jlist_add(j, l.list, sg_jval_str(s.s + start, (keep_ends ? at : end) - start));
        start = at;
    }
    if (start < s.n && sg_jinja_ok(j))
        sg_jlist_add(j, l.list, sg_jval_str(s.s + start, s.n - start));
    return l;
}

sg_jval sg_jstr_pad(sg_jinja *j, sg_jval s, int64_t width, sg_jval fill, int left)
{
    if (fill.kind == SG_J_ABSENT)
        fill = sg_jval_str(" ", 1);
    if (fill.kind != SG_J_STR || sg_jstr_length(fill.s, fill.n) != 1) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "the fill character must be one character");
        return s;
    }
    if (!sg_jinja_charge(j, s.n / 64))
        return s;
    int64_t n = (int64_t)sg_jstr_length(s.s, s.n);
    if (width <= n)
        return s;
    int64_t room = width - n, before = left == 2 ? room : left == 1 ? room / 2 + (room & width & 1) : 0;
    sg_jinja_text t = {.j = j};
    sg_jinja_text_pad(&t, fill.s, fill.n, (uint64_t)before);
    sg_jinja_text_add(&t, s.s, s.n);
    sg_jinja_text_pad(&t, fill.s, fill.n, (uint64_t)(room - before));
    return sg_jval_text(&t);
}

bool sg_jstr_is_case(sg_jinja *j, sg_jval s, bool upper)
{
    bool any = false;
    for (size_t at = 0; at < s.n && sg_jinja_charge(j, 1);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s.s + at, s.n - at, &cp);
        at += used ? used : 1;
        if (upper ? sg_jchar_is_lower(cp) : sg_jchar_is_upper(cp))
            return false;
        any = any || (upper ? sg_jchar_is_upper(cp) : sg_jchar_is_lower(cp));
    }
    return any;
}
