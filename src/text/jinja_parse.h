/* text/jinja_parse.h - tokens to a tree. */
#ifndef SG_TEXT_JINJA_PARSE_H
#define SG_TEXT_JINJA_PARSE_H

#include "text/jinja_ast.h"
#include "text/jinja_lex.h"

/* The names of a template, each once, so that names compare by pointer. */
struct sg_jinja_symbols {
    sg_jval *table; /* open addressing, ABSENT is free */
    uint32_t n, cap;
};

/* The one copy of a name; adds it. */
sg_jval sg_jinja_intern(sg_jinja *j, sg_jval name);
/* The same without adding: .s is NULL when the template does not have that name. */
sg_jval sg_jinja_symbol(const sg_jinja_symbols *symbols, const char *s, size_t n);

/* Parse a whole template.  NULL for an empty one and after a failure. */
sg_jstmt *sg_jinja_parse(sg_jinja *j, const char *text, size_t n);

/* Between the two halves of the parser: ---------------------------------------- */

/* An unknown filter or test is an error, unless it stands in a branch: then only when it is reached. */
typedef struct sg_jpending {
    struct sg_jpending *older;
    sg_jval name;
    uint32_t line;
    bool is_test;
} sg_jpending;

typedef struct sg_jparser {
    sg_jinja *j;
    sg_jlexer lex;
    sg_jtoken now, ahead;
    sg_jpending *pending;
    sg_jmacro_def *macro; /* the innermost macro being read */
    uint32_t loops;       /* for bodies around here, in this macro */
} sg_jparser;

void sg_jparser_step(sg_jparser *p);
bool sg_jparser_fail(sg_jparser *p, const char *expected); /* "expected ..., got ..." */
bool sg_jparser_at_op(const sg_jparser *p, int op);
bool sg_jparser_at_name(const sg_jparser *p, const char *name);
bool sg_jparser_skip_op(sg_jparser *p, int op);
bool sg_jparser_skip_name(sg_jparser *p, const char *name);
bool sg_jparser_want_op(sg_jparser *p, int op);
sg_jexpr *sg_jparser_node(sg_jparser *p, sg_jexpr_kind kind, sg_jexpr *a, sg_jexpr *b);

typedef enum sg_jtuple {
    SG_TUPLE_PLAIN = 0,
    SG_TUPLE_NO_IF = 1,  /* no "a if b" at the top */
    SG_TUPLE_TARGET = 2, /* only primaries: the target of an assignment */
    SG_TUPLE_PARENS = 4, /* inside ( ): may be empty */
} sg_jtuple;

sg_jexpr *sg_jparser_expression(sg_jparser *p);
/* A tuple without brackets, or the one expression that it is.  It ends before the name `stop`, if given. */
sg_jexpr *sg_jparser_tuple(sg_jparser *p, int how, const char *stop);
/* | f(x) | g ..., behind a (NULL at the head of a filter block; then the first | is not there). */
sg_jexpr *sg_jparser_filters(sg_jparser *p, sg_jexpr *a, bool first_inline);

/* A growing array of expressions. */
typedef struct sg_jexprs {
    sg_jexpr **items;
    uint32_t n, cap;
} sg_jexprs;
void sg_jexprs_add(sg_jinja *j, sg_jexprs *l, sg_jexpr *e);

#endif
