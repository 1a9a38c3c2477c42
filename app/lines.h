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

/* Lines of standard input that say when no more has come yet, for who answers several together without keeping anybody waiting. */
typedef struct lines_reader {
    char *data;
    size_t at, n, cap;
    bool end, skipping;
} lines_reader;

enum { LINES_MAX_BYTES = 64 << 20 };

/* The next line that is not blank, its length without the end in *n, valid until the next call; "" with *n = SIZE_MAX for one longer
 * than LINES_MAX_BYTES, which is skipped; NULL at the end, and, unless it may `wait`, when no whole line has come yet. */
char *lines_next(lines_reader *r, bool wait, size_t *n);
void lines_fini(lines_reader *r);

/* What a line says: a JSON string or an object with "text".  The caller decrefs *value, which *text points into.  False with *err. */
bool lines_text(const char *line, size_t len, json_t **value, const char **text, size_t *n, sg_error *err);

/* A whole file with a NUL behind it, to be given to free(); "-" is standard input.  NULL on failure. */
char *lines_read_file(const char *path, size_t *size, sg_error *err);

#endif
