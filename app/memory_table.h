/* app/memory_table.h - the memory ledger of an engine, as a table and as JSON. */
#ifndef SG_APP_MEMORY_TABLE_H
#define SG_APP_MEMORY_TABLE_H

#include "segue.h"

#include <jansson.h>
#include <stdio.h>

/* A line for each row: what it holds, and the most that it may when that is another number. */
void memory_table_print(FILE *f, const sg_engine *engine);

/* {"weights":bytes, ...}, and {"total":bytes,"from":"MemAvailable","weights":bytes, ...}. */
json_t *memory_table_json(const sg_engine *engine);
json_t *memory_caps_json(const sg_engine *engine);

#endif
