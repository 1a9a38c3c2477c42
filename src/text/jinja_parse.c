/* text/jinja_parse.c - statements.
 *
 * A template is a chain of statements; a block statement has chains of its own.  {% elif %} hangs off
 * its {% if %} sideways (`elif`), so that a long chain is walked, not recursed into.  Blocks nest at
 * most BLOCK_DEPTH deep.
 *
 * Two things are known only later and noted on the way: which of varargs, kwargs and caller a macro's
 * body uses (a macro that does not use varargs refuses surplus arguments), and unknown filters and
 * tests, which are an error of the whole template unless they stand in a branch of an if.
 */
#include "text/jinja_parse.h"

enum { BLOCK_DEPTH = 100 };

/* ---- names -------------------------------------------------------------------------- */

static uint64_t name_hash(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* The place of the name in the table: taken by it or free. */
static sg_jval *symbol_place(const sg_jinja_symbols *t, const char *s, size_t n)
{
    uint32_t mask = t->cap - 1, at = (uint32_t)name_hash(s, n) & mask;
    while (t->table[at].kind != SG_J_ABSENT && (t->table[at].n != n || memcmp(t->table[at].s, s, n) != 0))
        at = (at + 1) & mask;
    return &t->table[at];
}

static bool symbols_grow(sg_jinja *j, sg_jinja_symbols *t)
{
    uint32_t cap = t->cap ? 2 * t->cap : 64;
    sg_jinja_symbols wider = {sg_jinja_array(j, cap, sizeof(sg_jval)), t->n, cap};
    if (!wider.table)
        return false;
    memset(wider.table, 0, cap * sizeof(sg_jval));
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->table[i].kind != SG_J_ABSENT)
            *symbol_place(&wider, t->table[i].s, t->table[i].n) = t->table[i];
    *t = wider;
    return true;
}

sg_jval sg_jinja_intern(sg_jinja *j, sg_jval name)
{
    sg_jinja_symbols *t = j->symbols;
    if (!sg_jinja_ok(j) || (2 * (t->n + 1) > t->cap && !symbols_grow(j, t)))
        return name;
    sg_jval *place = symbol_place(t, name.s, name.n);
    if (place->kind == SG_J_ABSENT) {
        *place = name;
        t->n++;
    }
    return *place;
}

sg_jval sg_jinja_symbol(const sg_jinja_symbols *symbols, const char *s, size_t n)
{
    sg_jval *place = symbol_place(symbols, s, n);
    return place->kind == SG_J_ABSENT ? (sg_jval){0} : *place;
}

/* ---- tokens ---------------------------------------------------------------------------- */

void sg_jparser_step(sg_jparser *p)
{
    p->now = p->ahead;
    if (p->now.type != SG_T_EOF)
        p->ahead = sg_jlexer_next(&p->lex);
}

bool sg_jparser_fail(sg_jparser *p, const char *expected)
{
    char text[80];
    p->j->line = p->now.line;
    return sg_jinja_fail(p->j, SG_E_FORMAT, "expected %s, got %s", expected, sg_jtoken_text(&p->now, text, sizeof text));
}

bool sg_jparser_at_op(const sg_jparser *p, int op) { return p->now.type == SG_T_OP && p->now.op == op; }
bool sg_jparser_at_name(const sg_jparser *p, const char *name) { return p->now.type == SG_T_NAME && sg_jval_is_str(p->now.value, name); }

bool sg_jparser_skip_op(sg_jparser *p, int op)
{
    if (!sg_jparser_at_op(p, op))
        return false;
    sg_jparser_step(p);
    return true;
}

bool sg_jparser_skip_name(sg_jparser *p, const char *name)
{
    if (!sg_jparser_at_name(p, name))
        return false;
    sg_jparser_step(p);
    return true;
}

bool sg_jparser_want_op(sg_jparser *p, int op)
{
    if (sg_jparser_skip_op(p, op))
        return true;
    char want[] = {'\'', (char)op, '\'', '\0'};
    return sg_jparser_fail(p, want);
}

static bool want_block_end(sg_jparser *p)
{
    if (p->now.type != SG_T_BLOCK_END)
        return sg_jparser_fail(p, "end of statement block");
    sg_jparser_step(p);
    return true;
}

static sg_jval want_name(sg_jparser *p)
{
    if (p->now.type != SG_T_NAME) {
        sg_jparser_fail(p, "a name");
        return sg_jval_cstr("");
    }
    sg_jval v = sg_jinja_intern(p->j, p->now.value);
    sg_jparser_step(p);
    return v;
}

/* ---- blocks ------------------------------------------------------------------------------ */

/* The statements of a body, up to {% NAME where NAME is one of `ends` (ended by NULL; NULL: the end of the template).
 * Afterwards the parser stands on that NAME. */
static sg_jstmt *statements(sg_jparser *p, const char *const *ends);

static bool at_end(const sg_jparser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (p->now.type == SG_T_BLOCK_BEGIN && p->ahead.type == SG_T_NAME && sg_jval_is_str(p->ahead.value, *ends))
            return true;
    return false;
}

/* %} (or :%}), the body, and {% up to the name that ends it. */
static sg_jstmt *body(sg_jparser *p, const char *const *ends)
{
    sg_jparser_skip_op(p, ':');
    if (!want_block_end(p))
        return NULL;
    sg_jstmt *s = statements(p, ends);
    sg_jparser_step(p); /* the {% */
    return s;
}

/* A body that ends with {% end %}. */
static sg_jstmt *whole_body(sg_jparser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    sg_jstmt *s = body(p, ends);
    sg_jparser_step(p);
    return s;
}

static sg_jstmt *new_stmt(sg_jparser *p, sg_jstmt_kind kind)
{
    sg_jstmt *s = sg_jinja_alloc(p->j, sizeof *s);
    if (s)
        *s = (sg_jstmt){.kind = (uint8_t)kind, .line = p->now.line};
    return s;
}

/* ---- targets ------------------------------------------------------------------------------- */

static bool check_target(sg_jparser *p, const sg_jexpr *e)
{
    if (!sg_jinja_ok(p->j))
        return false;
    if (e->kind == SG_X_NAME)
        return true;
    if (e->kind != SG_X_TUPLE && e->kind != SG_X_LIST) {
        p->j->line = e->line;
        return sg_jinja_fail(p->j, SG_E_FORMAT, "cannot assign to that");
    }
    for (uint32_t i = 0; i < e->nitem; i++)
        if (!check_target(p, e->items[i]))
            return false;
    return true;
}

static sg_jexpr *target(sg_jparser *p, const char *stop)
{
    sg_jexpr *e = sg_jparser_tuple(p, SG_TUPLE_TARGET, stop);
    check_target(p, e);
    return e;
}

/* ---- statements ------------------------------------------------------------------------------ */

static void parse_if(sg_jparser *p, sg_jstmt *s)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    sg_jpending *mark = p->pending;
    for (;;) {
        s->e = sg_jparser_tuple(p, SG_TUPLE_NO_IF, NULL);
        s->body = body(p, ends);
        if (!sg_jinja_ok(p->j) || !sg_jparser_at_name(p, "elif"))
            break;
        sg_jparser_step(p);
        s->elif = new_stmt(p, SG_S_IF);
        if (!s->elif)
            return;
        s = s->elif;
    }
    if (sg_jparser_skip_name(p, "else"))
        s->orelse = whole_body(p, "endif");
    else
        sg_jparser_step(p);
    p->pending = mark;
}

static void parse_for(sg_jparser *p, sg_jstmt *s)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    s->target = target(p, "in");
    if (sg_jinja_ok(p->j) && !sg_jparser_skip_name(p, "in"))
        sg_jparser_fail(p, "'in'");
    s->e = sg_jparser_tuple(p, SG_TUPLE_NO_IF, "recursive");
    if (sg_jparser_skip_name(p, "if"))
        s->cond = sg_jparser_expression(p);
    s->recursive = sg_jparser_skip_name(p, "recursive");
    p->loops++;
    s->body = body(p, ends);
    p->loops--;
    if (sg_jparser_skip_name(p, "else"))
        s->orelse = whole_body(p, "endfor");
    else
        sg_jparser_step(p);
}

static void parse_set(sg_jparser *p, sg_jstmt *s)
{
    if (p->now.type == SG_T_NAME && p->ahead.type == SG_T_OP && p->ahead.op == '.') {
        s->kind = SG_S_SET_ATTR;
        s->target = sg_jparser_node(p, SG_X_NAME, NULL, NULL);
        sg_jval name = want_name(p);
        sg_jparser_step(p);
        s->text = want_name(p);
        if (sg_jinja_ok(p->j))
            s->target->v = name;
        if (!sg_jparser_want_op(p, '='))
            return;
        s->e = sg_jparser_tuple(p, SG_TUPLE_PLAIN, NULL);
        return;
    }
    s->target = target(p, NULL);
    if (sg_jparser_skip_op(p, '=')) {
        s->e = sg_jparser_tuple(p, SG_TUPLE_PLAIN, NULL);
        return;
    }
    s->kind = SG_S_CAPTURE;
    s->e = sg_jparser_at_op(p, '|') ? sg_jparser_filters(p, NULL, false) : NULL;
    s->body = whole_body(p, "endset");
}

static bool parse_signature(sg_jparser *p, sg_jmacro_def *m)
{
    uint32_t cap = 0;
    sg_jparser_want_op(p, '(');
    while (sg_jinja_ok(p->j) && !sg_jparser_at_op(p, ')')) {
        if (m->nparam && !sg_jparser_want_op(p, ','))
            return false;
        if (m->nparam == cap) {
            cap = cap ? 2 * cap : 4;
            sg_jparam *wider = sg_jinja_array(p->j, cap, sizeof *wider);
            if (!wider)
                return false;
            if (m->nparam)
                memcpy(wider, m->params, m->nparam * sizeof *wider);
            m->params = wider;
        }
        sg_jparam a = {.name = want_name(p)};
        for (uint32_t i = 0; i < m->nparam && sg_jinja_ok(p->j); i++)
            if (m->params[i].name.s == a.name.s)
                return sg_jparser_fail(p, "parameters with different names");
        if (sg_jparser_skip_op(p, '='))
            a.fallback = sg_jparser_expression(p);
        else if (m->nparam && m->params[m->nparam - 1].fallback)
            return sg_jparser_fail(p, "a default, as the parameter before has one");
        m->params[m->nparam++] = a;
    }
    return sg_jparser_want_op(p, ')');
}

/* The body of a macro or of a call block, with what it uses noted. */
static void macro_body(sg_jparser *p, sg_jmacro_def *m, const char *end)
{
    sg_jmacro_def *outer = p->macro;
    uint32_t loops = p->loops;
    p->macro = m;
    p->loops = 0;
    m->body = whole_body(p, end);
    p->macro = outer;
    p->loops = loops;
    if (outer && sg_jinja_ok(p->j)) { /* what an inner macro uses may be the outer one's */
        outer->varargs |= m->varargs;
        outer->kwargs |= m->kwargs;
        outer->caller |= m->caller;
    }
}

static void parse_macro(sg_jparser *p, sg_jstmt *s)
{
    sg_jmacro_def *m = s->macro = sg_jinja_alloc(p->j, sizeof *m);
    if (!m)
        return;
    *m = (sg_jmacro_def){.name = want_name(p)};
    if (parse_signature(p, m))
        macro_body(p, m, "endmacro");
}

static void parse_call(sg_jparser *p, sg_jstmt *s)
{
    sg_jmacro_def *m = s->macro = sg_jinja_alloc(p->j, sizeof *m);
    if (!m)
        return;
    *m = (sg_jmacro_def){.name = sg_jinja_intern(p->j, sg_jval_cstr("caller"))};
    if (sg_jparser_at_op(p, '(') && !parse_signature(p, m))
        return;
    s->e = sg_jparser_expression(p);
    if (sg_jinja_ok(p->j) && s->e->kind != SG_X_CALL)
        sg_jparser_fail(p, "a call");
    macro_body(p, m, "endcall");
}

static void parse_with(sg_jparser *p, sg_jstmt *s)
{
    uint32_t cap = 0;
    while (sg_jinja_ok(p->j) && p->now.type != SG_T_BLOCK_END) {
        if (s->nwith && !sg_jparser_want_op(p, ','))
            return;
        if (s->nwith == cap) {
            cap = cap ? 2 * cap : 4;
            sg_jassign *wider = sg_jinja_array(p->j, cap, sizeof *wider);
            if (!wider)
                return;
            if (s->nwith)
                memcpy(wider, s->with, s->nwith * sizeof *wider);
            s->with = wider;
        }
        sg_jexpr *t = sg_jparser_node(p, SG_X_NAME, NULL, NULL);
        sg_jval name = want_name(p);
        if (!sg_jparser_want_op(p, '=') || !sg_jinja_ok(p->j))
            return;
        t->v = name;
        s->with[s->nwith++] = (sg_jassign){t, sg_jparser_expression(p)};
    }
    s->body = whole_body(p, "endwith");
}

static void parse_block(sg_jparser *p, sg_jstmt *s)
{
    want_name(p);
    sg_jparser_skip_name(p, "scoped");
    sg_jparser_skip_name(p, "required");
    s->body = whole_body(p, "endblock");
}

static void parse_jump(sg_jparser *p, sg_jstmt *s)
{
    if (p->loops == 0) {
        p->j->line = s->line;
        sg_jinja_fail(p->j, SG_E_FORMAT, "'%s' outside of a loop", s->kind == SG_S_BREAK ? "break" : "continue");
    }
}

/* include, import, from, extends: there is no loader, so the arguments do not matter. */
static void parse_loader(sg_jparser *p, sg_jstmt *s)
{
    (void)s;
    while (p->now.type != SG_T_BLOCK_END && p->now.type != SG_T_EOF)
        sg_jparser_step(p);
}

static void parse_output(sg_jparser *p, sg_jstmt *s) { s->e = sg_jparser_tuple(p, SG_TUPLE_PLAIN, NULL); }

static void parse_filter(sg_jparser *p, sg_jstmt *s)
{
    s->e = sg_jparser_filters(p, NULL, true);
    s->body = whole_body(p, "endfilter");
}

static void parse_escape(sg_jparser *p, sg_jstmt *s)
{
    s->e = sg_jparser_expression(p);
    s->body = whole_body(p, "endautoescape");
}

static void parse_generation(sg_jparser *p, sg_jstmt *s)
{
    uint32_t loops = p->loops;
    p->loops = 0;
    s->body = whole_body(p, "endgeneration");
    p->loops = loops;
}

static const struct {
    const char *name;
    sg_jstmt_kind kind;
    void (*parse)(sg_jparser *p, sg_jstmt *s);
} tags[] = {
    {"if", SG_S_IF, parse_if},
    {"for", SG_S_FOR, parse_for},
    {"set", SG_S_SET, parse_set},
    {"macro", SG_S_MACRO, parse_macro},
    {"call", SG_S_CALL, parse_call},
    {"filter", SG_S_FILTER, parse_filter},
    {"with", SG_S_WITH, parse_with},
    {"print", SG_S_OUTPUT, parse_output},
    {"generation", SG_S_SCOPE, parse_generation},
    {"block", SG_S_SCOPE, parse_block},
    {"autoescape", SG_S_ESCAPE, parse_escape},
    {"break", SG_S_BREAK, parse_jump},
    {"continue", SG_S_CONTINUE, parse_jump},
    {"include", SG_S_NO_LOADER, parse_loader},
    {"import", SG_S_NO_LOADER, parse_loader},
    {"from", SG_S_NO_LOADER, parse_loader},
    {"extends", SG_S_NO_LOADER, parse_loader},
};

/* {% tag ... %}: the parser stands on the {%. */
static sg_jstmt *tag(sg_jparser *p)
{
    sg_jparser_step(p);
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (sg_jparser_at_name(p, tags[i].name)) {
            sg_jstmt *s = new_stmt(p, tags[i].kind);
            sg_jparser_step(p);
            if (s)
                tags[i].parse(p, s);
            want_block_end(p);
            return s;
        }
    if (p->now.type == SG_T_NAME) {
        p->j->line = p->now.line;
        sg_jinja_fail(p->j, SG_E_FORMAT, "unknown tag '%.*s', or one that nothing here opened",
                      (int)(p->now.value.n < 60 ? p->now.value.n : 60), p->now.value.s);
    } else {
        sg_jparser_fail(p, "the name of a tag");
    }
    return NULL;
}

static sg_jstmt *statement(sg_jparser *p)
{
    if (p->now.type == SG_T_BLOCK_BEGIN)
        return tag(p);
    sg_jstmt *s = new_stmt(p, p->now.type == SG_T_DATA ? SG_S_TEXT : SG_S_OUTPUT);
    if (!s)
        return NULL;
    if (p->now.type == SG_T_DATA) {
        s->text = p->now.value;
        sg_jparser_step(p);
        return s;
    }
    sg_jparser_step(p);
    parse_output(p, s);
    if (sg_jinja_ok(p->j) && p->now.type != SG_T_VAR_END)
        sg_jparser_fail(p, "end of print statement");
    sg_jparser_step(p);
    return s;
}

static sg_jstmt *statements(sg_jparser *p, const char *const *ends)
{
    sg_jstmt *first = NULL, **at = &first;
    uint32_t line = p->now.line;
    uint32_t cost = p->j->depth_max / BLOCK_DEPTH; /* so that blocks run out of depth at BLOCK_DEPTH */
    if (p->j->depth_max - p->j->depth < cost) {
        p->j->line = line;
        sg_jinja_fail(p->j, SG_E_LIMIT, "blocks nested more than %d deep", BLOCK_DEPTH);
        return NULL;
    }
    p->j->depth += cost;
    while (sg_jinja_ok(p->j) && p->now.type != SG_T_EOF && !at_end(p, ends)) {
        *at = statement(p);
        if (*at)
            at = &(*at)->next;
    }
    p->j->depth -= cost;
    if (ends && sg_jinja_ok(p->j) && p->now.type == SG_T_EOF) {
        p->j->line = line;
        sg_jinja_fail(p->j, SG_E_FORMAT, "the template ends before the '%s' of the block that begins here",
                      ends[1] && ends[2] ? ends[2] : ends[0]);
    }
    return first;
}

sg_jstmt *sg_jinja_parse(sg_jinja *j, const char *text, size_t n)
{
    static const char *const implied[] = {"loop", "varargs", "kwargs", "caller"};
    for (size_t i = 0; i < sizeof implied / sizeof implied[0]; i++)
        sg_jinja_intern(j, sg_jval_cstr(implied[i]));
    sg_jval source = sg_jinja_source(j, text, n);
    if (!sg_jinja_ok(j))
        return NULL;
    sg_jparser p = {.j = j};
    sg_jlexer_init(&p.lex, j, source);
    p.ahead = sg_jlexer_next(&p.lex);
    sg_jparser_step(&p);
    sg_jstmt *s = statements(&p, NULL);
    if (sg_jinja_ok(j) && p.pending) {
        while (p.pending->older)
            p.pending = p.pending->older;
        j->line = p.pending->line;
        sg_jinja_fail(j, SG_E_FORMAT, "no %s named '%.*s'", p.pending->is_test ? "test" : "filter",
                      (int)(p.pending->name.n < 80 ? p.pending->name.n : 80), p.pending->name.s);
    }
    return sg_jinja_ok(j) ? s : NULL;
}
