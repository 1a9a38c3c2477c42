/* base/utf8.h - reading and writing UTF-8, strictly (RFC 3629: no overlong forms, no surrogates, at
 * most U+10FFFF).  Pure functions, any thread. */
#ifndef SG_BASE_UTF8_H
#define SG_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decode one code point from s[0..n).  Returns the bytes used, 1 to 4; 0 when s does not start with a
 * whole well-formed character (then *cp is 0xFFFD). */
size_t sg_utf8_decode(const char *s, size_t n, uint32_t *cp);

/* Write cp to out (room for 4).  Returns the bytes written; 0 for a surrogate or a value above U+10FFFF. */
size_t sg_utf8_encode(char *out, uint32_t cp);

/* The length of the longest prefix of s[0..n) that is whole well-formed UTF-8. */
size_t sg_utf8_valid_prefix(const char *s, size_t n);

/* When s[0..n) ends in a character that is well-formed so far but cut short, the number of its bytes
 * that are there (1 to 3); otherwise 0. */
size_t sg_utf8_partial_suffix(const char *s, size_t n);

/* The length of the maximal ill-formed piece at the start of s[0..n), which is not well-formed there: what one U+FFFD
 * stands for (Unicode 3.9, "substitution of maximal subparts"). */
size_t sg_utf8_ill_formed(const char *s, size_t n);

static inline bool sg_utf8_valid(const char *s, size_t n)
{
    return sg_utf8_valid_prefix(s, n) == n;
}

#endif
