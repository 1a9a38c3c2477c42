/* text/jinja_value.h - the values of the template language: Python's, as far as templates can see them.
 *
 * A value is 16 bytes, copied freely; what it points to lives in the arena of the rendering or of the
 * template.  Lists and mappings do not change once a template can see them (the sandbox refuses the
 * methods that would), so they are shared, and a slice of a string is a pointer into it.  Only a
 * namespace changes.  Strings are valid UTF-8 and are not followed by a NUL; indices that a template
 * sees count code points.
 */
#ifndef SG_TEXT_JINJA_VALUE_H
#define SG_TEXT_JINJA_VALUE_H

#include "text/jinja_state.h"

#include <string.h>

typedef enum sg_jkind {
    SG_J_ABSENT, /* an argument that was not given; never seen by a template */
    SG_J_UNDEF,  /* s, n: the name, for the error message */
    SG_J_NONE,
    SG_J_BOOL,
    SG_J_INT,
    SG_J_BIG, /* an integer beyond 64 bits, as its decimal digits: passes through, no arithmetic */
    SG_J_FLOAT,
    SG_J_STR,
    SG_J_LIST,
    SG_J_TUPLE,
    SG_J_DICT,
    SG_J_SPACE, /* namespace(...) */
    SG_J_RANGE,
    SG_J_ITER, /* what map, select, ... give: a list that can be walked once */
    SG_J_VIEW, /* d.keys(), d.values(), d.items(): id 0, 1, 2 */
    SG_J_LOOP,
    SG_J_MACRO,
    SG_J_FUNC,   /* a global function */
    SG_J_METHOD, /* bound to its object */
    SG_J_CYCLER,
    SG_J_JOINER,
    SG_J_SELF,
} sg_jkind;

typedef struct sg_jlist sg_jlist;
typedef struct sg_jdict sg_jdict;
typedef struct sg_jrange sg_jrange;
typedef struct sg_jiter sg_jiter;
typedef struct sg_jloop sg_jloop;
typedef struct sg_jmacro sg_jmacro;
typedef struct sg_jmethod sg_jmethod;
typedef struct sg_jfunc sg_jfunc;
typedef struct sg_jcycler sg_jcycler;

typedef struct sg_jval {
    uint8_t kind; /* sg_jkind */
    uint8_t mark; /* STR: marked as safe HTML; TUPLE: a group of groupby; VIEW: which */
    uint32_t n;   /* STR, BIG, UNDEF: bytes */
    union {
        bool b;
        int64_t i;
        double f;
        const char *s;
        sg_jlist *list; /* LIST, TUPLE */
        sg_jdict *dict; /* DICT, SPACE, VIEW */
        sg_jrange *range;
        sg_jiter *iter;
        sg_jloop *loop;
        sg_jmacro *macro;
        const sg_jfunc *func;
        sg_jmethod *method;
        sg_jcycler *cycler; /* CYCLER, JOINER */
        const void *p;
    };
} sg_jval;

struct sg_jlist {
    sg_jval *items;
    uint32_t n, cap;
};

typedef struct sg_jpair {
    sg_jval key, value;
} sg_jpair;

/* In order of insertion; index is an open-addressing table of item numbers + 1, made from the ninth key on. */
struct sg_jdict {
    sg_jpair *items;
    uint32_t n, cap;
    uint32_t *index;
    uint32_t nindex;
};

struct sg_jrange {
    int64_t start, stop, step;
    uint32_t n;
};

struct sg_jiter {
    sg_jlist list;
    bool used;
};

struct sg_jcycler { /* a cycler's items and place; a joiner's separator and whether it was asked before */
    sg_jlist list;
    uint32_t at;
};

static inline sg_jval sg_jval_undef(void) { return (sg_jval){.kind = SG_J_UNDEF, .s = ""}; }
static inline sg_jval sg_jval_undef_named(sg_jval name) { return (sg_jval){.kind = SG_J_UNDEF, .n = name.n, .s = name.s}; }
static inline sg_jval sg_jval_none(void) { return (sg_jval){.kind = SG_J_NONE}; }
static inline sg_jval sg_jval_bool(bool b) { return (sg_jval){.kind = SG_J_BOOL, .i = b}; }
static inline sg_jval sg_jval_int(int64_t i) { return (sg_jval){.kind = SG_J_INT, .i = i}; }
static inline sg_jval sg_jval_float(double f) { return (sg_jval){.kind = SG_J_FLOAT, .f = f}; }
/* Borrows s. */
static inline sg_jval sg_jval_str(const char *s, size_t n) { return (sg_jval){.kind = SG_J_STR, .n = (uint32_t)n, .s = s}; }
static inline sg_jval sg_jval_cstr(const char *s) { return sg_jval_str(s, strlen(s)); }
static inline sg_jval sg_jval_text(const sg_jinja_text *t) { return sg_jval_str(t->n ? t->s : "", t->n); }

static inline bool sg_jval_is_str(sg_jval v, const char *s)
{
    return v.kind == SG_J_STR && v.n == strlen(s) && memcmp(v.s, s, v.n) == 0;
}

/* BOOL and INT, as Python has them: bool is an int. */
static inline bool sg_jval_integral(sg_jval v) { return v.kind == SG_J_INT || v.kind == SG_J_BOOL; }
static inline bool sg_jval_numeric(sg_jval v) { return sg_jval_integral(v) || v.kind == SG_J_FLOAT; }
static inline double sg_jval_as_double(sg_jval v) { return v.kind == SG_J_FLOAT ? v.f : (double)v.i; }

/* Python's name of the type ("str", "NoneType"). */
const char *sg_jval_type(sg_jval v);

/* Truth.  Cannot fail. */
bool sg_jval_truthy(sg_jval v);

/* ==.  May fail by depth or steps (then false). */
bool sg_jval_equal(sg_jinja *j, sg_jval a, sg_jval b);

/* Order: < 0, 0, > 0.  *unordered is set for NaN.  Kinds that have no order are a failure. */
int sg_jval_compare(sg_jinja *j, sg_jval a, sg_jval b, const char *op, bool *unordered);

/* needle in haystack. */
bool sg_jval_contains(sg_jinja *j, sg_jval haystack, sg_jval needle);

/* Fail when v is undefined: "'name' is undefined".  Returns whether it is defined. */
bool sg_jval_need_defined(sg_jinja *j, sg_jval v);

/* An empty list value (LIST) or a list with n cleared places. */
sg_jval sg_jval_list(sg_jinja *j, size_t cap);
void sg_jlist_add(sg_jinja *j, sg_jlist *l, sg_jval v);
sg_jval sg_jval_tuple2(sg_jinja *j, sg_jval a, sg_jval b);
/* Wrap a list value as a one-way iterator. */
sg_jval sg_jval_iter(sg_jinja *j, sg_jval list);
sg_jval sg_jval_range(sg_jinja *j, int64_t start, int64_t stop, int64_t step);

/* What a for loop walks: the items as an array that must not be changed.  Iterators are used up by it; what cannot be
 * walked is a failure and gives none. */
sg_jlist sg_jval_items(sg_jinja *j, sg_jval v);
bool sg_jval_iterable(sg_jval v);

/* len(); -1 for what has none. */
int64_t sg_jval_length(sg_jval v);

sg_jval sg_jval_dict(sg_jinja *j);
/* Keys must be hashable: anything else is a failure. */
void sg_jdict_set(sg_jinja *j, sg_jdict *d, sg_jval key, sg_jval value);
/* NULL when the key is not there or cannot be one. */
const sg_jval *sg_jdict_get(sg_jinja *j, const sg_jdict *d, sg_jval key);

/* Code points in s[0..n). */
size_t sg_jstr_length(const char *s, size_t n);
/* The byte offset of code point i, n when there are not so many. */
size_t sg_jstr_offset(const char *s, size_t n, size_t i);
/* The first place of needle in s at or behind `from`, or SIZE_MAX.  An empty needle is found at once. */
size_t sg_jstr_find(sg_jinja *j, sg_jval s, sg_jval needle, size_t from);

#endif
