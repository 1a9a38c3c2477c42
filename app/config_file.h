/* app/config_file.h - a file of options: "name = value" a line, the names of the long options without "--". */
#ifndef SG_APP_CONFIG_FILE_H
#define SG_APP_CONFIG_FILE_H

#include "options.h"

enum { CONFIG_LINES = 256 };

typedef struct config_line {
    char *name, *value; /* value NULL: the line has no '=' (a flag) */
    int number;         /* from 1 */
} config_line;

typedef struct config_file {
    config_line line[CONFIG_LINES];
    int n;
    char why[512]; /* when reading failed: file, line and fact */
} config_file;

/* Read `path` into *c.  Names that no table has, but for `also` (may be NULL), are refused.  Empty lines, lines that begin with
 * '#' or ';' and [sections] are skipped.  False with c->why set; c then needs no freeing. */
bool config_read(config_file *c, const char *path, const option *const *tables, const char *also);
void config_free(config_file *c);

#endif
