/* serve/http.h - reading HTTP/1.1 requests, strictly (RFC 9112).
 *
 * Bytes are fed as they come; the parser keeps the head (bounded) and the body (bounded) of one request.
 * Whatever two readers could understand differently is refused and the connection closed: bare CR or LF,
 * folded headers, space before a colon, two lengths, length together with chunked, any other transfer
 * coding, signs or hex in lengths.  It reads no clock and no socket; one thread at a time.
 */
#ifndef SG_SERVE_HTTP_H
#define SG_SERVE_HTTP_H

#include "base/buf.h"
#include "base/error.h"

enum {
    SG_HTTP_HEAD_MAX = 32768,   /* bytes of request line and headers */
    SG_HTTP_HEADERS_MAX = 100,
    SG_HTTP_CHUNK_LINE_MAX = 256,
    SG_HTTP_TRAILER_MAX = 8192,
};

typedef enum sg_http_state {
    SG_HTTP_IN_HEAD, /* more bytes wanted */
    SG_HTTP_HEAD,    /* the head is whole: look at it, then go on by feeding again (also with no bytes) */
    SG_HTTP_IN_BODY, /* more bytes wanted */
    SG_HTTP_DONE,    /* the request is whole */
    SG_HTTP_BAD,     /* status and reason say why; the connection cannot be used any more */
} sg_http_state;

typedef struct sg_http_header {
    const char *name; /* as sent; compare without case */
    const char *value;
} sg_http_header;

typedef struct sg_http {
    sg_http_state state;
    int status;         /* SG_HTTP_BAD: 400, 413, 417, 431, 501 or 505 */
    const char *reason; /* a constant sentence */
    size_t body_max;

    /* valid from SG_HTTP_HEAD on; all strings point into the head */
    const char *method, *path, *query; /* path: as sent, percent escapes and all; query without '?', or "" */
    const char *host;                  /* "" when absent (HTTP/1.0) */
    int minor;                         /* HTTP/1.minor */
    bool keep_alive, expect_continue, chunked, has_body;
    uint64_t length; /* of the body, when not chunked */
    sg_http_header header[SG_HTTP_HEADERS_MAX];
    size_t nheader;
    sg_buf body;

    /* inside */
    sg_buf head, line;
    int part;
    uint64_t left;
    size_t trailer;
} sg_http;

/* Ready for the first request of a connection; bodies of at most body_max bytes. */
void sg_http_init(sg_http *h, size_t body_max);
void sg_http_fini(sg_http *h);

/* Ready for the next request of the connection. */
void sg_http_next(sg_http *h);

/* Has any byte of a request come? */
bool sg_http_begun(const sg_http *h);

/* Take bytes[0..n) until the state changes to HEAD, DONE or BAD or they are used up.  Returns how many were taken. */
size_t sg_http_feed(sg_http *h, const char *bytes, size_t n);

/* The value of the only header of that name; NULL when there is none.  *count (may be NULL): how many there are. */
const char *sg_http_find(const sg_http *h, const char *name, size_t *count);

/* Whether a comma-separated list has the token, without case. */
bool sg_http_list_has(const char *list, const char *token);

/* Undo percent escapes into out[cap] with a NUL.  False for a bad escape, a zero byte, or what does not fit. */
bool sg_http_unescape(const char *s, char *out, size_t cap);

#endif
