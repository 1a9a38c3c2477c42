/* base/buf.c - a growable byte string.
 *
 *     data: [ len bytes ][NUL][ room up to cap ]
 *
 * Growth is by half, so that n additions cost O(n).  A failure sticks (see the header), which keeps the
 * code that builds text free of checks.
 */
#include "base/buf.h"

#include "base/heap.h"

#include <stdio.h>
#include <string.h>

void sg_buf_fini(sg_buf *b)
{
    size_t max = b->max;
    sg_free(b->data);
    *b = (sg_buf){.max = max};
}

void sg_buf_clear(sg_buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

char *sg_buf_room(sg_buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    size_t need = b->len + n + 1;
    if (need < n || (b->max && b->len + n > b->max)) {
        b->failed = true;
        return NULL;
    }
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need)
            cap += cap / 2 + 16;
        char *p = sg_realloc(b->data, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->data = p;
        b->cap = cap;
        b->data[b->len] = '\0';
    }
    return b->data + b->len;
}

void sg_buf_add(sg_buf *b, const void *bytes, size_t n)
{
    char *p = sg_buf_room(b, n);
    if (!p)
        return;
    if (n)
        memcpy(p, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void sg_buf_adds(sg_buf *b, const char *s) { sg_buf_add(b, s, strlen(s)); }
void sg_buf_addc(sg_buf *b, char c) { sg_buf_add(b, &c, 1); }

void sg_buf_addf(sg_buf *b, const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : sg_buf_room(b, (size_t)n);
    if (p) {
        vsnprintf(p, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

char *sg_buf_steal(sg_buf *b)
{
    if (!b->data && !b->failed)
        sg_buf_room(b, 0);
    char *p = b->failed ? NULL : b->data;
    if (!p)
        sg_free(b->data);
    *b = (sg_buf){.max = b->max};
    return p;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool sg_buf_add_base64(sg_buf *b, const char *s, size_t n)
{
    unsigned acc = 0, bits = 0;
    for (size_t i = 0; i < n && s[i] != '='; i++) {
        int d = base64_digit(s[i]);
        if (d < 0)
            return false;
        acc = (acc << 6 | (unsigned)d) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            sg_buf_addc(b, (char)(acc >> bits & 255));
        }
    }
    return true;
}
