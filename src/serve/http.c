/* serve/http.c - the reader of HTTP/1.1 requests.
 *
 * The head is collected whole (it is bounded) and then cut in place into strings; the body is a small
 * machine over bytes:
 *
 *     HEAD -> [ no body ] ----------------------------------------------> DONE
 *          -> LENGTH (left bytes) --------------------------------------> DONE
 *          -> SIZE line -> DATA (left bytes) -> CRLF line -> SIZE ...
 *                  \-- size 0 -> TRAILER lines until an empty one ------> DONE
 *
 * Rejected: evhttp, whose parser lets bare line ends, odd lengths and repeated headers pass, and which stops
 * reading while an answer is prepared, so that a client that leaves is not noticed.
 */
#include "serve/http.h"

#include <string.h>
#include <strings.h>

enum { METHOD_MAX = 32 };

enum { IN_HEAD, IN_LENGTH, IN_SIZE, IN_DATA, IN_DATA_END, IN_TRAILER };

static bool is_tchar(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool bad(sg_http *h, int status, const char *reason)
{
    h->state = SG_HTTP_BAD;
    h->status = status;
    h->reason = reason;
    h->keep_alive = false;
    return false;
}

void sg_http_init(sg_http *h, size_t body_max)
{
    *h = (sg_http){.body_max = body_max};
    sg_http_next(h);
}

void sg_http_fini(sg_http *h)
{
    sg_buf_fini(&h->head);
    sg_buf_fini(&h->line);
    sg_buf_fini(&h->body);
}

void sg_http_next(sg_http *h)
{
    sg_http_fini(h);
    size_t body_max = h->body_max;
    memset(h, 0, sizeof *h);
    h->body_max = body_max;
    h->head.max = SG_HTTP_HEAD_MAX;
    h->body.max = body_max;
    h->line.max = SG_HTTP_CHUNK_LINE_MAX;
    h->method = h->path = h->query = h->host = "";
    h->part = IN_HEAD;
}

bool sg_http_begun(const sg_http *h) { return h->head.len > 0; }

/* ---- the head ---- */

static bool parse_version(sg_http *h, const char *v)
{
    if (strlen(v) != 8 || memcmp(v, "HTTP/", 5) != 0 || v[5] < '0' || v[5] > '9' || v[6] != '.' || v[7] < '0' || v[7] > '9')
        return bad(h, 400, "The request line does not end in an HTTP version.");
    if (v[5] != '1' || v[7] > '1')
        return bad(h, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    h->minor = v[7] - '0';
    return true;
}

/* origin-form, or absolute-form of which only the path counts. */
static bool parse_target(sg_http *h, char *t)
{
    for (const char *c = t; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127)
            return bad(h, 400, "The request target has a byte that is not allowed there.");
    if (strcmp(t, "*") == 0) {
        h->path = t;
        return true;
    }
    if (strncasecmp(t, "http://", 7) == 0) {
        char *slash = strchr(t + 7, '/');
        h->path = slash ? slash : "/";
        t = slash ? slash : t + strlen(t);
    } else if (t[0] != '/')
        return bad(h, 400, "The request target is not a path.");
    else
        h->path = t;
    char *q = strchr(t, '?');
    if (q) {
        *q = 0;
        h->query = q + 1;
    }
    return true;
}

static bool parse_request_line(sg_http *h, char *line)
{
    char *sp1 = strchr(line, ' ');
    char *sp2 = sp1 ? strchr(sp1 + 1, ' ') : NULL;
    if (!sp2 || strchr(sp2 + 1, ' '))
        return bad(h, 400, "The request line is not METHOD TARGET VERSION.");
    *sp1 = *sp2 = 0;
    if (sp1 == line)
        return bad(h, 400, "The request has no method.");
    for (const char *c = line; *c; c++)
        if (!is_tchar((unsigned char)*c))
            return bad(h, 400, "The method has a byte that is not allowed there.");
    h->method = line;
    return parse_version(h, sp2 + 1) && parse_target(h, sp1 + 1);
}

static bool parse_header(sg_http *h, char *line)
{
    if (h->nheader == SG_HTTP_HEADERS_MAX)
        return bad(h, 431, "There are too many headers.");
    char *colon = strchr(line, ':');
    if (!colon || colon == line)
        return bad(h, 400, "A header line has no name.");
    for (char *c = line; c < colon; c++)
        if (!is_tchar((unsigned char)*c))
            return bad(h, 400, "A header name has a byte that is not allowed there.");
    *colon = 0;
    char *v = colon + 1;
    while (*v == ' ' || *v == '\t')
        v++;
    char *end = v + strlen(v);
    while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = 0;
    for (const char *c = v; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 127)
            return bad(h, 400, "A header value has a byte that is not allowed there.");
    h->header[h->nheader++] = (sg_http_header){.name = line, .value = v};
    return true;
}

const char *sg_http_find(const sg_http *h, const char *name, size_t *count)
{
    const char *v = NULL;
    size_t n = 0;
    for (size_t i = 0; i < h->nheader; i++)
        if (strcasecmp(h->header[i].name, name) == 0) {
            v = h->header[i].value;
            n++;
        }
    if (count)
        *count = n;
    return v;
}

bool sg_http_list_has(const char *list, const char *token)
{
    size_t n = strlen(token);
    while (list && *list) {
        list += strspn(list, ", \t");
        size_t k = strcspn(list, ", \t");
        if (k == n && strncasecmp(list, token, n) == 0)
            return true;
        list += k;
    }
    return false;
}

static bool check_host(sg_http *h)
{
    size_t n;
    const char *v = sg_http_find(h, "Host", &n);
    if (n > 1 || (n == 0 && h->minor == 1))
        return bad(h, 400, "There must be exactly one Host header.");
    if (n == 0)
        return true;
    if (strlen(v) > 255)
        return bad(h, 400, "The Host header is too long.");
    for (const char *c = v; *c; c++)
        if (!((*c >= '0' && *c <= '9') || ((*c | 32) >= 'a' && (*c | 32) <= 'z') || strchr(".-_:[]", *c)))
            return bad(h, 400, "The Host header is not a host.");
    h->host = v;
    return true;
}

static bool check_length(sg_http *h)
{
    size_t nlength, ncoding;
    const char *length = sg_http_find(h, "Content-Length", &nlength), *coding = sg_http_find(h, "Transfer-Encoding", &ncoding);
    if (nlength && ncoding)
        return bad(h, 400, "Content-Length and Transfer-Encoding do not go together.");
    if (nlength > 1 || ncoding > 1)
        return bad(h, 400, "The length of the body is said twice.");
    if (ncoding) {
        if (h->minor == 0)
            return bad(h, 400, "HTTP/1.0 has no Transfer-Encoding.");
        if (strcasecmp(coding, "chunked") != 0)
            return bad(h, 501, "The only transfer coding that is understood is chunked.");
        h->chunked = h->has_body = true;
        return true;
    }
    if (!nlength)
        return true;
    size_t digits = strspn(length, "0123456789");
    if (digits == 0 || length[digits])
        return bad(h, 400, "Content-Length is not a number.");
    for (size_t i = 0; i < digits; i++) {
        h->length = h->length * 10 + (uint64_t)(length[i] - '0');
        if (h->length > h->body_max)
            return bad(h, 413, "The body is larger than this server takes.");
    }
    h->has_body = h->length > 0;
    return true;
}

static bool check_head(sg_http *h)
{
    if (!check_host(h) || !check_length(h))
        return false;
    const char *expect = sg_http_find(h, "Expect", NULL);
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return bad(h, 417, "That expectation cannot be met.");
    h->expect_continue = expect && h->has_body && h->minor == 1;
    const char *connection = sg_http_find(h, "Connection", NULL);
    h->keep_alive = h->minor == 1 && !sg_http_list_has(connection, "close");
    return true;
}

static bool parse_head(sg_http *h)
{
    char *s = h->head.data, *end = s + h->head.len - 2; /* the last CRLF is the empty line */
    if (memchr(s, 0, h->head.len))
        return bad(h, 400, "The head has a zero byte.");
    for (bool first = true; s < end; first = false) {
        char *crlf = strstr(s, "\r\n");
        *crlf = 0;
        if (strpbrk(s, "\r\n"))
            return bad(h, 400, "A line of the head has a lone CR or LF.");
        if (first ? !parse_request_line(h, s) : !parse_header(h, s))
            return false;
        s = crlf + 2;
    }
    return check_head(h);
}

/* What cannot become a request is refused before its head is whole: look at byte i of the head. */
static bool plausible(sg_http *h, size_t i)
{
    if (i > METHOD_MAX || memchr(h->head.data, ' ', i))
        return true; /* behind the method */
    if (h->head.data[i] == ' ' ? i == 0 : !is_tchar((unsigned char)h->head.data[i]))
        return bad(h, 400, "This is not HTTP.");
    return i < METHOD_MAX || h->head.data[i] == ' ' || bad(h, 400, "The method has too many letters.");
}

static size_t feed_head(sg_http *h, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (h->head.len == 0 && (c == '\r' || c == '\n') && h->trailer < 8) {
            h->trailer++; /* empty lines before a request are ignored, a few */
            continue;
        }
        sg_buf_addc(&h->head, c);
        if (!sg_buf_ok(&h->head)) {
            bad(h, 431, "The head of the request is too long.");
            return i;
        }
        if (!plausible(h, h->head.len - 1))
            return i;
        if (c == '\n' && (h->head.len < 2 || h->head.data[h->head.len - 2] != '\r')) {
            bad(h, 400, "A line of the head has a lone CR or LF.");
            return i;
        }
        if (c == '\n' && h->head.len >= 4 && memcmp(h->head.data + h->head.len - 4, "\r\n\r\n", 4) == 0) {
            h->trailer = 0;
            if (parse_head(h))
                h->state = SG_HTTP_HEAD;
            return i + 1;
        }
    }
    return n;
}

/* ---- the body ---- */

/* Collect one line that ends in CRLF.  True when it is whole (without the CRLF); *i is moved. */
static bool feed_line(sg_http *h, const char *bytes, size_t n, size_t *i, int status, const char *reason)
{
    while (*i < n) {
        char c = bytes[(*i)++];
        if (c == '\n') {
            if (h->line.len == 0 || h->line.data[h->line.len - 1] != '\r')
                return bad(h, 400, "A line of the chunked body does not end in CRLF.");
            h->line.data[--h->line.len] = 0;
            return true;
        }
        if (h->line.len && h->line.data[h->line.len - 1] == '\r')
            return bad(h, 400, "A line of the chunked body has a lone CR.");
        sg_buf_addc(&h->line, c);
        if (!sg_buf_ok(&h->line))
            return bad(h, status, reason);
    }
    return false;
}

static bool parse_size(sg_http *h)
{
    const char *s = sg_buf_str(&h->line);
    size_t digits = strspn(s, "0123456789abcdefABCDEF");
    if (digits == 0 || (s[digits] && s[digits] != ';') || strlen(s) != h->line.len)
        return bad(h, 400, "A chunk size is not a hexadecimal number.");
    if (digits > 15)
        return bad(h, 413, "A chunk is larger than this server takes.");
    h->left = 0;
    for (size_t i = 0; i < digits; i++)
        h->left = h->left * 16 + (uint64_t)(s[i] <= '9' ? s[i] - '0' : (s[i] | 32) - 'a' + 10);
    if (h->left > h->body_max - h->body.len)
        return bad(h, 413, "The body is larger than this server takes.");
    sg_buf_clear(&h->line);
    h->part = h->left ? IN_DATA : IN_TRAILER;
    return true;
}

static bool feed_data(sg_http *h, const char *bytes, size_t n, size_t *i)
{
    size_t k = n - *i < h->left ? n - *i : (size_t)h->left;
    if (!k)
        return true;
    sg_buf_add(&h->body, bytes + *i, k);
    *i += k;
    h->left -= k;
    return sg_buf_ok(&h->body) || bad(h, 503, "There is no memory for the body now.");
}

static bool feed_trailer(sg_http *h, const char *bytes, size_t n, size_t *i)
{
    size_t before = *i;
    bool whole = feed_line(h, bytes, n, i, 431, "A trailer is too long.");
    h->trailer += *i - before;
    if (h->state == SG_HTTP_BAD)
        return false;
    if (h->trailer > SG_HTTP_TRAILER_MAX)
        return bad(h, 431, "The trailers are too long.");
    if (!whole)
        return false;
    if (h->line.len == 0)
        h->state = SG_HTTP_DONE;
    sg_buf_clear(&h->line);
    return h->state != SG_HTTP_DONE;
}

static size_t feed_body(sg_http *h, const char *bytes, size_t n)
{
    size_t i = 0;
    bool go = true;
    while (go && h->state == SG_HTTP_IN_BODY && (i < n || (h->part == IN_LENGTH && h->left == 0)))
        switch (h->part) {
        case IN_LENGTH:
            go = feed_data(h, bytes, n, &i);
            if (go && h->left == 0)
                h->state = SG_HTTP_DONE;
            break;
        case IN_SIZE:
            go = feed_line(h, bytes, n, &i, 400, "A chunk extension is too long.") && parse_size(h);
            break;
        case IN_DATA:
            go = feed_data(h, bytes, n, &i);
            if (go && h->left == 0)
                h->part = IN_DATA_END;
            break;
        case IN_DATA_END:
            go = feed_line(h, bytes, n, &i, 400, "A chunk is longer than it said.");
            if (go && h->line.len)
                go = bad(h, 400, "A chunk is longer than it said.");
            else if (go) {
                sg_buf_clear(&h->line);
                h->part = IN_SIZE;
            }
            break;
        default:
            go = feed_trailer(h, bytes, n, &i);
            break;
        }
    return i;
}

size_t sg_http_feed(sg_http *h, const char *bytes, size_t n)
{
    if (h->state == SG_HTTP_IN_HEAD)
        return feed_head(h, bytes, n);
    if (h->state == SG_HTTP_HEAD) {
        h->state = SG_HTTP_IN_BODY;
        h->left = h->length;
        h->part = h->chunked ? IN_SIZE : IN_LENGTH;
    }
    return h->state == SG_HTTP_IN_BODY ? feed_body(h, bytes, n) : 0;
}

bool sg_http_unescape(const char *s, char *out, size_t cap)
{
    size_t n = 0;
    for (; *s; s++) {
        unsigned c = (unsigned char)*s;
        if (c == '%') {
            c = 0;
            for (int i = 1; i <= 2; i++) {
                char d = s[i];
                if (!((d >= '0' && d <= '9') || ((d | 32) >= 'a' && (d | 32) <= 'f')))
                    return false;
                c = c * 16 + (unsigned)(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
            }
            s += 2;
        }
        if (c == 0 || n + 1 >= cap)
            return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return true;
}
