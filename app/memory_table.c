/* app/memory_table.c - the memory ledger for people: what each part holds and may hold. */
#include "memory_table.h"

#include <stdio.h>
#include <string.h>

enum { ROWS_MAX = 16 };

void memory_table_print(FILE *f, const sg_engine *engine)
{
    sg_memory_pool row[ROWS_MAX];
    sg_engine_info info;
    char line[1024]; /* in one piece: other threads write too */
    size_t n = sg_engine_memory(engine, row, ROWS_MAX), at = 0;
    const char *from = NULL;
    double cap = (double)sg_memory_cap(&from) / 0x1p20;
    sg_engine_info_get(engine, &info);
    at += (size_t)snprintf(line, sizeof line, "segue: memory of %.64s, MiB (of %.0f by %s):", info.name, cap, from ? from : "nobody");
    for (size_t i = 0; i < n && i < ROWS_MAX && at < sizeof line - 64; i++) {
        if (!row[i].bytes && !row[i].cap_bytes)
            continue;
        bool fixed = row[i].bytes == row[i].cap_bytes;
        at += (size_t)snprintf(line + at, sizeof line - at, fixed ? "\n  %-9s %9.1f" : "\n  %-9s %9.1f of %9.1f", row[i].name,
                               (double)row[i].bytes / 0x1p20, (double)row[i].cap_bytes / 0x1p20);
    }
    fprintf(f, "%s\n", line);
}

json_t *memory_table_json(const sg_engine *engine)
{
    sg_memory_pool row[ROWS_MAX];
    size_t n = sg_engine_memory(engine, row, ROWS_MAX);
    json_t *o = json_object();
    for (size_t i = 0; i < n && i < ROWS_MAX; i++)
        json_object_set_new(o, row[i].name, json_integer((json_int_t)row[i].bytes));
    return o;
}

json_t *memory_caps_json(const sg_engine *engine)
{
    sg_memory_pool row[ROWS_MAX];
    const char *from = NULL;
    size_t n = sg_engine_memory(engine, row, ROWS_MAX);
    json_t *o = json_pack("{s:I}", "total", (json_int_t)sg_memory_cap(&from));
    json_object_set_new(o, "from", from ? json_string(from) : json_null());
    for (size_t i = 0; i < n && i < ROWS_MAX; i++)
        json_object_set_new(o, row[i].name, json_integer((json_int_t)row[i].cap_bytes));
    return o;
}
