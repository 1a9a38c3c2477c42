/* app/lines.h - JSON lines in and out, and whole files. */
#ifndef SG_APP_LINES_H
#define SG_APP_LINES_H

#include "segue.h"

#include <jansson.h>

/* Print one line of JSON, flushed, and give the value back. */
void lines_print(json_t *o);

/* For each line of standard input, a JSON string or an object with "text": call fn, which prints a result or fails;
 * then a line {"error": TEXT} is printed.  Returns the exit status: 1 when a line failed. */
int lines_run(bool (*fn)(void *arg, const char *text, size_t n, sg_error *err), void *arg);

/* A whole file with a NUL behind it, to be given to free(); "-" is standard input.  NULL on failure. */
char *lines_read_file(const char *path, size_t *size, sg_error *err);

#endif
