/* text/jinja_parse_expr.c - expressions.
 *
 * Recursive descent, one function a level, lowest first:
 *
 *     a if b else c | or | and | not | == < in ... | + - | ~ | * / // % | ** | - + | . [] () | filter, is
 *
 * As in Jinja (and unlike Python) ** binds from the left and less tightly than a sign, ~ binds tighter
 * than +, and a filter takes the sign in front of a number with it.  Nesting is bounded by the brackets
 * that the lexer counts, by sg_jinja_enter, and by the depth of the finished tree, which is what the
 * evaluator will recurse over.
 */
#include "text/jinja_parse.h"

#include "text/jinja_eval.h"

enum { TREE_DEPTH = 400 };

static sg_jexpr *condexpr(sg_jparser *p);
static sg_jexpr *unary(sg_jparser *p, bool with_filter);

void sg_jexprs_add(sg_jinja *j, sg_jexprs *l, sg_jexpr *e)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? 2 * l->cap : 4;
        sg_jexpr **items = sg_jinja_array(j, cap, sizeof *items);
        if (!items)
            return;
        if (l->n)
            memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = e;
}

static void deepen(sg_jparser *p, sg_jexpr *e, const sg_jexpr *child)
{
    if (child && child->depth >= e->depth)
        e->depth = (uint16_t)(child->depth + 1);
    if (e->depth > TREE_DEPTH) {
        p->j->line = e->line;
        sg_jinja_fail(p->j, SG_E_LIMIT, "an expression nested more than %d deep", TREE_DEPTH);
    }
}

/* The node that stands for a failed parse: everything may read it. */
static sg_jexpr *nothing(void)
{
    static const sg_jexpr none = {.kind = SG_X_CONST, .depth = 1, .v = {.kind = SG_J_NONE}};
    return (sg_jexpr *)(uintptr_t)&none; /* never written: writers check the failure first */
}

sg_jexpr *sg_jparser_node(sg_jparser *p, sg_jexpr_kind kind, sg_jexpr *a, sg_jexpr *b)
{
    sg_jexpr *e = sg_jinja_alloc(p->j, sizeof *e);
    if (!e)
        return nothing();
    *e = (sg_jexpr){.kind = (uint8_t)kind, .depth = 1, .line = a ? a->line : p->now.line, .a = a, .b = b};
    deepen(p, e, a);
    deepen(p, e, b);
    return e;
}

static sg_jexpr *with_items(sg_jparser *p, sg_jexpr_kind kind, sg_jexpr *a, const sg_jexprs *l)
{
    sg_jexpr *e = sg_jparser_node(p, kind, a, NULL);
    if (!sg_jinja_ok(p->j))
        return nothing();
    e->items = l->items;
    e->nitem = l->n;
    for (uint32_t i = 0; i < l->n; i++)
        deepen(p, e, l->items[i]);
    return e;
}

static sg_jexpr *constant(sg_jparser *p, sg_jval v)
{
    sg_jexpr *e = sg_jparser_node(p, SG_X_CONST, NULL, NULL);
    if (sg_jinja_ok(p->j))
        e->v = v;
    return e;
}

/* ---- primaries --------------------------------------------------------------------- */

static sg_jexpr *name(sg_jparser *p)
{
    static const struct {
        const char *word;
        sg_jval value;
    } words[] = {{"true", {.kind = SG_J_BOOL, .i = 1}}, {"True", {.kind = SG_J_BOOL, .i = 1}}, {"false", {.kind = SG_J_BOOL}},
                 {"False", {.kind = SG_J_BOOL}}, {"none", {.kind = SG_J_NONE}}, {"None", {.kind = SG_J_NONE}}};
    sg_jexpr *e = NULL;
    for (size_t i = 0; i < sizeof words / sizeof words[0] && !e; i++)
        if (sg_jval_is_str(p->now.value, words[i].word))
            e = constant(p, words[i].value);
    if (!e) {
        e = sg_jparser_node(p, SG_X_NAME, NULL, NULL);
        if (!sg_jinja_ok(p->j))
            return e;
        e->v = sg_jinja_intern(p->j, p->now.value);
        e->entry = sg_jfunc_find(e->v);
        if (p->macro) {
            p->macro->varargs |= sg_jval_is_str(e->v, "varargs");
            p->macro->kwargs |= sg_jval_is_str(e->v, "kwargs");
            p->macro->caller |= sg_jval_is_str(e->v, "caller");
        }
    }
    sg_jparser_step(p);
    return e;
}

static sg_jexpr *strings(sg_jparser *p)
{
    sg_jexpr *e = constant(p, p->now.value);
    sg_jparser_step(p);
    if (p->now.type != SG_T_STRING)
        return e;
    sg_jinja_text t = {.j = p->j};
    sg_jinja_text_add(&t, e->v.s, e->v.n);
    while (p->now.type == SG_T_STRING) {
        sg_jinja_text_add(&t, p->now.value.s, p->now.value.n);
        sg_jparser_step(p);
    }
    if (sg_jinja_ok(p->j))
        e->v = sg_jval_text(&t);
    return e;
}

static sg_jexpr *list(sg_jparser *p)
{
    sg_jexprs l = {0};
    sg_jparser_step(p);
    while (sg_jinja_ok(p->j) && !sg_jparser_at_op(p, ']')) {
        if (l.n && !sg_jparser_want_op(p, ','))
            break;
        if (sg_jparser_at_op(p, ']'))
            break;
        sg_jexprs_add(p->j, &l, sg_jparser_expression(p));
    }
    sg_jparser_want_op(p, ']');
    return with_items(p, SG_X_LIST, NULL, &l);
}

static sg_jexpr *dict(sg_jparser *p)
{
    sg_jexprs l = {0};
    sg_jparser_step(p);
    while (sg_jinja_ok(p->j) && !sg_jparser_at_op(p, '}')) {
        if (l.n && !sg_jparser_want_op(p, ','))
            break;
        if (sg_jparser_at_op(p, '}'))
            break;
        sg_jexprs_add(p->j, &l, sg_jparser_expression(p));
        sg_jparser_want_op(p, ':');
        sg_jexprs_add(p->j, &l, sg_jparser_expression(p));
    }
    sg_jparser_want_op(p, '}');
    return with_items(p, SG_X_DICT, NULL, &l);
}

static sg_jexpr *primary(sg_jparser *p)
{
    sg_jexpr *e;
    switch (p->now.type) {
    case SG_T_NAME:
        return name(p);
    case SG_T_STRING:
        return strings(p);
    case SG_T_NUMBER:
        e = constant(p, p->now.value);
        sg_jparser_step(p);
        return e;
    case SG_T_OP:
        if (p->now.op == '[')
            return list(p);
        if (p->now.op == '{')
            return dict(p);
        if (p->now.op == '(') {
            sg_jparser_step(p);
            e = sg_jparser_tuple(p, SG_TUPLE_PARENS, NULL);
            sg_jparser_want_op(p, ')');
            return e;
        }
        break;
    default:
        break;
    }
    sg_jparser_fail(p, "an expression");
    return nothing();
}

/* ---- postfix: . [] () | is ------------------------------------------------------------- */

static sg_jexpr *slice_part(sg_jparser *p)
{
    if (sg_jparser_at_op(p, ':') || sg_jparser_at_op(p, ']') || sg_jparser_at_op(p, ','))
        return NULL;
    return sg_jparser_expression(p);
}

/* What stands in a[...], without commas. */
static sg_jexpr *subscript(sg_jparser *p, sg_jexpr *a)
{
    sg_jexpr *b = slice_part(p);
    if (b && !sg_jparser_at_op(p, ':'))
        return sg_jparser_node(p, SG_X_ITEM, a, b);
    sg_jparser_want_op(p, ':');
    sg_jexpr *c = slice_part(p), *d = NULL;
    if (sg_jparser_skip_op(p, ':'))
        d = slice_part(p);
    sg_jexpr *e = sg_jparser_node(p, SG_X_SLICE, a, b);
    if (sg_jinja_ok(p->j)) {
        e->c = c;
        e->d = d;
        deepen(p, e, c);
        deepen(p, e, d);
    }
    return e;
}

static sg_jexpr *attribute(sg_jparser *p, sg_jexpr *a)
{
    sg_jparser_step(p);
    if (p->now.type == SG_T_NAME) {
        sg_jexpr *e = sg_jparser_node(p, SG_X_ATTR, a, NULL);
        if (sg_jinja_ok(p->j))
            e->v = sg_jinja_intern(p->j, p->now.value);
        sg_jparser_step(p);
        return e;
    }
    if (p->now.type != SG_T_NUMBER || p->now.value.kind != SG_J_INT) {
        sg_jparser_fail(p, "a name or a number");
        return nothing();
    }
    sg_jexpr *index = constant(p, p->now.value);
    sg_jparser_step(p);
    return sg_jparser_node(p, SG_X_ITEM, a, index);
}

static sg_jexpr *item(sg_jparser *p, sg_jexpr *a)
{
    sg_jparser_step(p);
    if (sg_jparser_at_op(p, ']')) {
        sg_jparser_fail(p, "an expression");
        return nothing();
    }
    sg_jexpr *e = subscript(p, a);
    if (sg_jparser_at_op(p, ',')) { /* a[b, c] is a[(b, c)] */
        sg_jexprs l = {0};
        sg_jexprs_add(p->j, &l, e->kind == SG_X_ITEM && e->b ? e->b : e);
        while (sg_jparser_skip_op(p, ','))
            if (!sg_jparser_at_op(p, ']'))
                sg_jexprs_add(p->j, &l, sg_jparser_expression(p));
        e = sg_jparser_node(p, SG_X_ITEM, a, with_items(p, SG_X_TUPLE, NULL, &l));
    }
    sg_jparser_want_op(p, ']');
    return e;
}

static bool keyword_argument(sg_jparser *p, sg_jcall *c, uint32_t *cap)
{
    sg_jval k = sg_jinja_intern(p->j, p->now.value);
    sg_jparser_step(p);
    sg_jparser_step(p);
    if (c->nkw == *cap) {
        uint32_t n = *cap ? 2 * *cap : 4;
        sg_jkeyword *kw = sg_jinja_array(p->j, n, sizeof *kw);
        if (!kw)
            return false;
        if (c->nkw)
            memcpy(kw, c->kw, c->nkw * sizeof *kw);
        c->kw = kw;
        *cap = n;
    }
    c->kw[c->nkw++] = (sg_jkeyword){k, sg_jparser_expression(p)};
    return sg_jinja_ok(p->j);
}

static sg_jcall *arguments(sg_jparser *p)
{
    sg_jcall *c = sg_jinja_alloc(p->j, sizeof *c);
    if (!c)
        return NULL;
    *c = (sg_jcall){0};
    sg_jexprs l = {0};
    uint32_t cap = 0;
    bool first = true;
    sg_jparser_want_op(p, '(');
    while (sg_jinja_ok(p->j) && !sg_jparser_at_op(p, ')')) {
        if (!first && !sg_jparser_want_op(p, ','))
            break;
        if (sg_jparser_at_op(p, ')'))
            break;
        first = false;
        bool late = c->star || c->star2;
        if (!c->star && !c->star2 && sg_jparser_skip_op(p, '*'))
            c->star = sg_jparser_expression(p);
        else if (!c->star2 && sg_jparser_skip_op(p, SG_OP2('*', '*')))
            c->star2 = sg_jparser_expression(p);
        else if (p->now.type == SG_T_NAME && p->ahead.type == SG_T_OP && p->ahead.op == '=' && !c->star2)
            keyword_argument(p, c, &cap);
        else if (late || c->nkw)
            sg_jparser_fail(p, "a keyword argument");
        else
            sg_jexprs_add(p->j, &l, sg_jparser_expression(p));
    }
    sg_jparser_want_op(p, ')');
    c->pos = l.items;
    c->npos = l.n;
    return c;
}

static void deepen_call(sg_jparser *p, sg_jexpr *e)
{
    if (!e->call)
        return;
    for (uint32_t i = 0; i < e->call->npos; i++)
        deepen(p, e, e->call->pos[i]);
    for (uint32_t i = 0; i < e->call->nkw; i++)
        deepen(p, e, e->call->kw[i].value);
    deepen(p, e, e->call->star);
    deepen(p, e, e->call->star2);
}

static sg_jexpr *call(sg_jparser *p, sg_jexpr *a)
{
    sg_jexpr *e = sg_jparser_node(p, SG_X_CALL, a, NULL);
    sg_jcall *c = arguments(p);
    if (!sg_jinja_ok(p->j))
        return nothing();
    e->call = c;
    deepen_call(p, e);
    return e;
}

static sg_jexpr *postfix(sg_jparser *p, sg_jexpr *e)
{
    while (sg_jinja_ok(p->j)) {
        if (sg_jparser_at_op(p, '.'))
            e = attribute(p, e);
        else if (sg_jparser_at_op(p, '['))
            e = item(p, e);
        else if (sg_jparser_at_op(p, '('))
            e = call(p, e);
        else
            break;
    }
    return e;
}

static void remember_unknown(sg_jparser *p, const sg_jexpr *e, bool is_test)
{
    sg_jpending *u = sg_jinja_alloc(p->j, sizeof *u);
    if (!u)
        return;
    *u = (sg_jpending){p->pending, e->v, e->line, is_test};
    p->pending = u;
}

/* The name of a filter or test, which may have dots. */
static sg_jval dotted(sg_jparser *p)
{
    if (p->now.type != SG_T_NAME) {
        sg_jparser_fail(p, "a name");
        return sg_jval_cstr("");
    }
    sg_jval v = p->now.value;
    sg_jparser_step(p);
    while (sg_jparser_at_op(p, '.') && p->ahead.type == SG_T_NAME) {
        sg_jinja_text t = {.j = p->j};
        sg_jinja_text_add(&t, v.s, v.n);
        sg_jinja_text_addc(&t, '.');
        sg_jinja_text_add(&t, p->ahead.value.s, p->ahead.value.n);
        v = sg_jval_text(&t);
        sg_jparser_step(p);
        sg_jparser_step(p);
    }
    return v;
}

sg_jexpr *sg_jparser_filters(sg_jparser *p, sg_jexpr *a, bool first_inline)
{
    while (sg_jinja_ok(p->j) && (first_inline || sg_jparser_at_op(p, '|'))) {
        if (!first_inline)
            sg_jparser_step(p);
        first_inline = false;
        sg_jexpr *e = sg_jparser_node(p, SG_X_FILTER, a, NULL);
        if (!sg_jinja_ok(p->j))
            return nothing();
        e->line = p->now.line;
        e->v = dotted(p);
        e->entry = sg_jfilter_find(e->v);
        if (!e->entry)
            remember_unknown(p, e, false);
        if (sg_jparser_at_op(p, '('))
            e->call = arguments(p);
        if (sg_jinja_ok(p->j))
            deepen_call(p, e);
        a = e;
    }
    return a;
}

static bool starts_argument(const sg_jparser *p)
{
    if (p->now.type == SG_T_STRING || p->now.type == SG_T_NUMBER)
        return true;
    if (p->now.type == SG_T_OP)
        return p->now.op == '(' || p->now.op == '[' || p->now.op == '{';
    return p->now.type == SG_T_NAME && !sg_jparser_at_name(p, "else") && !sg_jparser_at_name(p, "or") && !sg_jparser_at_name(p, "and");
}

static sg_jexpr *test(sg_jparser *p, sg_jexpr *a)
{
    sg_jparser_step(p);
    sg_jexpr *e = sg_jparser_node(p, SG_X_TEST, a, NULL);
    if (!sg_jinja_ok(p->j))
        return nothing();
    e->line = p->now.line;
    e->negated = sg_jparser_skip_name(p, "not");
    e->v = dotted(p);
    e->entry = sg_jtest_find(e->v);
    if (!e->entry)
        remember_unknown(p, e, true);
    if (sg_jparser_at_op(p, '(')) {
        e->call = arguments(p);
    } else if (starts_argument(p)) {
        if (sg_jparser_at_name(p, "is")) {
            sg_jparser_fail(p, "one test, not a chain of them");
            return nothing();
        }
        sg_jcall *c = sg_jinja_alloc(p->j, sizeof *c);
        sg_jexprs l = {0};
        sg_jexprs_add(p->j, &l, postfix(p, primary(p)));
        if (!sg_jinja_ok(p->j))
            return nothing();
        *c = (sg_jcall){.pos = l.items, .npos = 1};
        e->call = c;
    }
    if (sg_jinja_ok(p->j))
        deepen_call(p, e);
    return e;
}

static sg_jexpr *filters_and_tests(sg_jparser *p, sg_jexpr *e)
{
    while (sg_jinja_ok(p->j)) {
        if (sg_jparser_at_op(p, '|'))
            e = sg_jparser_filters(p, e, false);
        else if (sg_jparser_at_name(p, "is"))
            e = test(p, e);
        else if (sg_jparser_at_op(p, '('))
            e = call(p, e);
        else
            break;
    }
    return e;
}

/* ---- operators -------------------------------------------------------------------------- */

static sg_jexpr *sign(sg_jparser *p, sg_jexpr_kind kind)
{
    sg_jparser_step(p);
    if (!sg_jinja_enter(p->j))
        return nothing();
    sg_jexpr *e = sg_jparser_node(p, kind, unary(p, false), NULL);
    sg_jinja_leave(p->j);
    return e;
}

static sg_jexpr *unary(sg_jparser *p, bool with_filter)
{
    sg_jexpr *e;
    if (sg_jparser_at_op(p, '-'))
        e = sign(p, SG_X_NEG);
    else if (sg_jparser_at_op(p, '+'))
        e = sign(p, SG_X_POS);
    else
        e = primary(p);
    e = postfix(p, e);
    return with_filter ? filters_and_tests(p, e) : e;
}

static sg_jexpr *binary(sg_jparser *p, sg_jexpr *a, sg_jexpr *(*right)(sg_jparser *))
{
    int op = p->now.op;
    sg_jparser_step(p);
    sg_jexpr *e = sg_jparser_node(p, SG_X_BINARY, a, right(p));
    if (sg_jinja_ok(p->j))
        e->op = op;
    return e;
}

static sg_jexpr *operand(sg_jparser *p) { return unary(p, true); }

static sg_jexpr *power(sg_jparser *p)
{
    sg_jexpr *e = operand(p);
    while (sg_jparser_at_op(p, SG_OP2('*', '*')))
        e = binary(p, e, operand);
    return e;
}

static sg_jexpr *product(sg_jparser *p)
{
    sg_jexpr *e = power(p);
    while (sg_jparser_at_op(p, '*') || sg_jparser_at_op(p, '/') || sg_jparser_at_op(p, SG_OP2('/', '/')) || sg_jparser_at_op(p, '%'))
        e = binary(p, e, power);
    return e;
}

static sg_jexpr *concat(sg_jparser *p)
{
    sg_jexpr *e = product(p);
    if (!sg_jparser_at_op(p, '~'))
        return e;
    sg_jexprs l = {0};
    sg_jexprs_add(p->j, &l, e);
    while (sg_jparser_skip_op(p, '~'))
        sg_jexprs_add(p->j, &l, product(p));
    return with_items(p, SG_X_CONCAT, NULL, &l);
}

static sg_jexpr *sum(sg_jparser *p)
{
    sg_jexpr *e = concat(p);
    while (sg_jparser_at_op(p, '+') || sg_jparser_at_op(p, '-'))
        e = binary(p, e, concat);
    return e;
}

/* A comparison operator here, taken; 0 when there is none. */
static int comparison_operator(sg_jparser *p)
{
    static const int ops[] = {SG_OP2('=', '='), SG_OP2('!', '='), SG_OP2('<', '='), SG_OP2('>', '='), '<', '>'};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (sg_jparser_skip_op(p, ops[i]))
            return ops[i];
    if (sg_jparser_skip_name(p, "in"))
        return SG_OP_IN;
    if (sg_jparser_at_name(p, "not") && p->ahead.type == SG_T_NAME && sg_jval_is_str(p->ahead.value, "in")) {
        sg_jparser_step(p);
        sg_jparser_step(p);
        return SG_OP_NOT_IN;
    }
    return 0;
}

static sg_jexpr *comparison(sg_jparser *p)
{
    sg_jexpr *a = sum(p);
    int op = comparison_operator(p);
    if (!op)
        return a;
    enum { CHAIN = 16 };
    int ops[CHAIN];
    uint32_t n = 0;
    sg_jexprs l = {0};
    for (; op && sg_jinja_ok(p->j); op = comparison_operator(p)) {
        if (n == CHAIN) {
            sg_jparser_fail(p, "at most 16 comparisons in a chain");
            return nothing();
        }
        ops[n++] = op;
        sg_jexprs_add(p->j, &l, sum(p));
    }
    sg_jexpr *e = with_items(p, SG_X_COMPARE, a, &l);
    int *kept = sg_jinja_array(p->j, n, sizeof *kept);
    if (!kept)
        return nothing();
    memcpy(kept, ops, n * sizeof *kept);
    e->ops = kept;
    return e;
}

static sg_jexpr *negation(sg_jparser *p)
{
    if (!sg_jparser_at_name(p, "not"))
        return comparison(p);
    sg_jparser_step(p);
    if (!sg_jinja_enter(p->j))
        return nothing();
    sg_jexpr *e = sg_jparser_node(p, SG_X_NOT, negation(p), NULL);
    sg_jinja_leave(p->j);
    return e;
}

static sg_jexpr *conjunction(sg_jparser *p)
{
    sg_jexpr *e = negation(p);
    while (sg_jparser_skip_name(p, "and"))
        e = sg_jparser_node(p, SG_X_AND, e, negation(p));
    return e;
}

static sg_jexpr *disjunction(sg_jparser *p)
{
    sg_jexpr *e = conjunction(p);
    while (sg_jparser_skip_name(p, "or"))
        e = sg_jparser_node(p, SG_X_OR, e, conjunction(p));
    return e;
}

/* What an unknown filter or test in a conditional expression costs is decided when it is reached. */
static sg_jexpr *condexpr(sg_jparser *p)
{
    sg_jpending *mark = p->pending;
    sg_jexpr *e = disjunction(p);
    while (sg_jparser_skip_name(p, "if")) {
        sg_jexpr *n = sg_jparser_node(p, SG_X_IF, e, disjunction(p));
        sg_jexpr *otherwise = sg_jparser_skip_name(p, "else") ? sg_jparser_expression(p) : NULL;
        if (!sg_jinja_ok(p->j))
            return nothing();
        n->c = otherwise;
        deepen(p, n, otherwise);
        p->pending = mark;
        e = n;
    }
    return e;
}

sg_jexpr *sg_jparser_expression(sg_jparser *p)
{
    if (!sg_jinja_enter(p->j))
        return nothing();
    sg_jexpr *e = condexpr(p);
    sg_jinja_leave(p->j);
    return e;
}

static bool tuple_ends(const sg_jparser *p, const char *stop)
{
    return p->now.type == SG_T_VAR_END || p->now.type == SG_T_BLOCK_END || p->now.type == SG_T_EOF || sg_jparser_at_op(p, ')') ||
           (stop && sg_jparser_at_name(p, stop));
}

static sg_jexpr *tuple_part(sg_jparser *p, int how)
{
    if (how & SG_TUPLE_TARGET)
        return primary(p);
    if (!(how & SG_TUPLE_NO_IF))
        return sg_jparser_expression(p);
    return disjunction(p);
}

sg_jexpr *sg_jparser_tuple(sg_jparser *p, int how, const char *stop)
{
    sg_jexprs l = {0};
    bool is_tuple = false;
    if (!sg_jinja_enter(p->j))
        return nothing();
    while (sg_jinja_ok(p->j)) {
        if (l.n && !sg_jparser_want_op(p, ','))
            break;
        if (tuple_ends(p, stop))
            break;
        sg_jexprs_add(p->j, &l, tuple_part(p, how));
        if (!sg_jparser_at_op(p, ','))
            break;
        is_tuple = true;
    }
    sg_jinja_leave(p->j);
    if (!sg_jinja_ok(p->j))
        return nothing();
    if (!is_tuple && l.n)
        return l.items[0];
    if (!is_tuple && !(how & SG_TUPLE_PARENS)) {
        sg_jparser_fail(p, "an expression");
        return nothing();
    }
    return with_items(p, SG_X_TUPLE, NULL, &l);
}
