/* app/progress.h - a line of progress for commands that write a model, and Ctrl-C that stops them cleanly. */
#ifndef SG_APP_PROGRESS_H
#define SG_APP_PROGRESS_H

#include "segue.h"

/* From now on SIGINT and SIGTERM make progress_show say stop.  With `silent` nothing is printed. */
void progress_begin(bool silent);

/* sg_write_progress_fn: one line on standard error that is written over. */
sg_write_progress_fn progress_show;

/* Clear the line. */
void progress_end(void);

#endif
