/* app/progress.c - see progress.h. */
#include "progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t interrupted;
static bool quiet;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

void progress_begin(bool silent)
{
    struct sigaction on = {.sa_handler = interrupt};
    quiet = silent;
    sigaction(SIGINT, &on, NULL);
    sigaction(SIGTERM, &on, NULL);
}

bool progress_show(void *arg, const sg_write_progress *p)
{
    (void)arg;
    if (!quiet)
        fprintf(stderr, "\r\033[K%3" PRIu64 " %%  %zu of %zu  %s  %s -> %s", p->bytes ? 100 * p->bytes_done / p->bytes : 100,
                p->tensor + 1, p->ntensor, p->name, p->from, p->to);
    return !interrupted;
}

void progress_end(void)
{
    if (!quiet)
        fprintf(stderr, "\r\033[K");
}
