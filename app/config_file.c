/* app/config_file.c - see config_file.h. */
#include "config_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 4096 };

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1]))
        *--end = 0;
    return s;
}

static bool known(const char *name, const option *const *tables, const char *also)
{
    for (size_t t = 0; tables[t]; t++)
        for (const option *o = tables[t]; o->short_name || o->long_name; o++)
            if (o->long_name && strcmp(o->long_name + 2, name) == 0 && strcmp(name, "config") != 0)
                return true;
    return also && strcmp(name, also) == 0;
}

__attribute__((format(printf, 2, 3))) static bool refuse(config_file *c, const char *format, ...)
{
    va_list args;
    config_free(c);
    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
    return false;
}

static bool take(config_file *c, char *text, int number, const char *path, const option *const *tables, const char *also)
{
    char *eq = strchr(text, '=');
    if (eq)
        *eq = 0;
    char *name = trim(text);
    if (!known(name, tables, also))
        return refuse(c, "%s: line %d: unknown option '%.64s'", path, number, name);
    if (c->n == CONFIG_LINES)
        return refuse(c, "%s: line %d: more than %d options", path, number, CONFIG_LINES);
    config_line *l = &c->line[c->n++];
    *l = (config_line){.name = strdup(name), .value = eq ? strdup(trim(eq + 1)) : NULL, .number = number};
    return (l->name && (l->value || !eq)) || refuse(c, "%s: out of memory", path);
}

bool config_read(config_file *c, const char *path, const option *const *tables, const char *also)
{
    char line[LINE_MAX_BYTES];
    c->n = 0;
    c->why[0] = 0;
    FILE *f = fopen(path, "r");
    if (!f)
        return refuse(c, "%s: %s", path, strerror(errno));
    bool ok = true;
    for (int number = 1; ok && fgets(line, sizeof line, f); number++) {
        if (!strchr(line, '\n') && !feof(f)) {
            ok = refuse(c, "%s: line %d: longer than %d bytes", path, number, LINE_MAX_BYTES - 2);
            break;
        }
        char *text = trim(line);
        if (*text && *text != '#' && *text != ';' && *text != '[')
            ok = take(c, text, number, path, tables, also);
    }
    if (ok && ferror(f))
        ok = refuse(c, "%s: %s", path, strerror(errno));
    fclose(f);
    return ok;
}

void config_free(config_file *c)
{
    for (int i = 0; i < c->n; i++) {
        free(c->line[i].name);
        free(c->line[i].value);
    }
    c->n = 0;
}
