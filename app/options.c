/* app/options.c - parsing, --help and the man page from one option table.
 *
 * Values are stored where the table points as they are read, so that a later option wins over an
 * earlier one.  Wrong usage ends the program here, in one place and with one form of message; a command
 * only ever sees well-formed values.  getopt_long was not used because it knows neither types nor help
 * texts, and each command would repeat both.
 */
#include "options.h"

#include "segue.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void options_usage(const command *c, const char *format, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    fprintf(stderr, "segue: %s: %s; see segue %s --help\n", c->name, line, c->name);
    exit(EXIT_USAGE);
}

static void label(const option *o, char *out, size_t cap)
{
    const char *v = o->kind == OPT_FLAG ? NULL : o->kind == OPT_YESNO && !o->metavar ? "yes|no" : o->metavar;
    snprintf(out, cap, "%s%s%s%s%s", o->short_name ? o->short_name : "", o->short_name && o->long_name ? ", " : "",
             o->long_name ? o->long_name : "", v ? " " : "", v ? v : "");
}

static void help(const command *c)
{
    printf("usage: segue %s %s\n\n%s.\n", c->name, c->synopsis, c->summary);
    if (c->text)
        printf("\n%s\n", c->text);
    for (size_t t = 0; c->tables[t]; t++) {
        printf("\n");
        for (const option *o = c->tables[t]; o->short_name || o->long_name; o++) {
            char l[128];
            label(o, l, sizeof l);
            if (strlen(l) <= 24)
                printf("  %-24s  %s\n", l, o->help);
            else
                printf("  %s\n  %-24s  %s\n", l, "", o->help);
        }
    }
    printf("\n  %-24s  this text\n", "--help");
    exit(0);
}

/* Text for troff: backslashes and hyphens are escaped, leading dots and quotes are shielded. */
static void troff(const char *s)
{
    bool start = true;
    for (; *s; s++) {
        if (start && (*s == '.' || *s == '\''))
            printf("\\&");
        if (*s == '-')
            printf("\\-");
        else if (*s == '\\')
            printf("\\e");
        else
            putchar(*s);
        start = *s == '\n';
    }
}

static void man(const command *c)
{
    char page[64]; /* "bench serve" is segue-bench-serve(1) */
    snprintf(page, sizeof page, "%s", c->name);
    for (char *p = page; (p = strchr(p, ' ')); *p = '-')
        ;
    printf(".TH SEGUE-%s 1 \"\" \"segue %s\" \"User Commands\"\n.SH NAME\nsegue-%s \\- ", page, SG_VERSION, page);
    troff(c->summary);
    printf("\n.SH SYNOPSIS\n.B segue %s\n", c->name);
    troff(c->synopsis);
    if (c->text) {
        printf("\n.SH DESCRIPTION\n");
        troff(c->text);
    }
    printf("\n.SH OPTIONS\n");
    for (size_t t = 0; c->tables[t]; t++)
        for (const option *o = c->tables[t]; o->short_name || o->long_name; o++) {
            char l[128];
            label(o, l, sizeof l);
            printf(".TP\n.B ");
            troff(l);
            printf("\n");
            troff(o->help);
            printf("\n");
        }
    printf(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 130 interrupted.\n.SH SEE ALSO\n.BR segue (1)\n");
    exit(0);
}

static const option *find(const command *c, const char *name, size_t n)
{
    for (size_t t = 0; c->tables[t]; t++)
        for (const option *o = c->tables[t]; o->short_name || o->long_name; o++)
            if ((o->short_name && strlen(o->short_name) == n && memcmp(o->short_name, name, n) == 0) ||
                (o->long_name && strlen(o->long_name) == n && memcmp(o->long_name, name, n) == 0))
                return o;
    return NULL;
}

static void bad_value(const command *c, const char *name, const char *v, const char *want)
{
    options_usage(c, "%s: '%s' is not %s", name, v, want);
}

static uint64_t parse_size(const command *c, const char *name, const char *v)
{
    char *end;
    errno = 0;
    double x = strtod(v, &end);
    if (end == v || errno || !(x >= 0))
        bad_value(c, name, v, "a size");
    if (strcmp(end, "%") == 0)
        return (uint64_t)(x / 100 * (double)sg_memory_available());
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].unit) == 0 && x * units[i].factor < 0x1p62)
            return (uint64_t)(x * units[i].factor);
    bad_value(c, name, v, "a size such as 512MiB, 2GiB or 50%");
    return 0;
}

static void store(const command *c, const option *o, const char *name, const char *v)
{
    char *end = NULL;
    errno = 0;
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->value = true;
        return;
    case OPT_YESNO:
        if (strcmp(v, "yes") != 0 && strcmp(v, "no") != 0)
            bad_value(c, name, v, "yes or no");
        *(int *)o->value = v[0] == 'y';
        return;
    case OPT_INT:
        *(int64_t *)o->value = strtoll(v, &end, 10);
        break;
    case OPT_UINT:
        *(uint64_t *)o->value = strtoull(v, &end, 10);
        if (v[0] == '-')
            end = NULL;
        break;
    case OPT_F64:
        *(double *)o->value = strtod(v, &end);
        break;
    case OPT_STR:
        *(const char **)o->value = v;
        return;
    case OPT_SIZE:
        *(uint64_t *)o->value = parse_size(c, name, v);
        return;
    case OPT_LIST: {
        string_list *l = o->value;
        if (l->n == sizeof l->items / sizeof l->items[0])
            options_usage(c, "%s: given more than %zu times", name, l->n);
        l->items[l->n++] = v;
        return;
    }
    }
    if (!end || end == v || *end || errno)
        bad_value(c, name, v, o->kind == OPT_F64 ? "a number" : o->kind == OPT_UINT ? "a number from 0 on" : "a whole number");
}

int options_parse(const command *c, int argc, char **argv, int max)
{
    int npos = 0;
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (only_positional || a[0] != '-' || !a[1]) {
            if (npos == max)
                options_usage(c, "'%s' is one argument too many", a);
            argv[npos++] = a;
            continue;
        }
        if (strcmp(a, "--") == 0) {
            only_positional = true;
            continue;
        }
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
            help(c);
        if (strcmp(a, "--man") == 0)
            man(c);
        const char *eq = a[1] == '-' ? strchr(a, '=') : NULL;
        size_t n = eq ? (size_t)(eq - a) : strlen(a);
        const option *o = find(c, a, n);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(n < 60 ? n : 60), a);
        if (!o)
            options_usage(c, "unknown option %s", name);
        if (o->kind == OPT_FLAG && eq)
            options_usage(c, "%s takes no value", name);
        const char *v = eq ? eq + 1 : NULL;
        if (o->kind != OPT_FLAG && !v) {
            if (i + 1 == argc)
                options_usage(c, "%s wants a value", name);
            v = argv[++i];
        }
        store(c, o, name, v);
    }
    return npos;
}
