/* text/jinja_unicode.h - what Python's str knows about characters.  Pure functions, any thread. */
#ifndef SG_TEXT_JINJA_UNICODE_H
#define SG_TEXT_JINJA_UNICODE_H

#include "text/jinja_value.h"

/* str.isspace: Unicode white space and U+001C to U+001F. */
bool sg_jchar_is_space(uint32_t cp);
/* str.isprintable. */
bool sg_jchar_is_printable(uint32_t cp);
bool sg_jchar_is_alpha(uint32_t cp);
bool sg_jchar_is_decimal(uint32_t cp); /* digits of base 10 */
bool sg_jchar_is_digit(uint32_t cp);   /* and superscripts and the like */
bool sg_jchar_is_numeric(uint32_t cp); /* and fractions and the like */
bool sg_jchar_is_upper(uint32_t cp);
bool sg_jchar_is_lower(uint32_t cp);
/* May stand in a name; `first`: at its start. */
bool sg_jchar_is_name(uint32_t cp, bool first);

/* The length of the white space at the start and at the end of s[0..n), in bytes. */
size_t sg_jstr_space_left(const char *s, size_t n);
size_t sg_jstr_space_right(const char *s, size_t n);

/* Full case mappings (one character may become three; final sigma). */
void sg_jtext_upper(sg_jinja_text *t, const char *s, size_t n);
void sg_jtext_lower(sg_jinja_text *t, const char *s, size_t n);
void sg_jtext_capitalize(sg_jinja_text *t, const char *s, size_t n);
void sg_jtext_title(sg_jinja_text *t, const char *s, size_t n);
void sg_jtext_swapcase(sg_jinja_text *t, const char *s, size_t n);
void sg_jtext_casefold(sg_jinja_text *t, const char *s, size_t n);

/* The code point before byte `at` (at > 0) of valid UTF-8; *start is where it begins. */
uint32_t sg_jstr_before(const char *s, size_t at, size_t *start);

#endif
