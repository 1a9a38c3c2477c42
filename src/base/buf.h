/* base/buf.h - a growable byte string.
 *
 * Failures to grow stick: after one, all additions do nothing and sg_buf_ok() is false, so that code
 * which builds text checks once, at its end.  The bytes are always followed by a NUL that `len` does
 * not count.  One thread at a time.
 */
#ifndef SG_BASE_BUF_H
#define SG_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct sg_buf {
    char *data; /* NULL until the first addition */
    size_t len, cap;
    size_t max;  /* longest len allowed, 0 = no limit; passing it fails like memory does */
    bool failed;
} sg_buf;

#define SG_BUF_INIT ((sg_buf){0})

void sg_buf_fini(sg_buf *b);  /* frees the bytes, leaves an empty buffer */
void sg_buf_clear(sg_buf *b); /* len = 0 and no failure; keeps the memory */
void sg_buf_add(sg_buf *b, const void *bytes, size_t n);
void sg_buf_adds(sg_buf *b, const char *s);
void sg_buf_addc(sg_buf *b, char c);
/* The bytes that base64 text stands for (RFC 4648, padding optional).  False for a character that is none of its 64. */
bool sg_buf_add_base64(sg_buf *b, const char *s, size_t n);
__attribute__((format(printf, 2, 3))) void sg_buf_addf(sg_buf *b, const char *format, ...);

/* Make room for n more bytes and return where they go, or NULL; the caller then adds to len. */
char *sg_buf_room(sg_buf *b, size_t n);

static inline bool sg_buf_ok(const sg_buf *b) { return !b->failed; }

/* The bytes as a C string, "" when empty.  Owned by the buffer. */
static inline const char *sg_buf_str(const sg_buf *b) { return b->data ? b->data : ""; }

/* Hand the bytes to the caller (sg_free); the buffer is empty afterwards.  NULL when it had failed. */
char *sg_buf_steal(sg_buf *b);

#endif
