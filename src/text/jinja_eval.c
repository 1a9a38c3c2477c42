/* text/jinja_eval.c - expressions: names, access, calls, filters, tests.
 *
 * Walks the tree directly.  A node costs a step and a level of depth; a step limit and a depth limit
 * together bound what a hostile template can do with time and with the C stack.
 *
 * Access follows Jinja's sandbox: a.b tries methods, then keys; a['b'] tries keys, then methods; what is
 * not there is undefined, and so is everything that starts with an underscore or would change its object.
 * A step further on an undefined value is the error.
 */
#include "text/jinja_eval.h"

#include "base/utf8.h"
#include "text/jinja_print.h"

/* ---- scopes ------------------------------------------------------------------------- */

void sg_jscope_set(sg_jinja *j, sg_jscope *scope, sg_jval name, sg_jval value)
{
    for (sg_jbinding *b = scope->first; b; b = b->next)
        if (b->name.s == name.s) {
            b->value = value;
            return;
        }
    sg_jbinding *b = j->spare;
    if (b)
        j->spare = b->next;
    else
        b = sg_jinja_alloc(j, sizeof *b);
    if (!b)
        return;
    *b = (sg_jbinding){scope->first, name, value};
    scope->first = b;
}

const sg_jval *sg_jscope_find(sg_jinja *j, const sg_jscope *scope, sg_jval name)
{
    uint64_t walked = 0;
    const sg_jval *found = NULL;
    for (; scope && !found; scope = scope->parent)
        for (const sg_jbinding *b = scope->first; b && !found; b = b->next, walked++)
            if (b->name.s == name.s)
                found = &b->value;
    sg_jinja_charge(j, walked / 16);
    return found;
}

static sg_jval lookup(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    const sg_jval *v = sg_jscope_find(j, scope, e->v);
    if (v)
        return *v;
    if (e->entry)
        return (sg_jval){.kind = SG_J_FUNC, .func = e->entry};
    if (sg_jval_is_str(e->v, "self"))
        return (sg_jval){.kind = SG_J_SELF};
    return sg_jval_undef_named(e->v);
}

/* ---- access ----------------------------------------------------------------------------- */

static sg_jval bound_method(sg_jinja *j, sg_jval self, const sg_jmethod_row *row)
{
    sg_jmethod *m = sg_jinja_alloc(j, sizeof *m);
    if (!m)
        return sg_jval_undef();
    *m = (sg_jmethod){self, row};
    return (sg_jval){.kind = SG_J_METHOD, .method = m};
}

static sg_jval macro_attr(sg_jinja *j, const sg_jmacro *m, sg_jval name)
{
    if (sg_jval_is_str(name, "name"))
        return m->def->name;
    if (sg_jval_is_str(name, "catch_kwargs"))
        return sg_jval_bool(m->def->kwargs);
    if (sg_jval_is_str(name, "catch_varargs"))
        return sg_jval_bool(m->def->varargs);
    if (sg_jval_is_str(name, "caller"))
        return sg_jval_bool(m->def->caller);
    if (!sg_jval_is_str(name, "arguments"))
        return sg_jval_undef_named(name);
    sg_jval t = sg_jval_list(j, m->def->nparam);
    for (uint32_t i = 0; i < m->def->nparam && sg_jinja_ok(j); i++)
        sg_jlist_add(j, t.list, m->def->params[i].name);
    if (t.kind == SG_J_LIST)
        t.kind = SG_J_TUPLE;
    return t;
}

/* What is not a key: methods and the fields of objects.  ABSENT when there is none. */
static sg_jval native_attr(sg_jinja *j, sg_jval a, sg_jval name)
{
    if (name.n && name.s[0] == '_')
        return (sg_jval){0};
    const sg_jmethod_row *row = sg_jmethod_find(a, name);
    if (row)
        return bound_method(j, a, row);
    if (a.kind == SG_J_LOOP)
        return sg_jloop_attr(j, a.loop, name);
    if (a.kind == SG_J_MACRO)
        return macro_attr(j, a.macro, name);
    if (a.kind == SG_J_CYCLER && sg_jval_is_str(name, "current"))
        return a.cycler->list.items[a.cycler->at];
    if (sg_jval_numeric(a) && sg_jval_is_str(name, "real"))
        return a;
    if (a.kind == SG_J_TUPLE && a.mark && sg_jval_is_str(name, "grouper"))
        return a.list->items[0];
    if (a.kind == SG_J_TUPLE && a.mark && sg_jval_is_str(name, "list"))
        return a.list->items[1];
    if (a.kind == SG_J_SELF)
        return sg_jval_str("", 0);
    return (sg_jval){0};
}

sg_jval sg_jinja_attr(sg_jinja *j, sg_jval a, sg_jval name)
{
    if (!sg_jval_need_defined(j, a))
        return sg_jval_undef();
    sg_jval v = native_attr(j, a, name);
    if (v.kind != SG_J_ABSENT)
        return v;
    if ((a.kind == SG_J_DICT && !(name.n > 1 && name.s[0] == '_' && name.s[1] == '_')) || a.kind == SG_J_SPACE) {
        const sg_jval *found = sg_jdict_get(j, a.dict, name);
        if (found)
            return *found;
    }
    return sg_jval_undef_named(name);
}

/* A list index or a string position as Python counts them; false when it is outside. */
static bool resolve_index(int64_t i, int64_t n, size_t *at)
{
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return false;
    *at = (size_t)i;
    return true;
}

static sg_jval at_index(sg_jinja *j, sg_jval a, int64_t i)
{
    size_t at;
    int64_t n = sg_jval_length(a);
    if (a.kind == SG_J_STR && !sg_jinja_charge(j, a.n / 64))
        return sg_jval_undef();
    if (!resolve_index(i, n, &at))
        return sg_jval_undef_named(sg_jval_cstr("item"));
    if (a.kind == SG_J_RANGE)
        return sg_jval_int(a.range->start + (int64_t)at * a.range->step);
    if (a.kind != SG_J_STR)
        return a.list->items[at];
    size_t from = sg_jstr_offset(a.s, a.n, at);
    return sg_jval_str(a.s + from, sg_jstr_offset(a.s + from, a.n - from, 1));
}

sg_jval sg_jinja_item(sg_jinja *j, sg_jval a, sg_jval key)
{
    if (!sg_jval_need_defined(j, a))
        return sg_jval_undef();
    if (a.kind == SG_J_DICT || a.kind == SG_J_SPACE) {
        const sg_jval *v = sg_jdict_get(j, a.dict, key);
        if (v)
            return *v;
    }
    bool sequence = a.kind == SG_J_LIST || a.kind == SG_J_TUPLE || a.kind == SG_J_STR || a.kind == SG_J_RANGE;
    if (sequence && sg_jval_integral(key))
        return at_index(j, a, key.i);
    if (key.kind == SG_J_STR) {
        sg_jval v = native_attr(j, a, key);
        return v.kind == SG_J_ABSENT ? sg_jval_undef_named(key) : v;
    }
    return sg_jval_undef_named(sg_jval_cstr("item"));
}

/* One end of a slice, clamped as Python does. */
static bool slice_end(sg_jinja *j, sg_jval v, int64_t n, bool backward, int64_t fallback, int64_t *out)
{
    if (v.kind == SG_J_ABSENT || v.kind == SG_J_NONE) {
        *out = fallback;
        return true;
    }
    if (!sg_jval_integral(v))
        return sg_jinja_fail(j, SG_E_ARGUMENT, "slice indices must be integers, not %s", sg_jval_type(v));
    int64_t i = v.i, low = backward ? -1 : 0, high = backward ? n - 1 : n;
    if (i < 0)
        i = i < -n ? low : i + n;
    *out = i < low ? low : i > high ? high : i;
    return true;
}

static sg_jval slice_string(sg_jinja *j, sg_jval a, int64_t start, int64_t step, int64_t count)
{
    if (count == 0)
        return sg_jval_str("", 0);
    if (step == 1) {
        size_t from = sg_jstr_offset(a.s, a.n, (size_t)start);
        sg_jval v = sg_jval_str(a.s + from, sg_jstr_offset(a.s + from, a.n - from, (size_t)count));
        v.mark = a.mark;
        return v;
    }
    sg_jlist cs = sg_jval_items(j, a);
    sg_jinja_text t = {.j = j};
    for (int64_t k = 0; k < count && sg_jinja_charge(j, 1); k++) {
        sg_jval c = cs.items[start + k * step];
        sg_jinja_text_add(&t, c.s, c.n);
    }
    return sg_jval_text(&t);
}

static sg_jval slice_list(sg_jinja *j, sg_jval a, int64_t start, int64_t step, int64_t count)
{
    sg_jlist from = sg_jval_items(j, a);
    sg_jval l = sg_jval_list(j, (size_t)count);
    for (int64_t k = 0; k < count && sg_jinja_ok(j); k++)
        sg_jlist_add(j, l.list, from.items[start + k * step]);
    if (l.kind == SG_J_LIST && a.kind == SG_J_TUPLE)
        l.kind = SG_J_TUPLE;
    return l;
}

sg_jval sg_jinja_slice(sg_jinja *j, sg_jval a, sg_jval start, sg_jval stop, sg_jval step)
{
    if (!sg_jval_need_defined(j, a))
        return sg_jval_undef();
    if (a.kind != SG_J_STR && a.kind != SG_J_LIST && a.kind != SG_J_TUPLE && a.kind != SG_J_RANGE) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "'%s' cannot be sliced", sg_jval_type(a));
        return sg_jval_undef();
    }
    int64_t n = sg_jval_length(a), by = 1, from = 0, to = 0;
    if (!sg_jinja_charge(j, a.kind == SG_J_STR ? a.n / 64 : 0) || !slice_end(j, step, INT32_MAX, false, 1, &by))
        return sg_jval_undef();
    if (sg_jval_integral(step))
        by = step.i < -INT32_MAX ? -INT32_MAX : step.i > INT32_MAX ? INT32_MAX : step.i;
    if (by == 0) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "slice step cannot be zero");
        return sg_jval_undef();
    }
    if (!slice_end(j, start, n, by < 0, by < 0 ? n - 1 : 0, &from) || !slice_end(j, stop, n, by < 0, by < 0 ? -1 : n, &to))
        return sg_jval_undef();
    int64_t span = by > 0 ? to - from : from - to, width = by > 0 ? by : -by;
    int64_t count = span <= 0 ? 0 : (span + width - 1) / width;
    return a.kind == SG_J_STR ? slice_string(j, a, from, by, count) : slice_list(j, a, from, by, count);
}

/* ---- calls --------------------------------------------------------------------------------- */

static sg_jval joiner_call(const sg_jval v)
{
    bool first = v.cycler->at == 0;
    v.cycler->at = 1;
    return first ? sg_jval_str("", 0) : v.cycler->list.items[0];
}

sg_jval sg_jinja_call(sg_jinja *j, sg_jval callee, const sg_jargs *args)
{
    sg_jval slots[SG_JARGS_MAX], out = sg_jval_undef();
    if (!sg_jval_need_defined(j, callee) || !sg_jinja_enter(j))
        return out;
    switch (callee.kind) {
    case SG_J_MACRO:
        out = sg_jmacro_call(j, callee.macro, args);
        break;
    case SG_J_LOOP:
        out = sg_jloop_call(j, callee.loop, args);
        break;
    case SG_J_FUNC:
        if (sg_jargs_bind(j, callee.func->name, callee.func->spec, args, slots))
            out = callee.func->run(j, slots, args);
        break;
    case SG_J_METHOD:
        if (sg_jargs_bind(j, callee.method->row->name, callee.method->row->spec, args, slots))
            out = callee.method->row->run(j, callee.method->self, slots, args);
        break;
    case SG_J_JOINER:
        out = joiner_call(callee);
        break;
    default:
        sg_jinja_fail(j, SG_E_ARGUMENT, "'%s' is not callable", sg_jval_type(callee));
    }
    sg_jinja_leave(j);
    return out;
}

/* The values behind *args and **kwargs. */
static void add_starred(sg_jinja *j, const sg_jcall *c, sg_jscope *scope, sg_jval *pos, sg_jnamed **kw, uint32_t *nkw)
{
    if (c->star) {
        sg_jlist l = sg_jval_items(j, sg_jinja_eval(j, c->star, scope));
        for (uint32_t i = 0; i < l.n && sg_jinja_ok(j); i++)
            sg_jlist_add(j, pos->list, l.items[i]);
    }
    if (!c->star2)
        return;
    sg_jval d = sg_jinja_eval(j, c->star2, scope);
    if (sg_jinja_ok(j) && d.kind != SG_J_DICT)
        sg_jinja_fail(j, SG_E_ARGUMENT, "what stands behind ** must be a mapping, not %s", sg_jval_type(d));
    if (!sg_jinja_ok(j))
        return;
    sg_jnamed *wider = sg_jinja_array(j, (size_t)*nkw + d.dict->n + 1, sizeof *wider);
    if (!wider)
        return;
    if (*nkw)
        memcpy(wider, *kw, *nkw * sizeof *wider);
    for (uint32_t i = 0; i < d.dict->n; i++)
        wider[(*nkw)++] = (sg_jnamed){d.dict->items[i].key, d.dict->items[i].value};
    *kw = wider;
}

/* Evaluate arguments; `caller`, unless ABSENT, is one more keyword argument. */
static sg_jargs eval_args(sg_jinja *j, const sg_jcall *c, sg_jscope *scope, sg_jval caller)
{
    static const sg_jcall no_arguments = {0};
    c = c ? c : &no_arguments;
    uint32_t nkw = 0;
    if (c->npos == 0 && c->nkw == 0 && !c->star && !c->star2 && caller.kind == SG_J_ABSENT)
        return (sg_jargs){0};
    sg_jval pos = sg_jval_list(j, c->npos);
    sg_jnamed *kw = sg_jinja_array(j, (size_t)c->nkw + 2, sizeof *kw);
    if (!kw)
        return (sg_jargs){0};
    for (uint32_t i = 0; i < c->npos && sg_jinja_ok(j); i++)
        sg_jlist_add(j, pos.list, sg_jinja_eval(j, c->pos[i], scope));
    for (uint32_t i = 0; i < c->nkw; i++)
        kw[nkw++] = (sg_jnamed){c->kw[i].name, sg_jinja_eval(j, c->kw[i].value, scope)};
    if (caller.kind != SG_J_ABSENT)
        kw[nkw++] = (sg_jnamed){sg_jval_cstr("caller"), caller};
    if (sg_jinja_ok(j))
        add_starred(j, c, scope, &pos, &kw, &nkw);
    if (!sg_jinja_ok(j))
        return (sg_jargs){0};
    return (sg_jargs){pos.list->items, pos.list->n, kw, nkw};
}

static sg_jval eval_call(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope, sg_jval caller)
{
    sg_jval callee = sg_jinja_eval(j, e->a, scope);
    if (!sg_jval_need_defined(j, callee))
        return sg_jval_undef();
    sg_jargs args = eval_args(j, e->call, scope, caller);
    j->line = e->line;
    return sg_jinja_ok(j) ? sg_jinja_call(j, callee, &args) : sg_jval_undef();
}

/* {% call %}: used by the statement. */
sg_jval sg_jinja_eval_call_block(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope, sg_jval caller);
sg_jval sg_jinja_eval_call_block(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope, sg_jval caller)
{
    return eval_call(j, e, scope, caller);
}

bool sg_jargs_bind(sg_jinja *j, const char *who, const char *spec, const sg_jargs *args, sg_jval slots[SG_JARGS_MAX])
{
    uint32_t n = 0, used = 0;
    const char *s = spec;
    while (*s && *s != '*') {
        bool optional = *s == '?';
        s += optional;
        size_t len = strcspn(s, " ");
        slots[n] = n < args->npos ? args->pos[n] : (sg_jval){0};
        for (uint32_t k = 0; k < args->nkw; k++)
            if (args->kw[k].name.kind == SG_J_STR && args->kw[k].name.n == len && memcmp(args->kw[k].name.s, s, len) == 0) {
                if (slots[n].kind != SG_J_ABSENT)
                    return sg_jinja_fail(j, SG_E_ARGUMENT, "%s: '%.*s' is given twice", who, (int)len, s);
                slots[n] = args->kw[k].value;
                used++;
            }
        if (slots[n].kind == SG_J_ABSENT && !optional)
            return sg_jinja_fail(j, SG_E_ARGUMENT, "%s: argument '%.*s' is missing", who, (int)len, s);
        n++;
        s += len + (s[len] == ' ');
    }
    if (*s == '*')
        return true;
    if (args->npos > n)
        return sg_jinja_fail(j, SG_E_ARGUMENT, "%s: takes at most %u arguments, got %u", who, n, args->npos);
    if (used < args->nkw)
        return sg_jinja_fail(j, SG_E_ARGUMENT, "%s: got an unknown keyword argument", who);
    return true;
}

int64_t sg_jarg_int(sg_jinja *j, sg_jval v, int64_t fallback)
{
    if (v.kind == SG_J_ABSENT)
        return fallback;
    if (sg_jval_integral(v))
        return v.i;
    sg_jinja_fail(j, SG_E_ARGUMENT, "an integer is needed, not %s", sg_jval_type(v));
    return fallback;
}

bool sg_jarg_bool(sg_jval v, bool fallback) { return v.kind == SG_J_ABSENT ? fallback : sg_jval_truthy(v); }

/* ---- filters and tests --------------------------------------------------------------------------- */

sg_jval sg_jfilter_apply(sg_jinja *j, const sg_jfilter *f, sg_jval v, const sg_jargs *args)
{
    sg_jval slots[SG_JARGS_MAX];
    if (!sg_jinja_charge(j, 1) || !sg_jargs_bind(j, f->name, f->spec, args, slots))
        return sg_jval_undef();
    sg_jval out = f->run(j, v, slots, args);
    return sg_jinja_ok(j) ? out : sg_jval_undef();
}

bool sg_jtest_apply(sg_jinja *j, const sg_jtest *t, sg_jval v, const sg_jargs *args)
{
    sg_jval slots[SG_JARGS_MAX];
    return sg_jinja_charge(j, 1) && sg_jargs_bind(j, t->name, t->spec, args, slots) && t->run(j, v, slots) && sg_jinja_ok(j);
}

static sg_jval unknown(sg_jinja *j, const char *what, sg_jval name)
{
    sg_jinja_fail(j, SG_E_FORMAT, "no %s named '%.*s'", what, (int)(name.n < 80 ? name.n : 80), name.s);
    return sg_jval_undef();
}

static sg_jval apply_filter(sg_jinja *j, const sg_jexpr *e, sg_jval v, sg_jscope *scope)
{
    if (!sg_jinja_ok(j))
        return sg_jval_undef();
    if (!e->entry)
        return unknown(j, "filter", e->v);
    sg_jargs args = eval_args(j, e->call, scope, (sg_jval){0});
    j->line = e->line;
    return sg_jinja_ok(j) ? sg_jfilter_apply(j, e->entry, v, &args) : sg_jval_undef();
}

sg_jval sg_jinja_filter_value(sg_jinja *j, const sg_jexpr *e, sg_jval v, sg_jscope *scope)
{
    if (e->a) {
        if (!sg_jinja_enter(j))
            return sg_jval_undef();
        v = sg_jinja_filter_value(j, e->a, v, scope);
        sg_jinja_leave(j);
    }
    return apply_filter(j, e, v, scope);
}

static sg_jval eval_test(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval v = sg_jinja_eval(j, e->a, scope);
    if (!sg_jinja_ok(j))
        return v;
    if (!e->entry)
        return unknown(j, "test", e->v);
    sg_jargs args = eval_args(j, e->call, scope, (sg_jval){0});
    j->line = e->line;
    return sg_jval_bool(sg_jinja_ok(j) && sg_jtest_apply(j, e->entry, v, &args) != e->negated);
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

static sg_jval eval_items(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval l = sg_jval_list(j, e->nitem);
    for (uint32_t i = 0; i < e->nitem && sg_jinja_ok(j); i++)
        sg_jlist_add(j, l.list, sg_jinja_eval(j, e->items[i], scope));
    if (l.kind == SG_J_LIST && e->kind == SG_X_TUPLE)
        l.kind = SG_J_TUPLE;
    return l;
}

static sg_jval eval_dict(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval d = sg_jval_dict(j);
    for (uint32_t i = 0; i + 1 < e->nitem && sg_jinja_ok(j); i += 2) {
        sg_jval k = sg_jinja_eval(j, e->items[i], scope);
        sg_jval v = sg_jinja_eval(j, e->items[i + 1], scope);
        if (sg_jinja_ok(j))
            sg_jdict_set(j, d.dict, k, v);
    }
    return d;
}

static sg_jval eval_concat(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jinja_text t = {.j = j};
    for (uint32_t i = 0; i < e->nitem && sg_jinja_ok(j); i++) {
        sg_jval v = sg_jinja_eval(j, e->items[i], scope);
        if (sg_jinja_ok(j))
            sg_jtext_str(&t, v);
    }
    return sg_jval_text(&t);
}

static bool holds(sg_jinja *j, int op, sg_jval a, sg_jval b)
{
    bool unordered = false;
    int c;
    switch (op) {
    case SG_OP2('=', '='):
        return sg_jval_equal(j, a, b);
    case SG_OP2('!', '='):
        return !sg_jval_equal(j, a, b);
    case SG_OP_IN:
        return sg_jval_contains(j, b, a);
    case SG_OP_NOT_IN:
        return !sg_jval_contains(j, b, a);
    case '<':
        c = sg_jval_compare(j, a, b, "<", &unordered);
        return !unordered && c < 0;
    case '>':
        c = sg_jval_compare(j, a, b, ">", &unordered);
        return !unordered && c > 0;
    case SG_OP2('<', '='):
        c = sg_jval_compare(j, a, b, "<=", &unordered);
        return !unordered && c <= 0;
    default:
        c = sg_jval_compare(j, a, b, ">=", &unordered);
        return !unordered && c >= 0;
    }
}

static sg_jval eval_compare(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval a = sg_jinja_eval(j, e->a, scope);
    for (uint32_t i = 0; i < e->nitem; i++) {
        sg_jval b = sg_jinja_eval(j, e->items[i], scope);
        if (!sg_jinja_ok(j) || !holds(j, e->ops[i], a, b))
            return sg_jval_bool(false);
        a = b;
    }
    return sg_jval_bool(true);
}

static sg_jval eval_slice(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval none = {0}, a = sg_jinja_eval(j, e->a, scope);
    sg_jval start = e->b ? sg_jinja_eval(j, e->b, scope) : none;
    sg_jval stop = e->c ? sg_jinja_eval(j, e->c, scope) : none;
    sg_jval step = e->d ? sg_jinja_eval(j, e->d, scope) : none;
    return sg_jinja_ok(j) ? sg_jinja_slice(j, a, start, stop, step) : sg_jval_undef();
}

static sg_jval eval_two(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval a = sg_jinja_eval(j, e->a, scope), b = sg_jinja_eval(j, e->b, scope);
    j->line = e->line;
    if (!sg_jinja_ok(j))
        return sg_jval_undef();
    return e->kind == SG_X_ITEM ? sg_jinja_item(j, a, b) : sg_jinja_binary(j, e->op, a, b);
}

static sg_jval eval_one(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval a = sg_jinja_eval(j, e->a, scope);
    if (!sg_jinja_ok(j))
        return sg_jval_undef();
    switch (e->kind) {
    case SG_X_ATTR:
        return sg_jinja_attr(j, a, e->v);
    case SG_X_NOT:
        return sg_jval_bool(!sg_jval_truthy(a));
    case SG_X_NEG:
        return sg_jinja_negate(j, a);
    default: /* SG_X_POS */
        return sg_jval_need_defined(j, a) ? sg_jinja_binary(j, '+', sg_jval_int(0), a) : a;
    }
}

static sg_jval eval_branch(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    bool yes = sg_jval_truthy(sg_jinja_eval(j, e->b, scope));
    const sg_jexpr *taken = yes ? e->a : e->c;
    return sg_jinja_ok(j) && taken ? sg_jinja_eval(j, taken, scope) : sg_jval_undef();
}

static sg_jval eval_logic(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    sg_jval a = sg_jinja_eval(j, e->a, scope);
    if (!sg_jinja_ok(j) || sg_jval_truthy(a) == (e->kind == SG_X_OR))
        return a;
    return sg_jinja_eval(j, e->b, scope);
}

static sg_jval eval_node(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    switch ((sg_jexpr_kind)e->kind) {
    case SG_X_CONST:
        return e->v;
    case SG_X_NAME:
        return lookup(j, e, scope);
    case SG_X_LIST:
    case SG_X_TUPLE:
        return eval_items(j, e, scope);
    case SG_X_DICT:
        return eval_dict(j, e, scope);
    case SG_X_ATTR:
    case SG_X_NOT:
    case SG_X_NEG:
    case SG_X_POS:
        return eval_one(j, e, scope);
    case SG_X_ITEM:
    case SG_X_BINARY:
        return eval_two(j, e, scope);
    case SG_X_SLICE:
        return eval_slice(j, e, scope);
    case SG_X_CALL:
        return eval_call(j, e, scope, (sg_jval){0});
    case SG_X_FILTER:
        return apply_filter(j, e, sg_jinja_eval(j, e->a, scope), scope);
    case SG_X_TEST:
        return eval_test(j, e, scope);
    case SG_X_AND:
    case SG_X_OR:
        return eval_logic(j, e, scope);
    case SG_X_CONCAT:
        return eval_concat(j, e, scope);
    case SG_X_COMPARE:
        return eval_compare(j, e, scope);
    case SG_X_IF:
        return eval_branch(j, e, scope);
    }
    return sg_jval_undef();
}

sg_jval sg_jinja_eval(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope)
{
    if (!sg_jinja_charge(j, 1) || !sg_jinja_enter(j))
        return sg_jval_undef();
    j->line = e->line;
    sg_jval v = eval_node(j, e, scope);
    sg_jinja_leave(j);
    return v;
}
