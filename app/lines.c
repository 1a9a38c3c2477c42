/* app/lines.c - JSON lines in and out, and whole files. */
#include "lines.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void lines_print(json_t *o)
{
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(o);
}

bool lines_text(const char *line, size_t len, json_t **value, const char **text, size_t *n, sg_error *err)
{
    json_error_t je;
    json_t *o = json_loadb(line, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    const json_t *s = json_is_object(o) ? json_object_get(o, "text") : o;
    if (!json_is_string(s)) {
        *err = (sg_error){.status = SG_E_FORMAT};
        snprintf(err->text, sizeof err->text, "a JSON string is needed%s%.100s", o ? "" : ": ", o ? "" : je.text);
        json_decref(o);
        return false;
    }
    *value = o;
    *text = json_string_value(s);
    *n = json_string_length(s);
    return true;
}

static bool run_line(const char *line, size_t len, bool (*fn)(void *arg, const char *text, size_t n, sg_error *err),
                     void *arg, sg_error *err)
{
    json_t *o;
    const char *text;
    size_t n;
    if (!lines_text(line, len, &o, &text, &n, err))
        return false;
    bool ok = fn(arg, text, n, err);
    json_decref(o);
    return ok;
}

/* ---- lines as they come ---- */

/* Read more; false at the end, or when nothing has come and it may not wait. */
static bool more(lines_reader *r, bool wait)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    if (r->end || (!wait && poll(&p, 1, 0) <= 0))
        return false;
    if (r->at) {
        memmove(r->data, r->data + r->at, r->n - r->at);
        r->n -= r->at;
        r->at = 0;
    }
    if (r->cap - r->n < 65536) {
        size_t want = r->cap ? 2 * r->cap : 1 << 18;
        char *grown = realloc(r->data, want + 1);
        r->end = !grown;
        if (!grown)
            return false;
        r->data = grown;
        r->cap = want;
    }
    ssize_t got;
    do
        got = read(0, r->data + r->n, r->cap - r->n);
    while (got < 0 && errno == EINTR);
    r->end = got <= 0;
    r->n += got > 0 ? (size_t)got : 0;
    return got > 0;
}

char *lines_next(lines_reader *r, bool wait, size_t *n)
{
    for (size_t seen = 0;;) {
        char *line = r->data ? r->data + r->at : NULL;
        size_t have = r->n - r->at;
        char *stop = have > seen ? memchr(line + seen, '\n', have - seen) : NULL;
        if (!stop && r->end && have)
            stop = line + have; /* the last line may lack its end */
        if (!stop && have > LINES_MAX_BYTES) {
            r->n = r->at = 0;
            r->skipping = true;
            seen = 0;
            continue;
        }
        if (!stop) {
            seen = have;
            if (more(r, wait) || (r->end && r->n > r->at))
                continue;
            if (!r->end || !r->skipping)
                return NULL;
            stop = r->data; /* the last line was too long, and has no end */
        }
        *stop = 0;
        *n = (size_t)(stop - line);
        r->at += *n + 1 < have ? *n + 1 : have;
        seen = 0;
        if (r->skipping) {
            r->skipping = false;
            *n = SIZE_MAX;
            *stop = 0;
            return stop;
        }
        if (line[strspn(line, " \t\r")] || memchr(line, 0, *n))
            return line;
    }
}

void lines_fini(lines_reader *r)
{
    free(r->data);
    *r = (lines_reader){0};
}

int lines_run(bool (*fn)(void *arg, const char *text, size_t n, sg_error *err), void *arg)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int status = 0;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        sg_error err = {0};
        if (line[strspn(line, " \t\r\n")] == 0)
            continue;
        if (!run_line(line, (size_t)n, fn, arg, &err)) {
            lines_print(json_pack("{s:s}", "error", err.text));
            status = 1;
        }
    }
    free(line);
    return status;
}

char *lines_read_file(const char *path, size_t *size, sg_error *err)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *data = NULL;
    size_t n = 0, cap = 0;
    while (f) {
        if (cap - n < 2) {
            char *grown = realloc(data, cap = cap ? 2 * cap : 65536);
            if (!grown)
                break;
            data = grown;
        }
        size_t got = fread(data + n, 1, cap - n - 1, f);
        n += got;
        if (!got)
            break;
    }
    if (!f || !data || ferror(f)) {
        *err = (sg_error){.status = SG_E_IO, .sys = errno};
        snprintf(err->text, sizeof err->text, "cannot read %.150s: %s", path, strerror(errno));
        free(data);
        data = NULL;
    } else {
        data[n] = 0;
        *size = n;
    }
    if (f && f != stdin)
        fclose(f);
    return data;
}
