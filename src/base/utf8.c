/* base/utf8.c - strict UTF-8 by the table of RFC 3629 section 4: the lead byte decides the length and
 * the range of the second byte; all later bytes are 80..BF.
 */
#include "base/utf8.h"

/* Bytes that a lead byte announces, 0 when it cannot lead; the range allowed for the second byte
 * excludes overlong forms, surrogates and values above U+10FFFF. */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xbf;
    if (c < 0x80)
        return 1;
    if (c < 0xc2)
        return 0;
    if (c < 0xe0)
        return 2;
    if (c < 0xf0) {
        if (c == 0xe0)
            *lo = 0xa0;
        else if (c == 0xed)
            *hi = 0x9f;
        return 3;
    }
    if (c < 0xf5) {
        if (c == 0xf0)
            *lo = 0x90;
        else if (c == 0xf4)
            *hi = 0x8f;
        return 4;
    }
    return 0;
}

size_t sg_utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned char lo, hi;
    *cp = 0xfffd;
    if (n == 0)
        return 0;
    size_t len = lead(u[0], &lo, &hi);
    if (len == 0 || len > n)
        return 0;
    if (len == 1) {
        *cp = u[0];
        return 1;
    }
    if (u[1] < lo || u[1] > hi)
        return 0;
    uint32_t v = u[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (u[i] & 0x3fu);
    }
    *cp = v;
    return len;
}

size_t sg_utf8_encode(char *out, uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp < 0xe000)
            return 0;
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff)
        return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t sg_utf8_valid_prefix(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        if ((unsigned char)s[i] < 0x80) {
            i++;
            continue;
        }
        uint32_t cp;
        size_t used = sg_utf8_decode(s + i, n - i, &cp);
        if (used == 0)
            break;
        i += used;
    }
    return i;
}

size_t sg_utf8_partial_suffix(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char *p = u + n - back;
        if ((*p & 0xc0) == 0x80)
            continue;
        unsigned char lo, hi;
        size_t len = lead(*p, &lo, &hi);
        if (len <= back)
            return 0;
        if (back >= 2 && (p[1] < lo || p[1] > hi))
            return 0;
        return back;
    }
    return 0;
}

size_t sg_utf8_ill_formed(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned char lo, hi;
    size_t len = n ? lead(u[0], &lo, &hi) : 0;
    if (len <= 1 || n < 2 || u[1] < lo || u[1] > hi)
        return n ? 1 : 0;
    size_t i = 2;
    while (i < len && i < n && (u[i] & 0xc0) == 0x80)
        i++;
    return i;
}
