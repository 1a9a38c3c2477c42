/* text/jinja_state.h - what one compilation or one rendering of a chat template owns: memory with a cap,
 * a step budget, a depth limit, and the first failure.
 *
 * Failures stick.  The first sg_jinja_fail decides the error; from then on sg_jinja_ok is false, every
 * allocation gives NULL and the interpreter unwinds.  Functions that return a value return the undefined
 * value after a failure, so code checks where going on would be wrong or long, not after every call.
 *
 * Memory is an arena: nothing is freed before the end.  One thread at a time.
 */
#ifndef SG_TEXT_JINJA_STATE_H
#define SG_TEXT_JINJA_STATE_H

#include "base/error.h"

typedef struct sg_jinja_chunk sg_jinja_chunk;
typedef struct sg_jinja_symbols sg_jinja_symbols;

typedef struct sg_jinja {
    sg_status status; /* SG_OK until the first failure */
    sg_error error;
    const char *raised; /* the argument of raise_exception, in the arena; NULL when that is not what happened */
    size_t nraised;

    sg_jinja_chunk *chunks; /* the arena: newest first */
    char *free, *free_end;  /* the room left in the newest chunk */
    size_t bytes, bytes_max;

    uint64_t steps; /* left; one is about one node evaluated or 64 bytes touched */
    uint32_t depth, depth_max;
    uint32_t line; /* of the template, where we are: for errors */

    sg_jinja_symbols *symbols; /* of the template */
    bool autoescape;
    uint32_t loop_depth;
    struct sg_jbinding *spare; /* bindings of finished iterations, to be used again */
    struct tm *now; /* for strftime_now; borrowed */
} sg_jinja;

static inline bool sg_jinja_ok(const sg_jinja *j) { return j->status == SG_OK; }

/* Begin with these budgets; end frees the arena. */
void sg_jinja_init(sg_jinja *j, size_t bytes_max, uint64_t steps, uint32_t depth_max);
void sg_jinja_fini(sg_jinja *j);

/* Note the first failure as "template line N: ...".  Returns false. */
__attribute__((format(printf, 3, 4))) bool sg_jinja_fail(sg_jinja *j, sg_status status, const char *format, ...);

/* Memory aligned for any type, not cleared; NULL after a failure or past the cap. */
void *sg_jinja_alloc(sg_jinja *j, size_t bytes);
/* An array of n items. */
void *sg_jinja_array(sg_jinja *j, size_t n, size_t size);

/* Spend steps.  False when there are none left (or a failure before). */
bool sg_jinja_charge(sg_jinja *j, uint64_t steps);

/* Bracket every recursion; when enter is false do not recurse and do not call leave. */
bool sg_jinja_enter(sg_jinja *j);
static inline void sg_jinja_leave(sg_jinja *j) { j->depth--; }

/* A string that grows in the arena. */
typedef struct sg_jinja_text {
    sg_jinja *j;
    char *s;
    size_t n, cap;
    size_t max; /* longest n allowed, 0 = the arena's cap */
} sg_jinja_text;

void sg_jinja_text_add(sg_jinja_text *t, const char *s, size_t n);
void sg_jinja_text_adds(sg_jinja_text *t, const char *s);
void sg_jinja_text_addc(sg_jinja_text *t, char c);
void sg_jinja_text_pad(sg_jinja_text *t, const char *fill, size_t nfill, uint64_t times);
void sg_jinja_text_cp(sg_jinja_text *t, uint32_t cp);
__attribute__((format(printf, 2, 3))) void sg_jinja_text_addf(sg_jinja_text *t, const char *format,
                                                              ...); /* short things: at most 255 bytes */

#endif
