/* text/jinja_methods.c - methods of strings, mappings and lists.
 *
 * Those of Python's str that do not need the host, and of dict and list those that change nothing:
 * append, pop, update and their like are not here, so they are undefined, and calling them is the error
 * that Jinja's immutable sandbox makes of it.  Arguments are bound by name and position like those of
 * filters.
 */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

#include "base/utf8.h"

#define METHOD(name) static sg_jval name(sg_jinja *j, sg_jval self, const sg_jval *a, const sg_jargs *args)
#define UNUSED ((void)j, (void)self, (void)a, (void)args)

/* The argument as a string, or a failure. */
static bool want_str(sg_jinja *j, sg_jval v)
{
    return v.kind == SG_J_STR || (sg_jval_need_defined(j, v) &&
                                  sg_jinja_fail(j, SG_E_ARGUMENT, "a string is needed, not %s", sg_jval_type(v)));
}

static sg_jval mapped(sg_jinja *j, sg_jval s, void (*map)(sg_jinja_text *, const char *, size_t)) { return sg_jstr_map(j, s, map); }

METHOD(str_upper) { UNUSED; return mapped(j, self, sg_jtext_upper); }
METHOD(str_lower) { UNUSED; return mapped(j, self, sg_jtext_lower); }
METHOD(str_title) { UNUSED; return mapped(j, self, sg_jtext_title); }
METHOD(str_capitalize) { UNUSED; return mapped(j, self, sg_jtext_capitalize); }
METHOD(str_swapcase) { UNUSED; return mapped(j, self, sg_jtext_swapcase); }
METHOD(str_casefold) { UNUSED; return mapped(j, self, sg_jtext_casefold); }
METHOD(str_strip) { UNUSED; return sg_jstr_strip(j, self, a[0], true, true); }
METHOD(str_lstrip) { UNUSED; return sg_jstr_strip(j, self, a[0], true, false); }
METHOD(str_rstrip) { UNUSED; return sg_jstr_strip(j, self, a[0], false, true); }
METHOD(str_replace) { UNUSED; return sg_jstr_replace(j, self, a[0], a[1], sg_jarg_int(j, a[2], -1)); }
METHOD(str_splitlines) { UNUSED; return sg_jstr_splitlines(j, self, sg_jarg_bool(a[0], false)); }
METHOD(str_center) { UNUSED; return sg_jstr_pad(j, self, sg_jarg_int(j, a[0], 0), a[1], 1); }
METHOD(str_ljust) { UNUSED; return sg_jstr_pad(j, self, sg_jarg_int(j, a[0], 0), a[1], 0); }
METHOD(str_rjust) { UNUSED; return sg_jstr_pad(j, self, sg_jarg_int(j, a[0], 0), a[1], 2); }
METHOD(str_format) { UNUSED; return sg_jinja_str_format(j, self, args); }

METHOD(str_format_map)
{
    UNUSED;
    if (a[0].kind != SG_J_DICT) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "format_map needs a mapping");
        return self;
    }
    sg_jnamed *kw = sg_jinja_array(j, (size_t)a[0].dict->n + 1, sizeof *kw);
    if (!kw)
        return self;
    sg_jargs named = {.kw = kw};
    for (uint32_t i = 0; i < a[0].dict->n; i++)
        if (a[0].dict->items[i].key.kind == SG_J_STR)
            kw[named.nkw++] = (sg_jnamed){a[0].dict->items[i].key, a[0].dict->items[i].value};
    return sg_jinja_str_format(j, self, &named);
}

/* ---- splitting -------------------------------------------------------------------------- */

static void split_space(sg_jinja *j, sg_jval s, int64_t max, sg_jlist *out)
{
    size_t at = sg_jstr_space_left(s.s, s.n);
    for (; at < s.n && sg_jinja_charge(j, 1); max--) {
        size_t end = at;
        if (max == 0) {
            end = s.n - sg_jstr_space_right(s.s + at, s.n - at);
        } else {
            uint32_t cp;
            for (size_t used; end < s.n && (used = sg_utf8_decode(s.s + end, s.n - end, &cp)) && !sg_jchar_is_space(cp); end += used)
                ;
            end = end > at ? end : s.n;
        }
        sg_jlist_add(j, out, sg_jval_str(s.s + at, end - at));
        if (max == 0)
            return;
        at = end + sg_jstr_space_left(s.s + end, s.n - end);
    }
}

static void split_at(sg_jinja *j, sg_jval s, sg_jval separator, int64_t max, sg_jlist *out)
{
    size_t at = 0;
    for (; max != 0 && sg_jinja_ok(j); max--) {
        size_t hit = sg_jstr_find(j, s, separator, at);
        if (hit == SIZE_MAX)
            break;
        sg_jlist_add(j, out, sg_jval_str(s.s + at, hit - at));
        at = hit + separator.n;
    }
    sg_jlist_add(j, out, sg_jval_str(s.s + at, s.n - at));
}

/* The last place of needle that ends at or before `end`, or SIZE_MAX. */
static size_t find_last(sg_jinja *j, sg_jval s, sg_jval needle, size_t end)
{
    if (needle.n > end)
        return SIZE_MAX;
    size_t at = end - needle.n, from = at;
    while (memcmp(s.s + at, needle.s, needle.n) != 0) {
        if (at == 0) {
            sg_jinja_charge(j, from / 16);
            return SIZE_MAX;
        }
        at--;
    }
    return sg_jinja_charge(j, 1 + (from - at) / 16) ? at : SIZE_MAX;
}

static void reverse(sg_jlist *l)
{
    for (uint32_t i = 0; i + 1 < l->n - i; i++) {
        sg_jval v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
}

static void rsplit_at(sg_jinja *j, sg_jval s, sg_jval separator, int64_t max, sg_jlist *out)
{
    size_t end = s.n;
    for (; max != 0 && sg_jinja_ok(j); max--) {
        size_t hit = find_last(j, s, separator, end);
        if (hit == SIZE_MAX)
            break;
        sg_jlist_add(j, out, sg_jval_str(s.s + hit + separator.n, end - hit - separator.n));
        end = hit;
    }
    sg_jlist_add(j, out, sg_jval_str(s.s, end));
    reverse(out);
}

static void rsplit_space(sg_jinja *j, sg_jval s, int64_t max, sg_jlist *out)
{
    size_t end = s.n - sg_jstr_space_right(s.s, s.n);
    for (; end > 0 && sg_jinja_charge(j, 1); max--) {
        size_t start = end, b;
        if (max == 0)
            start = sg_jstr_space_left(s.s, end);
        else
            while (start > 0 && !sg_jchar_is_space(sg_jstr_before(s.s, start, &b)))
                start = b;
        sg_jlist_add(j, out, sg_jval_str(s.s + start, end - start));
        if (max == 0)
            break;
        end = start - sg_jstr_space_right(s.s, start);
    }
    if (out->n)
        reverse(out);
}

static sg_jval split(sg_jinja *j, sg_jval self, const sg_jval *a, bool from_right)
{
    sg_jval l = sg_jval_list(j, 0);
    int64_t max = sg_jarg_int(j, a[1], -1);
    bool space = a[0].kind == SG_J_ABSENT || a[0].kind == SG_J_NONE;
    if (!sg_jinja_ok(j) || (!space && !want_str(j, a[0])))
        return l;
    if (!space && a[0].n == 0)
        sg_jinja_fail(j, SG_E_ARGUMENT, "empty separator");
    else if (space)
        from_right ? rsplit_space(j, self, max, l.list) : split_space(j, self, max, l.list);
    else
        from_right ? rsplit_at(j, self, a[0], max, l.list) : split_at(j, self, a[0], max, l.list);
    return l;
}

METHOD(str_split) { UNUSED; return split(j, self, a, false); }
METHOD(str_rsplit) { UNUSED; return split(j, self, a, true); }

static sg_jval partition(sg_jinja *j, sg_jval self, sg_jval separator, bool from_right)
{
    sg_jval t = sg_jval_list(j, 3), none = sg_jval_str("", 0);
    if (!sg_jinja_ok(j) || !want_str(j, separator))
        return t;
    if (separator.n == 0) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "empty separator");
        return t;
    }
    size_t hit = from_right ? find_last(j, self, separator, self.n) : sg_jstr_find(j, self, separator, 0);
    bool found = hit != SIZE_MAX;
    sg_jval head = found ? sg_jval_str(self.s, hit) : from_right ? none : self;
    sg_jval tail = found ? sg_jval_str(self.s + hit + separator.n, self.n - hit - separator.n) : from_right ? self : none;
    sg_jlist_add(j, t.list, head);
    sg_jlist_add(j, t.list, found ? separator : none);
    sg_jlist_add(j, t.list, tail);
    t.kind = SG_J_TUPLE;
    return t;
}

METHOD(str_partition) { UNUSED; return partition(j, self, a[0], false); }
METHOD(str_rpartition) { UNUSED; return partition(j, self, a[0], true); }

/* ---- searching ---------------------------------------------------------------------------- */

/* The part of self between code points a[1] and a[2]; *skipped is the code points before it. */
static bool window(sg_jinja *j, sg_jval self, const sg_jval *a, sg_jval *part, int64_t *skipped)
{
    int64_t n = (int64_t)sg_jstr_length(self.s, self.n);
    int64_t start = a[1].kind == SG_J_NONE ? 0 : sg_jarg_int(j, a[1], 0), stop = a[2].kind == SG_J_NONE ? n : sg_jarg_int(j, a[2], n);
    if (!sg_jinja_ok(j) || !sg_jinja_charge(j, self.n / 64))
        return false;
    start = start < -n ? 0 : start < 0 ? start + n : start;
    stop = stop < -n ? 0 : stop < 0 ? stop + n : stop > n ? n : stop;
    if (start > stop)
        return false;
    size_t from = sg_jstr_offset(self.s, self.n, (size_t)start);
    *part = sg_jval_str(self.s + from, sg_jstr_offset(self.s + from, self.n - from, (size_t)(stop - start)));
    *skipped = start;
    return true;
}

static sg_jval find(sg_jinja *j, sg_jval self, const sg_jval *a, bool last, bool must)
{
    sg_jval part;
    int64_t skipped;
    size_t hit = SIZE_MAX;
    if (!want_str(j, a[0]))
        return self;
    if (window(j, self, a, &part, &skipped))
        hit = last ? find_last(j, part, a[0], part.n) : sg_jstr_find(j, part, a[0], 0);
    if (hit != SIZE_MAX)
        return sg_jval_int(skipped + (int64_t)sg_jstr_length(part.s, hit));
    if (must)
        sg_jinja_fail(j, SG_E_ARGUMENT, "substring not found");
    return sg_jval_int(-1);
}

METHOD(str_find) { UNUSED; return find(j, self, a, false, false); }
METHOD(str_rfind) { UNUSED; return find(j, self, a, true, false); }
METHOD(str_index) { UNUSED; return find(j, self, a, false, true); }
METHOD(str_rindex) { UNUSED; return find(j, self, a, true, true); }

METHOD(str_count)
{
    UNUSED;
    sg_jval part;
    int64_t skipped, n = 0;
    if (!want_str(j, a[0]) || !window(j, self, a, &part, &skipped))
        return sg_jval_int(0);
    if (a[0].n == 0)
        return sg_jval_int((int64_t)sg_jstr_length(part.s, part.n) + 1);
    for (size_t at = 0; (at = sg_jstr_find(j, part, a[0], at)) != SIZE_MAX; at += a[0].n)
        n++;
    return sg_jval_int(n);
}

static bool has_affix(sg_jinja *j, sg_jval s, sg_jval affix, bool at_end)
{
    return affix.n <= s.n && sg_jinja_charge(j, affix.n / 64) && memcmp(at_end ? s.s + s.n - affix.n : s.s, affix.s, affix.n) == 0;
}

static sg_jval affix(sg_jinja *j, sg_jval self, const sg_jval *a, bool at_end)
{
    sg_jval part;
    int64_t skipped;
    if (a[0].kind != SG_J_TUPLE && !want_str(j, a[0]))
        return self;
    if (!window(j, self, a, &part, &skipped))
        return sg_jval_bool(false);
    if (a[0].kind == SG_J_STR)
        return sg_jval_bool(has_affix(j, part, a[0], at_end));
    for (uint32_t i = 0; i < a[0].list->n; i++)
        if (!want_str(j, a[0].list->items[i]) || has_affix(j, part, a[0].list->items[i], at_end))
            return sg_jval_bool(true);
    return sg_jval_bool(false);
}

METHOD(str_startswith) { UNUSED; return affix(j, self, a, false); }
METHOD(str_endswith) { UNUSED; return affix(j, self, a, true); }

METHOD(str_removeprefix)
{
    UNUSED;
    return want_str(j, a[0]) && has_affix(j, self, a[0], false) ? sg_jval_str(self.s + a[0].n, self.n - a[0].n) : self;
}

METHOD(str_removesuffix)
{
    UNUSED;
    return want_str(j, a[0]) && has_affix(j, self, a[0], true) ? sg_jval_str(self.s, self.n - a[0].n) : self;
}

/* ---- the rest of str -------------------------------------------------------------------------- */

METHOD(str_join)
{
    UNUSED;
    sg_jlist l = sg_jval_items(j, a[0]);
    sg_jinja_text t = {.j = j};
    if (!sg_jval_need_defined(j, a[0]))
        return self;
    for (uint32_t i = 0; i < l.n && sg_jinja_charge(j, 1); i++) {
        if (!want_str(j, l.items[i]))
            break;
        if (i)
            sg_jinja_text_add(&t, self.s, self.n);
        sg_jinja_text_add(&t, l.items[i].s, l.items[i].n);
    }
    return sg_jval_text(&t);
}

METHOD(str_zfill)
{
    UNUSED;
    int64_t width = sg_jarg_int(j, a[0], 0);
    size_t sign = self.n && (self.s[0] == '-' || self.s[0] == '+');
    if (!sg_jinja_charge(j, self.n / 64))
        return self;
    int64_t n = (int64_t)sg_jstr_length(self.s, self.n);
    if (width <= n)
        return self;
    sg_jinja_text t = {.j = j};
    sg_jinja_text_add(&t, self.s, sign);
    sg_jinja_text_pad(&t, "0", 1, (uint64_t)(width - n));
    sg_jinja_text_add(&t, self.s + sign, self.n - sign);
    return sg_jval_text(&t);
}

METHOD(str_expandtabs)
{
    UNUSED;
    int64_t size = sg_jarg_int(j, a[0], 8), column = 0;
    sg_jinja_text t = {.j = j};
    for (uint32_t i = 0; i < self.n && sg_jinja_ok(j); i++) {
        char c = self.s[i];
        if (c == '\t') {
            int64_t n = size > 0 ? size - column % size : 0;
            sg_jinja_text_pad(&t, " ", 1, (uint64_t)n);
            column += n;
            continue;
        }
        sg_jinja_text_addc(&t, c);
        column = c == '\n' || c == '\r' ? 0 : column + (((unsigned char)c & 0xc0) != 0x80);
    }
    return sg_jval_text(&t);
}

/* All characters pass, and there is at least one. */
static sg_jval all(sg_jinja *j, sg_jval s, bool (*is)(uint32_t))
{
    for (size_t at = 0; at < s.n && sg_jinja_charge(j, 1);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s.s + at, s.n - at, &cp);
        if (!is(cp))
            return sg_jval_bool(false);
        at += used ? used : 1;
    }
    return sg_jval_bool(s.n > 0);
}

static bool is_alnum(uint32_t cp) { return sg_jchar_is_alpha(cp) || sg_jchar_is_numeric(cp); }
static bool is_ascii(uint32_t cp) { return cp < 0x80; }

METHOD(str_isalpha) { UNUSED; return all(j, self, sg_jchar_is_alpha); }
METHOD(str_isalnum) { UNUSED; return all(j, self, is_alnum); }
METHOD(str_isdecimal) { UNUSED; return all(j, self, sg_jchar_is_decimal); }
METHOD(str_isdigit) { UNUSED; return all(j, self, sg_jchar_is_digit); }
METHOD(str_isnumeric) { UNUSED; return all(j, self, sg_jchar_is_numeric); }
METHOD(str_isspace) { UNUSED; return all(j, self, sg_jchar_is_space); }
METHOD(str_isupper) { UNUSED; return sg_jval_bool(sg_jstr_is_case(j, self, true)); }
METHOD(str_islower) { UNUSED; return sg_jval_bool(sg_jstr_is_case(j, self, false)); }
METHOD(str_isascii) { UNUSED; return sg_jval_bool(self.n == 0 || all(j, self, is_ascii).i); }

/* ---- mappings and lists ---------------------------------------------------------------------------- */

static sg_jval view(sg_jval self, uint8_t which) { return (sg_jval){.kind = SG_J_VIEW, .mark = which, .dict = self.dict}; }

METHOD(dict_keys) { UNUSED; return view(self, 0); }
METHOD(dict_values) { UNUSED; return view(self, 1); }
METHOD(dict_items) { UNUSED; return view(self, 2); }
METHOD(same) { UNUSED; return self; } /* copy(): nothing here changes, so it may as well be the same */

METHOD(dict_get)
{
    UNUSED;
    if (a[0].kind == SG_J_LIST || a[0].kind == SG_J_DICT) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "unhashable type: '%s'", sg_jval_type(a[0]));
        return self;
    }
    const sg_jval *v = sg_jdict_get(j, self.dict, a[0]);
    return v ? *v : a[1].kind == SG_J_ABSENT ? sg_jval_none() : a[1];
}

METHOD(list_count)
{
    UNUSED;
    int64_t n = 0;
    for (uint32_t i = 0; i < self.list->n; i++)
        n += sg_jval_equal(j, self.list->items[i], a[0]);
    return sg_jval_int(n);
}

METHOD(list_index)
{
    UNUSED;
    for (uint32_t i = 0; i < self.list->n; i++)
        if (sg_jval_equal(j, self.list->items[i], a[0]))
            return sg_jval_int(i);
    sg_jinja_fail(j, SG_E_ARGUMENT, "the value is not in the list");
    return self;
}

METHOD(cycler_next)
{
    UNUSED;
    sg_jval v = self.cycler->list.items[self.cycler->at];
    self.cycler->at = (self.cycler->at + 1) % self.cycler->list.n;
    return v;
}

METHOD(cycler_reset)
{
    UNUSED;
    self.cycler->at = 0;
    return sg_jval_none();
}

METHOD(loop_cycle)
{
    UNUSED;
    if (args->npos)
        return args->pos[self.loop->at % args->npos];
    sg_jinja_fail(j, SG_E_ARGUMENT, "no items for cycling given");
    return self;
}

METHOD(loop_changed)
{
    UNUSED;
    sg_jval now = sg_jval_list(j, args->npos);
    for (uint32_t i = 0; i < args->npos && sg_jinja_ok(j); i++)
        sg_jlist_add(j, now.list, args->pos[i]);
    bool changed = self.loop->changed.kind == SG_J_ABSENT || !sg_jval_equal(j, self.loop->changed, now);
    self.loop->changed = now;
    return sg_jval_bool(changed);
}

METHOD(dict_fromkeys)
{
    UNUSED;
    sg_jval d = sg_jval_dict(j);
    sg_jlist l = sg_jval_items(j, a[0]);
    for (uint32_t i = 0; i < l.n && sg_jinja_ok(j); i++)
        sg_jdict_set(j, d.dict, l.items[i], a[1].kind == SG_J_ABSENT ? sg_jval_none() : a[1]);
    return d;
}

/* ---- tables --------------------------------------------------------------------------------------------- */

static const sg_jmethod_row str_methods[] = {
    {"capitalize", str_capitalize, ""},
    {"casefold", str_casefold, ""},
    {"center", str_center, "width ?fillchar"},
    {"count", str_count, "sub ?start ?end"},
    {"endswith", str_endswith, "suffix ?start ?end"},
    {"expandtabs", str_expandtabs, "?tabsize"},
    {"find", str_find, "sub ?start ?end"},
    {"format", str_format, "*"},
    {"format_map", str_format_map, "mapping"},
    {"index", str_index, "sub ?start ?end"},
    {"isalnum", str_isalnum, ""},
    {"isalpha", str_isalpha, ""},
    {"isascii", str_isascii, ""},
    {"isdecimal", str_isdecimal, ""},
    {"isdigit", str_isdigit, ""},
    {"islower", str_islower, ""},
    {"isnumeric", str_isnumeric, ""},
    {"isspace", str_isspace, ""},
    {"isupper", str_isupper, ""},
    {"join", str_join, "iterable"},
    {"ljust", str_ljust, "width ?fillchar"},
    {"lower", str_lower, ""},
    {"lstrip", str_lstrip, "?chars"},
    {"partition", str_partition, "sep"},
    {"removeprefix", str_removeprefix, "prefix"},
    {"removesuffix", str_removesuffix, "suffix"},
    {"replace", str_replace, "old new ?count"},
    {"rfind", str_rfind, "sub ?start ?end"},
    {"rindex", str_rindex, "sub ?start ?end"},
    {"rjust", str_rjust, "width ?fillchar"},
    {"rpartition", str_rpartition, "sep"},
    {"rsplit", str_rsplit, "?sep ?maxsplit"},
    {"rstrip", str_rstrip, "?chars"},
    {"split", str_split, "?sep ?maxsplit"},
    {"splitlines", str_splitlines, "?keepends"},
    {"startswith", str_startswith, "prefix ?start ?end"},
    {"strip", str_strip, "?chars"},
    {"swapcase", str_swapcase, ""},
    {"title", str_title, ""},
    {"upper", str_upper, ""},
    {"zfill", str_zfill, "width"},
    {0},
};
static const sg_jmethod_row dict_methods[] = {
    {"copy", same, ""},      {"get", dict_get, "key ?default"}, {"items", dict_items, ""},
    {"keys", dict_keys, ""}, {"values", dict_values, ""},       {0},
};
static const sg_jmethod_row list_methods[] = {{"copy", same, ""}, {"count", list_count, "value"}, {"index", list_index, "value"}, {0}};
static const sg_jmethod_row cycler_methods[] = {{"next", cycler_next, ""}, {"reset", cycler_reset, ""}, {0}};
static const sg_jmethod_row loop_methods[] = {{"cycle", loop_cycle, "*"}, {"changed", loop_changed, "*"}, {0}};
static const sg_jmethod_row dict_type_methods[] = {{"fromkeys", dict_fromkeys, "iterable ?value"}, {0}};

static const sg_jmethod_row *table_of(sg_jval self)
{
    switch (self.kind) {
    case SG_J_STR:
        return str_methods;
    case SG_J_DICT:
        return dict_methods;
    case SG_J_LIST:
        return list_methods;
    case SG_J_TUPLE:
        return list_methods + 1; /* no copy */
    case SG_J_CYCLER:
        return cycler_methods;
    case SG_J_LOOP:
        return loop_methods;
    case SG_J_FUNC:
        return strcmp(self.func->name, "dict") == 0 ? dict_type_methods : NULL;
    default:
        return NULL;
    }
}

const sg_jmethod_row *sg_jmethod_find(sg_jval self, sg_jval name)
{
    for (const sg_jmethod_row *r = table_of(self); r && r->name; r++)
        if (sg_jval_is_str(name, r->name))
            return r;
    return NULL;
}
