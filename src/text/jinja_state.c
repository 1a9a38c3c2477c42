/* text/jinja_state.c - arena, budgets and the sticky failure of the template interpreter.
 *
 *     chunks -> [ newest | used ... free ... ] -> [ older | full ] -> ...
 *
 * Chunks double from 4 KiB to 256 KiB; what is larger gets a chunk of its own.  All that a rendering
 * makes (values, scopes, strings) lives until it ends: templates are short programs, and without
 * individual frees a failure at any point leaks nothing.  A template that builds a long string piece by
 * piece pays for every intermediate copy; the cap turns that into an error before it hurts anyone.
 *
 * A growing string is extended in place while it is the newest thing in its chunk, which is the usual
 * case for the output.
 */
#include "text/jinja_state.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

struct sg_jinja_chunk {
    sg_jinja_chunk *older;
    size_t bytes;
};

enum { CHUNK_MIN = 4 << 10, CHUNK_MAX = 256 << 10, ALIGN = 16 };

void sg_jinja_init(sg_jinja *j, size_t bytes_max, uint64_t steps, uint32_t depth_max)
{
    *j = (sg_jinja){.bytes_max = bytes_max, .steps = steps, .depth_max = depth_max, .line = 1};
}

void sg_jinja_fini(sg_jinja *j)
{
    while (j->chunks) {
        sg_jinja_chunk *c = j->chunks;
        j->chunks = c->older;
        sg_free(c);
    }
    j->free = j->free_end = NULL;
}

bool sg_jinja_fail(sg_jinja *j, sg_status status, const char *format, ...)
{
    if (j->status != SG_OK)
        return false;
    char text[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    j->status = sg_fail(&j->error, status, "template line %u: %s", j->line, text);
    return false;
}

static bool add_chunk(sg_jinja *j, size_t need)
{
    size_t want = j->bytes < CHUNK_MIN ? CHUNK_MIN : j->bytes < CHUNK_MAX ? j->bytes : CHUNK_MAX;
    size_t head = (sizeof(sg_jinja_chunk) + ALIGN - 1) / ALIGN * ALIGN;
    if (need > j->bytes_max || want < need + head)
        want = need + head;
    if (want < need || want > j->bytes_max - j->bytes)
        want = need + head;
    if (need > j->bytes_max || want > j->bytes_max - j->bytes)
        return sg_jinja_fail(j, SG_E_LIMIT, "needs more than %zu KiB of memory", j->bytes_max >> 10);
    sg_jinja_chunk *c = sg_alloc(want);
    if (!c)
        return sg_jinja_fail(j, SG_E_NOMEM, "out of memory");
    *c = (sg_jinja_chunk){j->chunks, want};
    j->chunks = c;
    j->bytes += want;
    j->free = (char *)c + head;
    j->free_end = (char *)c + want;
    return true;
}

void *sg_jinja_alloc(sg_jinja *j, size_t bytes)
{
    if (!sg_jinja_ok(j))
        return NULL;
    if (bytes > j->bytes_max) {
        sg_jinja_fail(j, SG_E_LIMIT, "needs more than %zu KiB of memory", j->bytes_max >> 10);
        return NULL;
    }
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes == 0)
        bytes = ALIGN;
    if ((size_t)(j->free_end - j->free) < bytes && !add_chunk(j, bytes))
        return NULL;
    void *p = j->free;
    j->free += bytes;
    return p;
}

void *sg_jinja_array(sg_jinja *j, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        bytes = SIZE_MAX;
    return sg_jinja_alloc(j, bytes);
}

bool sg_jinja_charge(sg_jinja *j, uint64_t steps)
{
    if (j->steps < steps) {
        j->steps = 0;
        return sg_jinja_fail(j, SG_E_LIMIT, "takes too many steps");
    }
    j->steps -= steps;
    return sg_jinja_ok(j);
}

bool sg_jinja_enter(sg_jinja *j)
{
    if (!sg_jinja_ok(j))
        return false;
    if (j->depth == j->depth_max)
        return sg_jinja_fail(j, SG_E_LIMIT, "nested or recursing more than %u deep", j->depth_max);
    j->depth++;
    return true;
}

/* Room for n more bytes, or false. */
static bool grow(sg_jinja_text *t, size_t n)
{
    sg_jinja *j = t->j;
    if (!sg_jinja_charge(j, n / 64))
        return false;
    if (t->max && (n > t->max || t->n > t->max - n))
        return sg_jinja_fail(j, SG_E_LIMIT, "writes more than %zu KiB", t->max >> 10);
    if (n > j->bytes_max)
        return sg_jinja_fail(j, SG_E_LIMIT, "needs more than %zu KiB of memory", j->bytes_max >> 10);
    if (n <= t->cap - t->n)
        return true;
    size_t cap = t->cap ? 2 * t->cap : 64;
    if (cap < t->n + n)
        cap = t->n + n;
    cap = (cap + ALIGN - 1) / ALIGN * ALIGN;
    if (t->s && t->s + t->cap == j->free && (size_t)(j->free_end - t->s) >= cap) {
        j->free = t->s + cap;
        t->cap = cap;
        return true;
    }
    char *s = sg_jinja_alloc(j, cap);
    if (!s)
        return false;
    if (t->n)
        memcpy(s, t->s, t->n);
    t->s = s;
    t->cap = cap;
    return true;
}

void sg_jinja_text_add(sg_jinja_text *t, const char *s, size_t n)
{
    if (n == 0 || !grow(t, n))
        return;
    memcpy(t->s + t->n, s, n);
    t->n += n;
}

void sg_jinja_text_adds(sg_jinja_text *t, const char *s) { sg_jinja_text_add(t, s, strlen(s)); }
void sg_jinja_text_addc(sg_jinja_text *t, char c) { sg_jinja_text_add(t, &c, 1); }

void sg_jinja_text_pad(sg_jinja_text *t, const char *fill, size_t nfill, uint64_t times)
{
    size_t total;
    if (times > SIZE_MAX / 2 || __builtin_mul_overflow(nfill, (size_t)times, &total))
        total = SIZE_MAX / 2;
    if (total == 0 || !grow(t, total))
        return;
    for (uint64_t i = 0; i < times; i++, t->n += nfill)
        memcpy(t->s + t->n, fill, nfill);
}

void sg_jinja_text_cp(sg_jinja_text *t, uint32_t cp)
{
    char b[4];
    sg_jinja_text_add(t, b, sg_utf8_encode(b, cp));
}

void sg_jinja_text_addf(sg_jinja_text *t, const char *format, ...)
{
    char b[256];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(b, sizeof b, format, ap);
    va_end(ap);
    if (n > 0)
        sg_jinja_text_add(t, b, (size_t)n < sizeof b ? (size_t)n : sizeof b - 1);
}
