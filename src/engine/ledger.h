/* engine/ledger.h - the memory ledger: one cap for the process, fixed when the first engine opens, and rows beneath it.
 *
 *     cap  = --memory, or what cgroups, RLIMIT_AS and MemAvailable leave (base/limits.h) less a sixteenth
 *     cap >= weights + packed + kv + prefix + scratch + text + draft   fixed when an engine opens
 *            + requests                                                reserved at submit, given back when a request is freed
 *            + io                                                      what else is in the heap: connections, bodies, JSON
 *
 * A reservation that passes its row's cap is refused at submit (SG_E_BUSY, 429 with Retry-After); an allocation that
 * would pass the process's cap fails as an allocation (base/heap.h), so that the kernel never has to choose whom to kill.
 * Any thread.
 */
#ifndef SG_ENGINE_LEDGER_H
#define SG_ENGINE_LEDGER_H

#include "base/error.h"
#include "segue.h"

typedef enum sg_ledger_row {
    SG_LEDGER_WEIGHTS, /* mapped and used as they are; the kernel may page them out, so they are not in the heap */
    SG_LEDGER_PACKED,  /* weights in the form that the kernels want */
    SG_LEDGER_KV,
    SG_LEDGER_PREFIX,  /* the tree; its blocks are KV */
    SG_LEDGER_SCRATCH, /* of steps */
    SG_LEDGER_TEXT,    /* tokenizer, chat template, vocabulary of grammars */
    SG_LEDGER_DRAFT,   /* a draft model with all that it has */
    SG_LEDGER_REQUESTS,
    SG_LEDGER_NROW
} sg_ledger_row;

typedef struct sg_ledger sg_ledger; /* of one engine; counted */

/* A ledger for an engine that is about to be opened.  memory_bytes: the cap of the process, 0: what the machine has to give;
 * a cap that stands already is kept in that case. */
sg_status sg_ledger_new(sg_ledger **ledger, uint64_t memory_bytes, sg_error *err);
sg_ledger *sg_ledger_ref(sg_ledger *l);
void sg_ledger_unref(sg_ledger *l); /* the last one gives all rows back; NULL is fine */

/* The process's cap, and who decided it (static).  0 while no engine is open. */
uint64_t sg_ledger_cap(const char **from);
/* What may still be taken under it. */
uint64_t sg_ledger_left(void);

/* SG_E_NOMEM in one line with the numbers when `need` more bytes do not fit; `what` begins the line. */
sg_status sg_ledger_check(const char *what, uint64_t need, const char *parts, sg_error *err);

/* Add fixed bytes to a row; its cap follows. */
void sg_ledger_hold(sg_ledger *l, sg_ledger_row row, uint64_t bytes);
/* What requests may take together. */
void sg_ledger_limit(sg_ledger *l, uint64_t bytes);
/* Reserve for a request.  SG_E_LIMIT when the row could never hold it, SG_E_BUSY when it cannot now. */
sg_status sg_ledger_take(sg_ledger *l, uint64_t bytes, sg_error *err);
void sg_ledger_give(sg_ledger *l, uint64_t bytes);

/* Rows of the engine, then "io" and "heap" of the process: fills up to n, returns how many there are. */
size_t sg_ledger_rows(const sg_ledger *l, sg_memory_pool *pools, size_t n);

#endif
