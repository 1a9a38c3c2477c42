/* text/jinja_tests.c - the tests behind `is`. */
#include "text/jinja_eval.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

#define TEST(name) static bool name(sg_jinja *j, sg_jval v, const sg_jval *a)
#define UNUSED ((void)j, (void)v, (void)a)

TEST(is_defined) { UNUSED; return v.kind != SG_J_UNDEF; }
TEST(is_undefined) { UNUSED; return v.kind == SG_J_UNDEF; }
TEST(is_none) { UNUSED; return v.kind == SG_J_NONE; }
TEST(is_string) { UNUSED; return v.kind == SG_J_STR; }
TEST(is_mapping) { UNUSED; return v.kind == SG_J_DICT; }
TEST(is_iterable) { UNUSED; return sg_jval_iterable(v); }
TEST(is_sequence) { UNUSED; return v.kind == SG_J_STR || (sg_jval_length(v) >= 0 && v.kind != SG_J_VIEW); }
TEST(is_number) { UNUSED; return sg_jval_numeric(v) || v.kind == SG_J_BIG; }
TEST(is_integer) { UNUSED; return v.kind == SG_J_INT || v.kind == SG_J_BIG; }
TEST(is_float) { UNUSED; return v.kind == SG_J_FLOAT; }
TEST(is_boolean) { UNUSED; return v.kind == SG_J_BOOL; }
TEST(is_true) { UNUSED; return v.kind == SG_J_BOOL && v.i; }
TEST(is_false) { UNUSED; return v.kind == SG_J_BOOL && !v.i; }
TEST(is_escaped) { UNUSED; return v.kind == SG_J_STR && v.mark; }
TEST(is_eq) { UNUSED; return sg_jval_equal(j, v, a[0]); }
TEST(is_ne) { UNUSED; return !sg_jval_equal(j, v, a[0]); }
TEST(is_in) { UNUSED; return sg_jval_contains(j, a[0], v); }
TEST(is_filter) { UNUSED; return v.kind == SG_J_STR && sg_jfilter_find(v); }
TEST(is_test) { UNUSED; return v.kind == SG_J_STR && sg_jtest_find(v); }
TEST(is_lower) { UNUSED; return sg_jstr_is_case(j, sg_jval_to_str(j, v), false); }
TEST(is_upper) { UNUSED; return sg_jstr_is_case(j, sg_jval_to_str(j, v), true); }

TEST(is_callable)
{
    UNUSED;
    return v.kind == SG_J_MACRO || v.kind == SG_J_FUNC || v.kind == SG_J_METHOD || v.kind == SG_J_LOOP ||
           v.kind == SG_J_JOINER || v.kind == SG_J_UNDEF;
}

/* One object: small values are what they are. */
TEST(is_sameas)
{
    UNUSED;
    if (v.kind != a[0].kind)
        return false;
    if (v.kind == SG_J_STR || v.kind <= SG_J_FLOAT)
        return sg_jval_equal(j, v, a[0]);
    return v.p == a[0].p;
}

static int order(sg_jinja *j, sg_jval v, sg_jval w, const char *op, bool *ok)
{
    bool unordered = false;
    int c = sg_jval_compare(j, v, w, op, &unordered);
    *ok = !unordered;
    return c;
}

TEST(is_lt) { UNUSED; bool ok; int c = order(j, v, a[0], "<", &ok); return ok && c < 0; }
TEST(is_le) { UNUSED; bool ok; int c = order(j, v, a[0], "<=", &ok); return ok && c <= 0; }
TEST(is_gt) { UNUSED; bool ok; int c = order(j, v, a[0], ">", &ok); return ok && c > 0; }
TEST(is_ge) { UNUSED; bool ok; int c = order(j, v, a[0], ">=", &ok); return ok && c >= 0; }

/* v modulo n is 0, with the operator's own errors. */
static bool divides(sg_jinja *j, sg_jval v, sg_jval n)
{
    sg_jval r = sg_jinja_binary(j, '%', v, n);
    return sg_jinja_ok(j) && sg_jval_numeric(r) && !sg_jval_truthy(r);
}

TEST(is_divisible) { UNUSED; return divides(j, v, a[0]); }
TEST(is_even) { UNUSED; return divides(j, v, sg_jval_int(2)); }
TEST(is_odd) { UNUSED; return !divides(j, v, sg_jval_int(2)); }

static const sg_jtest tests[] = {
    {"defined", is_defined, ""}, {"undefined", is_undefined, ""}, {"none", is_none, ""}, {"string", is_string, ""},
    {"mapping", is_mapping, ""}, {"iterable", is_iterable, ""}, {"sequence", is_sequence, ""}, {"number", is_number, ""},
    {"integer", is_integer, ""}, {"float", is_float, ""}, {"boolean", is_boolean, ""}, {"true", is_true, ""}, {"false", is_false, ""},
    {"callable", is_callable, ""}, {"escaped", is_escaped, ""}, {"lower", is_lower, ""}, {"upper", is_upper, ""},
    {"even", is_even, ""}, {"odd", is_odd, ""}, {"divisibleby", is_divisible, "num"}, {"sameas", is_sameas, "other"},
    {"in", is_in, "seq"}, {"filter", is_filter, ""}, {"test", is_test, ""},
    {"eq", is_eq, "other"}, {"equalto", is_eq, "other"}, {"==", is_eq, "other"}, {"ne", is_ne, "other"}, {"!=", is_ne, "other"},
    {"lt", is_lt, "other"}, {"lessthan", is_lt, "other"}, {"<", is_lt, "other"}, {"le", is_le, "other"}, {"<=", is_le, "other"},
    {"gt", is_gt, "other"}, {"greaterthan", is_gt, "other"}, {">", is_gt, "other"}, {"ge", is_ge, "other"}, {">=", is_ge, "other"},
};

const sg_jtest *sg_jtest_find(sg_jval name)
{
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        if (sg_jval_is_str(name, tests[i].name))
            return &tests[i];
    return NULL;
}
