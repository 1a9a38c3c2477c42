/* text/jinja_text.h - string operations that methods and filters share.  Results are slices or live in the arena. */
#ifndef SG_TEXT_JINJA_TEXT_H
#define SG_TEXT_JINJA_TEXT_H

#include "text/jinja_value.h"

/* Without the white space, or the characters of `chars` (a string; ABSENT or none: white space), at the ends asked for. */
sg_jval sg_jstr_strip(sg_jinja *j, sg_jval s, sg_jval chars, bool left, bool right);

/* The first `count` occurrences replaced; negative: all. */
sg_jval sg_jstr_replace(sg_jinja *j, sg_jval s, sg_jval from, sg_jval to, int64_t count);

/* A string made by one of the case functions of jinja_unicode.h; keeps the HTML mark. */
sg_jval sg_jstr_map(sg_jinja *j, sg_jval s, void (*map)(sg_jinja_text *t, const char *s, size_t n));

/* Lines, by \n, \r, \r\n and the other line ends that Python knows. */
sg_jval sg_jstr_splitlines(sg_jinja *j, sg_jval s, bool keep_ends);

/* Padded with `fill` (one character) to `width` code points; `left` parts of the room go before: 0 none, 1 half, 2 all. */
sg_jval sg_jstr_pad(sg_jinja *j, sg_jval s, int64_t width, sg_jval fill, int left);

/* str.isupper or str.islower. */
bool sg_jstr_is_case(sg_jinja *j, sg_jval s, bool upper);

#endif
