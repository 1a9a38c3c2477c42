/* app/lines.c - JSON lines in and out, and whole files. */
#include "lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lines_print(json_t *o)
{
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(o);
}

static bool run_line(const char *line, size_t len, bool (*fn)(void *arg, const char *text, size_t n, sg_error *err),
                     void *arg, sg_error *err)
{
    json_error_t je;
    json_t *o = json_loadb(line, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    const json_t *s = json_is_object(o) ? json_object_get(o, "text") : o;
    bool ok = json_is_string(s);
    if (ok) {
        ok = fn(arg, json_string_value(s), json_string_length(s), err);
    } else {
        *err = (sg_error){.status = SG_E_FORMAT};
        snprintf(err->text, sizeof err->text, "a JSON string is needed%s%.100s", o ? "" : ": ", o ? "" : je.text);
    }
    json_decref(o);
    return ok;
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
