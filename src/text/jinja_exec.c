/* text/jinja_exec.c - statements: output, branches, loops, assignments, macros.
 *
 * Scopes are what makes templates surprising: a for body, a macro, a with, a captured block have their
 * own, thrown away at the end of each iteration or call; an if has none.  A macro keeps the scope in
 * which it was defined, so a top-level macro sees top-level variables as they are when it is called and
 * never its caller's.
 *
 * An iteration's bindings are used again by the next one unless a macro captured them; a loop over a
 * hundred thousand items then takes no memory but what its body makes.
 */
#include "text/jinja_eval.h"
#include "text/jinja_parse.h"
#include "text/jinja_print.h"

sg_jval sg_jinja_eval_call_block(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope, sg_jval caller);

/* ---- assignment ------------------------------------------------------------------------ */

static void assign(sg_jinja *j, const sg_jexpr *target, sg_jval v, sg_jscope *scope)
{
    if (!sg_jinja_ok(j))
        return;
    if (target->kind == SG_X_NAME) {
        sg_jscope_set(j, scope, target->v, v);
        return;
    }
    j->line = target->line;
    if (!sg_jval_need_defined(j, v) || !sg_jinja_enter(j))
        return;
    sg_jlist l = sg_jval_items(j, v);
    if (sg_jinja_ok(j) && l.n != target->nitem)
        sg_jinja_fail(j, SG_E_ARGUMENT, "cannot unpack %u values into %u names", l.n, target->nitem);
    for (uint32_t i = 0; i < target->nitem && sg_jinja_ok(j); i++)
        assign(j, target->items[i], l.items[i], scope);
    sg_jinja_leave(j);
}

static void set_attr(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope)
{
    sg_jval v = sg_jinja_eval(j, s->e, scope);
    const sg_jval *space = sg_jscope_find(j, scope, s->target->v);
    j->line = s->line;
    if (!sg_jinja_ok(j))
        return;
    if (!space || space->kind != SG_J_SPACE)
        sg_jinja_fail(j, SG_E_ARGUMENT, "cannot assign an attribute to '%.*s', which is no namespace",
                      (int)(s->target->v.n < 80 ? s->target->v.n : 80), s->target->v.s);
    else if (s->text.n && s->text.s[0] == '_')
        sg_jinja_fail(j, SG_E_ARGUMENT, "a namespace takes no attribute that begins with an underscore");
    else
        sg_jdict_set(j, space->dict, s->text, v);
}

static sg_jval output_value(const sg_jinja_text *t, bool safe)
{
    sg_jval v = sg_jval_text(t);
    v.mark = safe;
    return v;
}

static sg_jscope *new_scope(sg_jinja *j, sg_jscope *parent)
{
    sg_jscope *s = sg_jinja_alloc(j, sizeof *s);
    if (s)
        *s = (sg_jscope){.parent = parent};
    return s;
}

/* Run a body into a string. */
static sg_jval capture(sg_jinja *j, const sg_jstmt *body, sg_jscope *parent)
{
    sg_jscope *scope = new_scope(j, parent);
    sg_jinja_text t = {.j = j};
    if (!scope)
        return sg_jval_undef();
    sg_jinja_exec(j, body, scope, &t);
    return output_value(&t, j->autoescape);
}

/* ---- loops -------------------------------------------------------------------------------- */

/* An empty scope for the next iteration. */
static sg_jscope *next_scope(sg_jinja *j, sg_jscope *s)
{
    if (s->captured)
        return new_scope(j, s->parent);
    while (s->first) {
        sg_jbinding *b = s->first;
        s->first = b->next;
        b->next = j->spare;
        j->spare = b;
    }
    return s;
}

/* for ... if: the items that pass, judged in a scope of their own. */
static sg_jlist filtered(sg_jinja *j, const sg_jstmt *s, sg_jlist items, sg_jscope *parent)
{
    sg_jlist kept = {0};
    for (uint32_t i = 0; i < items.n && sg_jinja_ok(j); i++) {
        sg_jscope scope = {.parent = parent};
        assign(j, s->target, items.items[i], &scope);
        if (sg_jinja_ok(j) && sg_jval_truthy(sg_jinja_eval(j, s->cond, &scope)))
            sg_jlist_add(j, &kept, items.items[i]);
    }
    return kept;
}

static void run_loop(sg_jinja *j, const sg_jstmt *s, sg_jlist items, sg_jscope *parent, sg_jinja_text *out)
{
    sg_jloop *loop = sg_jinja_alloc(j, sizeof *loop);
    sg_jscope *scope = new_scope(j, parent);
    if (!loop || !scope)
        return;
    uint32_t depth = j->loop_depth;
    *loop = (sg_jloop){.items = items, .depth0 = depth, .stmt = s, .scope = parent};
    sg_jval loop_name = sg_jinja_symbol(j->symbols, "loop", 4);
    j->loop_depth = 0; /* it counts recursion, not nesting */
    for (; loop->at < items.n && sg_jinja_charge(j, 1); loop->at++) {
        sg_jscope_set(j, scope, loop_name, (sg_jval){.kind = SG_J_LOOP, .loop = loop});
        assign(j, s->target, items.items[loop->at], scope);
        if (!sg_jinja_ok(j) || sg_jinja_exec(j, s->body, scope, out) == SG_FLOW_BREAK)
            break;
        if (loop->at + 1 < items.n)
            scope = next_scope(j, scope);
        if (!scope)
            break;
    }
    j->loop_depth = depth;
}

static void exec_for(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jval v, sg_jinja_text *out)
{
    if (!sg_jinja_ok(j))
        return;
    j->line = s->line;
    sg_jlist items = sg_jval_items(j, v);
    if (s->cond)
        items = filtered(j, s, items, scope);
    if (!sg_jinja_ok(j))
        return;
    if (items.n) {
        run_loop(j, s, items, scope, out);
    } else if (s->orelse) {
        sg_jscope *inner = new_scope(j, scope);
        if (inner)
            sg_jinja_exec(j, s->orelse, inner, out);
    }
}

sg_jval sg_jloop_call(sg_jinja *j, const sg_jloop *loop, const sg_jargs *args)
{
    if (!loop->stmt->recursive || args->npos != 1 || args->nkw) {
        sg_jinja_fail(j, SG_E_ARGUMENT, "loop(...) needs a recursive for and one argument");
        return sg_jval_undef();
    }
    sg_jinja_text t = {.j = j};
    uint32_t depth = j->loop_depth;
    j->loop_depth = loop->depth0 + 1;
    exec_for(j, loop->stmt, loop->scope, args->pos[0], &t);
    j->loop_depth = depth;
    return output_value(&t, j->autoescape);
}

sg_jval sg_jloop_attr(sg_jinja *j, sg_jloop *l, sg_jval name)
{
    (void)j;
    struct {
        const char *name;
        sg_jval value;
    } const fields[] = {
        {"index", sg_jval_int((int64_t)l->at + 1)},
        {"index0", sg_jval_int(l->at)},
        {"revindex", sg_jval_int((int64_t)l->items.n - l->at)},
        {"revindex0", sg_jval_int((int64_t)l->items.n - l->at - 1)},
        {"first", sg_jval_bool(l->at == 0)},
        {"last", sg_jval_bool(l->at + 1 >= l->items.n)},
        {"length", sg_jval_int(l->items.n)},
        {"depth", sg_jval_int((int64_t)l->depth0 + 1)},
        {"depth0", sg_jval_int(l->depth0)},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (sg_jval_is_str(name, fields[i].name))
            return fields[i].value;
    if (sg_jval_is_str(name, "previtem") && l->at > 0)
        return l->items.items[l->at - 1];
    if (sg_jval_is_str(name, "nextitem") && l->at + 1 < l->items.n)
        return l->items.items[l->at + 1];
    return sg_jval_undef_named(name);
}

/* ---- macros ---------------------------------------------------------------------------------- */

static sg_jval make_macro(sg_jinja *j, const sg_jmacro_def *def, sg_jscope *scope)
{
    sg_jmacro *m = sg_jinja_alloc(j, sizeof *m);
    if (!m)
        return sg_jval_undef();
    *m = (sg_jmacro){def, scope};
    for (sg_jscope *s = scope; s && !s->captured; s = s->parent)
        s->captured = true;
    return (sg_jval){.kind = SG_J_MACRO, .macro = m};
}

/* The keyword argument of that name, taken out of *used; NULL when there is none. */
static const sg_jval *keyword(const sg_jargs *args, sg_jval name, uint32_t *used)
{
    for (uint32_t i = 0; i < args->nkw; i++)
        if (args->kw[i].name.kind == SG_J_STR && args->kw[i].name.n == name.n && memcmp(args->kw[i].name.s, name.s, name.n) == 0) {
            ++*used;
            return &args->kw[i].value;
        }
    return NULL;
}

static bool is_param(const sg_jmacro_def *def, sg_jval name)
{
    for (uint32_t i = 0; i < def->nparam; i++)
        if (def->params[i].name.n == name.n && memcmp(def->params[i].name.s, name.s, name.n) == 0)
            return true;
    return false;
}

static void bind_varargs(sg_jinja *j, const sg_jmacro_def *def, const sg_jargs *args, sg_jscope *scope)
{
    if (!def->varargs) {
        if (args->npos > def->nparam)
            sg_jinja_fail(j, SG_E_ARGUMENT, "macro '%.*s' takes not more than %u arguments", (int)(def->name.n < 80 ? def->name.n : 80),
                          def->name.s, def->nparam);
        return;
    }
    sg_jval t = sg_jval_list(j, args->npos);
    for (uint32_t i = def->nparam; i < args->npos && sg_jinja_ok(j); i++)
        sg_jlist_add(j, t.list, args->pos[i]);
    if (t.kind == SG_J_LIST)
        t.kind = SG_J_TUPLE;
    sg_jscope_set(j, scope, sg_jinja_symbol(j->symbols, "varargs", 7), t);
}

static void bind_kwargs(sg_jinja *j, const sg_jmacro_def *def, const sg_jargs *args, uint32_t used, sg_jscope *scope)
{
    if (!def->kwargs) {
        if (used < args->nkw)
            sg_jinja_fail(j, SG_E_ARGUMENT, "macro '%.*s' got a keyword argument that it does not take",
                          (int)(def->name.n < 80 ? def->name.n : 80), def->name.s);
        return;
    }
    sg_jval d = sg_jval_dict(j);
    for (uint32_t i = 0; i < args->nkw && sg_jinja_ok(j); i++)
        if (!is_param(def, args->kw[i].name) && !(def->caller && sg_jval_is_str(args->kw[i].name, "caller")))
            sg_jdict_set(j, d.dict, args->kw[i].name, args->kw[i].value);
    sg_jscope_set(j, scope, sg_jinja_symbol(j->symbols, "kwargs", 6), d);
}

/* Bind the arguments in the macro's scope, in order: a default may use the parameters before it. */
static void bind_params(sg_jinja *j, const sg_jmacro_def *def, const sg_jargs *args, sg_jscope *scope)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < def->nparam && sg_jinja_ok(j); i++) {
        const sg_jparam *p = &def->params[i];
        const sg_jval *given = i < args->npos ? &args->pos[i] : keyword(args, p->name, &used);
        sg_jval v = given ? *given : p->fallback ? sg_jinja_eval(j, p->fallback, scope) : sg_jval_undef_named(p->name);
        sg_jscope_set(j, scope, p->name, v);
    }
    sg_jval caller = sg_jinja_symbol(j->symbols, "caller", 6);
    if (def->caller && !is_param(def, caller)) {
        const sg_jval *given = keyword(args, caller, &used);
        sg_jscope_set(j, scope, caller, given ? *given : sg_jval_undef_named(caller));
    }
    if (sg_jinja_ok(j))
        bind_varargs(j, def, args, scope);
    if (sg_jinja_ok(j))
        bind_kwargs(j, def, args, used, scope);
}

sg_jval sg_jmacro_call(sg_jinja *j, const sg_jmacro *m, const sg_jargs *args)
{
    sg_jscope *scope = new_scope(j, m->scope);
    if (!scope)
        return sg_jval_undef();
    uint32_t depth = j->loop_depth;
    j->loop_depth = 0;
    bind_params(j, m->def, args, scope);
    sg_jinja_text t = {.j = j};
    sg_jinja_exec(j, m->def->body, scope, &t);
    j->loop_depth = depth;
    return output_value(&t, j->autoescape);
}

/* ---- statements -------------------------------------------------------------------------------- */

static void output(sg_jinja *j, sg_jval v, sg_jinja_text *out)
{
    if (!sg_jinja_ok(j))
        return;
    if (j->autoescape)
        sg_jtext_escape(out, v);
    else
        sg_jtext_str(out, v);
}

static sg_jflow exec_if(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    for (;; s = s->elif) {
        bool yes = sg_jval_truthy(sg_jinja_eval(j, s->e, scope));
        if (!sg_jinja_ok(j))
            return SG_FLOW_NEXT;
        if (yes)
            return sg_jinja_exec(j, s->body, scope, out);
        if (!s->elif)
            return sg_jinja_exec(j, s->orelse, scope, out);
    }
}

static void exec_with(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    sg_jscope *inner = new_scope(j, scope);
    if (!inner)
        return;
    for (uint32_t i = 0; i < s->nwith && sg_jinja_ok(j); i++)
        assign(j, s->with[i].target, sg_jinja_eval(j, s->with[i].value, scope), inner);
    sg_jinja_exec(j, s->body, inner, out);
}

static void exec_capture(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    sg_jval v = capture(j, s->body, scope);
    if (s->e && sg_jinja_ok(j))
        v = sg_jinja_filter_value(j, s->e, v, scope);
    if (s->kind == SG_S_CAPTURE)
        assign(j, s->target, v, scope);
    else
        output(j, v, out);
}

static void exec_escape(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    bool before = j->autoescape;
    bool on = sg_jval_truthy(sg_jinja_eval(j, s->e, scope));
    sg_jscope *inner = new_scope(j, scope);
    if (!inner)
        return;
    j->autoescape = on;
    sg_jinja_exec(j, s->body, inner, out);
    j->autoescape = before;
}

/* A body in its own scope, through which break and continue do not pass. */
static void exec_scope(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    sg_jscope *inner = new_scope(j, scope);
    if (inner)
        sg_jinja_exec(j, s->body, inner, out);
}

static sg_jflow exec_one(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    switch ((sg_jstmt_kind)s->kind) {
    case SG_S_TEXT:
        sg_jinja_text_add(out, s->text.s, s->text.n);
        break;
    case SG_S_OUTPUT:
        output(j, sg_jinja_eval(j, s->e, scope), out);
        break;
    case SG_S_IF:
        return exec_if(j, s, scope, out);
    case SG_S_FOR:
        exec_for(j, s, scope, sg_jinja_eval(j, s->e, scope), out);
        break;
    case SG_S_SET:
        assign(j, s->target, sg_jinja_eval(j, s->e, scope), scope);
        break;
    case SG_S_SET_ATTR:
        set_attr(j, s, scope);
        break;
    case SG_S_CAPTURE:
    case SG_S_FILTER:
        exec_capture(j, s, scope, out);
        break;
    case SG_S_MACRO:
        sg_jscope_set(j, scope, s->macro->name, make_macro(j, s->macro, scope));
        break;
    case SG_S_CALL:
        output(j, sg_jinja_eval_call_block(j, s->e, scope, make_macro(j, s->macro, scope)), out);
        break;
    case SG_S_WITH:
        exec_with(j, s, scope, out);
        break;
    case SG_S_SCOPE:
        exec_scope(j, s, scope, out);
        break;
    case SG_S_ESCAPE:
        exec_escape(j, s, scope, out);
        break;
    case SG_S_BREAK:
        return SG_FLOW_BREAK;
    case SG_S_CONTINUE:
        return SG_FLOW_CONTINUE;
    case SG_S_NO_LOADER:
        sg_jinja_fail(j, SG_E_UNSUPPORTED, "no other template can be loaded from here");
        break;
    }
    return SG_FLOW_NEXT;
}

sg_jflow sg_jinja_exec(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out)
{
    sg_jflow flow = SG_FLOW_NEXT;
    if (!sg_jinja_enter(j))
        return flow;
    for (; s && flow == SG_FLOW_NEXT && sg_jinja_charge(j, 1); s = s->next) {
        j->line = s->line;
        flow = exec_one(j, s, scope, out);
    }
    sg_jinja_leave(j);
    return flow;
}
