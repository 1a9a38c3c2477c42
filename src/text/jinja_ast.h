/* text/jinja_ast.h - a template as a tree.  Made by the parser, then read-only; lives in the template's arena. */
#ifndef SG_TEXT_JINJA_AST_H
#define SG_TEXT_JINJA_AST_H

#include "text/jinja_value.h"

typedef struct sg_jexpr sg_jexpr;
typedef struct sg_jstmt sg_jstmt;

typedef enum sg_jexpr_kind {
    SG_X_CONST,   /* v */
    SG_X_NAME,    /* v: the interned name */
    SG_X_LIST,    /* items */
    SG_X_TUPLE,   /* items */
    SG_X_DICT,    /* items: key, value, key, value, ... */
    SG_X_ATTR,    /* a.v */
    SG_X_ITEM,    /* a[b] */
    SG_X_SLICE,   /* a[b:c:d], each may be NULL */
    SG_X_CALL,    /* a(call) */
    SG_X_FILTER,  /* a | v(call); a is NULL at the head of {% filter %} and {% set x | f %} */
    SG_X_TEST,    /* a is v(call) */
    SG_X_NOT,     /* not a */
    SG_X_NEG,     /* -a */
    SG_X_POS,     /* +a */
    SG_X_AND,     /* a and b */
    SG_X_OR,      /* a or b */
    SG_X_BINARY,  /* a op b */
    SG_X_CONCAT,  /* items joined by ~ */
    SG_X_COMPARE, /* a ops[0] items[0] ops[1] items[1] ... */
    SG_X_IF,      /* a if b else c; c may be NULL */
} sg_jexpr_kind;

/* An operator is its character, or two of them packed. */
#define SG_OP2(a, b) ((a) << 8 | (b))

/* Comparison operators that are words. */
enum { SG_OP_IN = 1, SG_OP_NOT_IN = 2 };

typedef struct sg_jkeyword {
    sg_jval name;
    sg_jexpr *value;
} sg_jkeyword;

/* Arguments of a call, a filter or a test. */
typedef struct sg_jcall {
    sg_jexpr **pos;
    uint32_t npos;
    sg_jkeyword *kw;
    uint32_t nkw;
    sg_jexpr *star, *star2; /* *args, **kwargs, or NULL */
} sg_jcall;

struct sg_jexpr {
    uint8_t kind; /* sg_jexpr_kind */
    uint8_t negated; /* TEST: is not */
    uint16_t depth; /* of the tree below, 1 for a leaf */
    uint32_t line;
    int op;
    uint32_t nitem;
    sg_jval v;
    const void *entry; /* FILTER, TEST, NAME: the row of its table, NULL when there is none */
    sg_jexpr *a, *b, *c, *d;
    sg_jexpr **items;
    int *ops;
    sg_jcall *call; /* NULL: no arguments */
};

typedef enum sg_jstmt_kind {
    SG_S_TEXT,     /* text */
    SG_S_OUTPUT,   /* {{ e }} */
    SG_S_IF,       /* e, body, orelse; elif chains through `elif` */
    SG_S_FOR,      /* for target in e if cond: body, orelse */
    SG_S_SET,      /* target = e */
    SG_S_SET_ATTR, /* name.attr = e */
    SG_S_CAPTURE,  /* {% set target %}body{% endset %}, e: filters or NULL */
    SG_S_MACRO,    /* macro */
    SG_S_CALL,     /* {% call %}: e is the call, macro is the body */
    SG_S_FILTER,   /* {% filter %}: e, body */
    SG_S_WITH,     /* targets and values in with, body */
    SG_S_SCOPE,    /* body in a scope of its own (generation, block) */
    SG_S_ESCAPE,   /* {% autoescape e %}body */
    SG_S_BREAK,
    SG_S_CONTINUE,
    SG_S_NO_LOADER, /* include, import, from, extends: fails when reached */
} sg_jstmt_kind;

typedef struct sg_jparam {
    sg_jval name;
    sg_jexpr *fallback; /* or NULL */
} sg_jparam;

typedef struct sg_jmacro_def {
    sg_jval name;
    sg_jparam *params;
    uint32_t nparam;
    bool varargs, kwargs, caller; /* which of these names the body uses */
    sg_jstmt *body;
} sg_jmacro_def;

typedef struct sg_jassign {
    sg_jexpr *target, *value;
} sg_jassign;

struct sg_jstmt {
    uint8_t kind;
    bool recursive; /* FOR */
    uint32_t line;
    sg_jstmt *next;
    sg_jval text;     /* TEXT; SET_ATTR: the attribute */
    sg_jexpr *target; /* a name or a tuple of targets; SET_ATTR: the name */
    sg_jexpr *e, *cond;
    sg_jstmt *body, *orelse, *elif;
    sg_jmacro_def *macro;
    sg_jassign *with;
    uint32_t nwith;
};

#endif
