/* base/json.h - jansson, with our allocator and our errors. */
#ifndef SG_BASE_JSON_H
#define SG_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>

/* Parse text[0..n) as one JSON value, strictly (UTF-8, one value and nothing after it, duplicate keys:
 * the last one counts as in other readers).  NULs inside strings are allowed.  `what` names the source
 * in the error ("config.json"); the error has line and column.  The caller decrefs *value. */
sg_status sg_json_parse(json_t **value, const char *text, size_t n, const char *what, sg_error *err);

/* The same for texts in which numbers do not matter: when one has an integer beyond 64 bits (tokenizer_config.json says
 * 1000000000000000019884624838656 for "no limit"), all numbers of the text are read as reals instead of failing. */
sg_status sg_json_parse_any_number(json_t **value, const char *text, size_t n, const char *what, sg_error *err);

/* Read and parse a file of at most `max` bytes. */
sg_status sg_json_read(json_t **value, const char *path, size_t max, sg_error *err);

/* Memory that parsing the text takes at most: to be compared with sg_heap_left, because jansson's own allocations pass the cap
 * (its parser does not survive the failure of every one). */
size_t sg_json_bytes_most(const char *text, size_t n);

/* Route jansson's memory through base/heap.h.  Called by the two above; call it before building values
 * without them.  Idempotent, any thread. */
void sg_json_init(void);

#endif
