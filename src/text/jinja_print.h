/* text/jinja_print.h - values as text: Python's str(), repr() and json.dumps(), and json.loads().
 *
 * Floats are written with the fewest digits that read back to the same double, whatever the locale. */
#ifndef SG_TEXT_JINJA_PRINT_H
#define SG_TEXT_JINJA_PRINT_H

#include "text/jinja_value.h"

#include <jansson.h>

void sg_jtext_str(sg_jinja_text *t, sg_jval v);  /* what {{ v }} prints */
void sg_jtext_repr(sg_jinja_text *t, sg_jval v); /* as inside a list */
void sg_jtext_double(sg_jinja_text *t, double x);

/* v as a string value: v itself when it is one. */
sg_jval sg_jval_to_str(sg_jinja *j, sg_jval v);

/* &, <, >, ' and " as HTML entities; a string marked safe is passed through. */
void sg_jtext_escape(sg_jinja_text *t, sg_jval v);

typedef struct sg_json_style {
    bool ensure_ascii, sort_keys;
    bool pretty;           /* each item on a line of its own */
    sg_jval indent;        /* what one level is indented by, a string */
    sg_jval comma, colon;  /* separators */
} sg_json_style;

/* json.dumps.  Undefined values, iterators, namespaces and other objects are a failure. */
void sg_jtext_json(sg_jinja_text *t, sg_jval v, const sg_json_style *style);

/* A parsed JSON value copied into the arena. */
sg_jval sg_jval_from_json(sg_jinja *j, const json_t *v);

/* strtod and "%.*e", "%.*f", "%.*g" with a decimal point, whatever the locale.  s is NUL-terminated. */
double sg_jinja_strtod(const char *s, char **end);
int sg_jinja_format_double(char *out, size_t cap, char conversion, int precision, double x);

#endif
