/* text/jinja_ops.c - arithmetic, as Python does it on 64-bit integers and doubles.
 *
 * // and % round toward minus infinity, / gives a float, a result that does not fit into 64 bits is an
 * error (Python would go on with big integers; no template needs them, and a number of 369 million digits
 * is an attack).  Repetition and joining of strings and lists are bounded by the arena.
 */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"

#include <math.h>

static const char *op_text(int op)
{
    switch (op) {
    case '+':
        return "+";
    case '-':
        return "-";
    case '*':
        return "*";
    case '/':
        return "/";
    case '%':
        return "%";
    case SG_OP2('/', '/'):
        return "//";
    default:
        return "**";
    }
}

static sg_jval bad_operands(sg_jinja *j, int op, sg_jval a, sg_jval b)
{
    if (sg_jval_need_defined(j, a) && sg_jval_need_defined(j, b)) {
        if (a.kind == SG_J_BIG || b.kind == SG_J_BIG)
            sg_jinja_fail(j, SG_E_UNSUPPORTED, "'%s' with an integer beyond 64 bits", op_text(op));
        else
            sg_jinja_fail(j, SG_E_ARGUMENT, "'%s' does not work between '%s' and '%s'", op_text(op), sg_jval_type(a), sg_jval_type(b));
    }
    return sg_jval_undef();
}

static sg_jval overflow(sg_jinja *j, int op)
{
    sg_jinja_fail(j, SG_E_LIMIT, "the result of '%s' does not fit into 64 bits", op_text(op));
    return sg_jval_undef();
}

static sg_jval by_zero(sg_jinja *j)
{
    sg_jinja_fail(j, SG_E_ARGUMENT, "division by zero");
    return sg_jval_undef();
}

static bool int_power(int64_t a, int64_t n, int64_t *out)
{
    int64_t r = 1;
    while (n > 0) {
        if ((n & 1) && __builtin_mul_overflow(r, a, &r))
            return false;
        n >>= 1;
        if (n && __builtin_mul_overflow(a, a, &a))
            return false;
    }
    *out = r;
    return true;
}

static sg_jval int_op(sg_jinja *j, int op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool lost = false;
    switch (op) {
    case '+':
        lost = __builtin_add_overflow(a, b, &r);
        break;
    case '-':
        lost = __builtin_sub_overflow(a, b, &r);
        break;
    case '*':
        lost = __builtin_mul_overflow(a, b, &r);
        break;
    case '/':
        return b == 0 ? by_zero(j) : sg_jval_float((double)a / (double)b);
    case SG_OP2('*', '*'):
        if (b < 0)
            return a == 0 ? by_zero(j) : sg_jval_float(pow((double)a, (double)b));
        lost = !int_power(a, b, &r);
        break;
    default: /* // and % */
        if (b == 0)
            return by_zero(j);
        if (b == -1) {
            lost = op != '%' && __builtin_sub_overflow(0, a, &r);
            break;
        }
        r = op == '%' ? a % b : a / b;
        if (a % b != 0 && (a % b < 0) != (b < 0))
            r += op == '%' ? b : -1;
    }
    return lost ? overflow(j, op) : sg_jval_int(r);
}

/* Floor division and remainder as CPython computes them: exact remainder first, then the quotient from it. */
static sg_jval float_divide(int op, double a, double b)
{
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
            mod += b;
            div -= 1;
        }
    } else {
        mod = copysign(0, b);
    }
    if (op == '%')
        return sg_jval_float(mod);
    if (div == 0)
        return sg_jval_float(copysign(0, a / b));
    double whole = floor(div);
    return sg_jval_float(div - whole > 0.5 ? whole + 1 : whole);
}

static sg_jval float_op(sg_jinja *j, int op, double a, double b)
{
    switch (op) {
    case '+':
        return sg_jval_float(a + b);
    case '-':
        return sg_jval_float(a - b);
    case '*':
        return sg_jval_float(a * b);
    case '/':
        return b == 0 ? by_zero(j) : sg_jval_float(a / b);
    case SG_OP2('*', '*'):
        if ((a == 0 && b < 0) || (a < 0 && b != floor(b))) {
            sg_jinja_fail(j, SG_E_ARGUMENT, "'**' has no real result here");
            return sg_jval_undef();
        }
        return sg_jval_float(pow(a, b));
    default:
        return b == 0 ? by_zero(j) : float_divide(op, a, b);
    }
}

/* String + string; a string marked as HTML escapes the other side. */
static sg_jval join_strings(sg_jinja *j, sg_jval a, sg_jval b)
{
    sg_jinja_text t = {.j = j};
    if (a.mark || b.mark) {
        sg_jtext_escape(&t, a);
        sg_jtext_escape(&t, b);
    } else {
        sg_jtext_str(&t, a);
        sg_jtext_str(&t, b);
    }
    sg_jval v = sg_jval_text(&t);
    v.mark = a.mark | b.mark;
    return v;
}

static sg_jval join_lists(sg_jinja *j, sg_jval a, sg_jval b)
{
    sg_jval l = sg_jval_list(j, (size_t)a.list->n + b.list->n);
    if (!sg_jinja_ok(j) || !sg_jinja_charge(j, ((uint64_t)a.list->n + b.list->n) / 4))
        return sg_jval_undef();
    if (a.list->n)
        memcpy(l.list->items, a.list->items, a.list->n * sizeof(sg_jval));
    if (b.list->n)
        memcpy(l.list->items + a.list->n, b.list->items, b.list->n * sizeof(sg_jval));
    l.list->n = a.list->n + b.list->n;
    l.kind = a.kind;
    return l;
}

static sg_jval repeat(sg_jinja *j, sg_jval a, int64_t times)
{
    uint64_t n = times < 0 ? 0 : (uint64_t)times;
    if (a.kind == SG_J_STR) {
        sg_jinja_text t = {.j = j};
        sg_jinja_text_pad(&t, a.s, a.n, n);
        sg_jval v = sg_jval_text(&t);
        v.mark = a.mark;
        return v;
    }
    size_t total;
    if (__builtin_mul_overflow((size_t)a.list->n, (size_t)n, &total))
        total = SIZE_MAX / 64;
    sg_jval l = sg_jval_list(j, total);
    for (uint64_t i = 0; i < n && a.list->n && sg_jinja_ok(j); i++)
        for (uint32_t k = 0; k < a.list->n; k++)
            sg_jlist_add(j, l.list, a.list->items[k]);
    if (l.kind == SG_J_LIST)
        l.kind = a.kind;
    return l;
}

static bool repeatable(sg_jval v) { return v.kind == SG_J_STR || v.kind == SG_J_LIST || v.kind == SG_J_TUPLE; }

sg_jval sg_jinja_binary(sg_jinja *j, int op, sg_jval a, sg_jval b)
{
    if (!sg_jinja_charge(j, 1))
        return sg_jval_undef();
    if (sg_jval_integral(a) && sg_jval_integral(b))
        return int_op(j, op, a.i, b.i);
    if (sg_jval_numeric(a) && sg_jval_numeric(b))
        return float_op(j, op, sg_jval_as_double(a), sg_jval_as_double(b));
    if (op == '+' && a.kind == SG_J_STR && b.kind == SG_J_STR)
        return join_strings(j, a, b);
    if (op == '+' && a.kind == b.kind && (a.kind == SG_J_LIST || a.kind == SG_J_TUPLE))
        return join_lists(j, a, b);
    if (op == '*' && repeatable(a) && sg_jval_integral(b))
        return repeat(j, a, b.i);
    if (op == '*' && repeatable(b) && sg_jval_integral(a))
        return repeat(j, b, a.i);
    if (op == '%' && a.kind == SG_J_STR)
        return sg_jinja_printf(j, a, b);
    return bad_operands(j, op, a, b);
}

sg_jval sg_jinja_negate(sg_jinja *j, sg_jval a)
{
    if (a.kind == SG_J_FLOAT)
        return sg_jval_float(-a.f);
    if (a.kind == SG_J_BIG) {
        sg_jinja_text t = {.j = j};
        if (a.s[0] != '-')
            sg_jinja_text_addc(&t, '-');
        sg_jinja_text_add(&t, a.s + (a.s[0] == '-'), a.n - (a.s[0] == '-'));
        sg_jval v = sg_jval_text(&t);
        v.kind = SG_J_BIG;
        return v;
    }
    if (sg_jval_integral(a))
        return int_op(j, '-', 0, a.i);
    return bad_operands(j, '-', a, a);
}
