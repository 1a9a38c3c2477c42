/* text/jinja_eval.h - running a template: expressions, statements, and the tables of what templates can call. */
#ifndef SG_TEXT_JINJA_EVAL_H
#define SG_TEXT_JINJA_EVAL_H

#include "text/jinja_ast.h"

typedef struct sg_jnamed {
    sg_jval name, value;
} sg_jnamed;

/* The values of a call's arguments. */
typedef struct sg_jargs {
    const sg_jval *pos;
    uint32_t npos;
    const sg_jnamed *kw;
    uint32_t nkw;
} sg_jargs;

/* ---- scopes ------------------------------------------------------------------- */

typedef struct sg_jbinding {
    struct sg_jbinding *next;
    sg_jval name, value;
} sg_jbinding;

/* Variables by interned name.  Reading looks outward; writing stays here. */
typedef struct sg_jscope {
    struct sg_jscope *parent;
    sg_jbinding *first;
    bool captured; /* a macro was made here: its variables live on */
} sg_jscope;

void sg_jscope_set(sg_jinja *j, sg_jscope *scope, sg_jval name, sg_jval value);
/* NULL when no scope has it. */
const sg_jval *sg_jscope_find(sg_jinja *j, const sg_jscope *scope, sg_jval name);

/* ---- objects -------------------------------------------------------------------- */

struct sg_jmacro {
    const sg_jmacro_def *def;
    sg_jscope *scope; /* where it was defined */
};

struct sg_jloop {
    sg_jlist items;
    uint32_t at, depth0;
    sg_jval changed; /* what loop.changed() saw last; ABSENT at first */
    const sg_jstmt *stmt;
    sg_jscope *scope; /* around the loop */
};

/* ---- running ----------------------------------------------------------------------- */

sg_jval sg_jinja_eval(sg_jinja *j, const sg_jexpr *e, sg_jscope *scope);
sg_jval sg_jinja_call(sg_jinja *j, sg_jval callee, const sg_jargs *args);
sg_jval sg_jinja_binary(sg_jinja *j, int op, sg_jval a, sg_jval b);
sg_jval sg_jinja_negate(sg_jinja *j, sg_jval a);
/* a.name, a[key], a[start:stop:step]; ABSENT for a part of a slice that is not given. */
sg_jval sg_jinja_attr(sg_jinja *j, sg_jval a, sg_jval name);
sg_jval sg_jinja_item(sg_jinja *j, sg_jval a, sg_jval key);
sg_jval sg_jinja_slice(sg_jinja *j, sg_jval a, sg_jval start, sg_jval stop, sg_jval step);
/* printf: format % arguments. */
sg_jval sg_jinja_printf(sg_jinja *j, sg_jval format, sg_jval arguments);
/* str.format. */
sg_jval sg_jinja_str_format(sg_jinja *j, sg_jval format, const sg_jargs *args);
/* Apply the filters of e (whose innermost operand is NULL) to v. */
sg_jval sg_jinja_filter_value(sg_jinja *j, const sg_jexpr *e, sg_jval v, sg_jscope *scope);

/* Write a body to out.  Break and continue come back to the loop around it. */
typedef enum sg_jflow { SG_FLOW_NEXT, SG_FLOW_BREAK, SG_FLOW_CONTINUE } sg_jflow;
sg_jflow sg_jinja_exec(sg_jinja *j, const sg_jstmt *s, sg_jscope *scope, sg_jinja_text *out);
sg_jval sg_jmacro_call(sg_jinja *j, const sg_jmacro *m, const sg_jargs *args);
sg_jval sg_jloop_call(sg_jinja *j, const sg_jloop *loop, const sg_jargs *args);
sg_jval sg_jloop_attr(sg_jinja *j, sg_jloop *loop, sg_jval name);

/* ---- tables ---------------------------------------------------------------------------- */

enum { SG_JARGS_MAX = 6 };

/* Sort arguments into the slots of `spec`, a list of names ("old new ?count"): ? marks what may be left out, which
 * then is ABSENT; a last "*" lets more pass.  False after a failure, which names `who`. */
bool sg_jargs_bind(sg_jinja *j, const char *who, const char *spec, const sg_jargs *args, sg_jval slots[SG_JARGS_MAX]);

typedef struct sg_jfilter {
    const char *name;
    /* a: the slots of spec; args: all arguments as they came. */
    sg_jval (*run)(sg_jinja *j, sg_jval v, const sg_jval *a, const sg_jargs *args);
    const char *spec;
} sg_jfilter;

typedef struct sg_jtest {
    const char *name;
    bool (*run)(sg_jinja *j, sg_jval v, const sg_jval *a);
    const char *spec;
} sg_jtest;

struct sg_jfunc {
    const char *name;
    sg_jval (*run)(sg_jinja *j, const sg_jval *a, const sg_jargs *args);
    const char *spec;
};

typedef struct sg_jmethod_row {
    const char *name;
    sg_jval (*run)(sg_jinja *j, sg_jval self, const sg_jval *a, const sg_jargs *args);
    const char *spec;
} sg_jmethod_row;

struct sg_jmethod {
    sg_jval self;
    const sg_jmethod_row *row;
};

/* NULL when there is none of that name. */
const sg_jfilter *sg_jfilter_find(sg_jval name);
const sg_jtest *sg_jtest_find(sg_jval name);
const sg_jfunc *sg_jfunc_find(sg_jval name);
const sg_jmethod_row *sg_jmethod_find(sg_jval self, sg_jval name);

sg_jval sg_jfilter_apply(sg_jinja *j, const sg_jfilter *f, sg_jval v, const sg_jargs *args);
bool sg_jtest_apply(sg_jinja *j, const sg_jtest *t, sg_jval v, const sg_jargs *args);

/* The filters of each file, ended by a row without a name. */
extern const sg_jfilter sg_jfilters_text[], sg_jfilters_list[], sg_jfilters_value[];

/* A slot as a number or a flag, with a value for "not given". */
int64_t sg_jarg_int(sg_jinja *j, sg_jval v, int64_t fallback);
bool sg_jarg_bool(sg_jval v, bool fallback);

#endif
