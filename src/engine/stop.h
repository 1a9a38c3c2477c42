/* engine/stop.h - finding stop strings in a stream of text, without ever giving out a part of one.
 *
 * Text is fed piece by piece.  After each piece the matcher says either where the first stop string
 * began, or how many of the newest bytes might still become one (those must be held back).  Knuth,
 * Morris and Pratt's automaton for each string; feeding allocates nothing.  One thread at a time.
 */
#ifndef SG_ENGINE_STOP_H
#define SG_ENGINE_STOP_H

#include "base/error.h"

typedef struct sg_stop {
    size_t nstring;
    char **string;    /* [nstring] */
    uint32_t *len;    /* [nstring], at least 1 */
    uint32_t **fail;  /* [nstring][len]: length of the longest proper border of each prefix */
    uint32_t *state;  /* [nstring]: bytes matched so far */
    uint64_t fed;     /* bytes so far */
} sg_stop;

/* Up to SG_STOPS_MAX strings of 1 to SG_STOP_BYTES_MAX bytes, copied.  SG_E_ARGUMENT, SG_E_LIMIT, SG_E_NOMEM. */
sg_status sg_stop_init(sg_stop *m, const char *const *strings, size_t n, sg_error *err);
void sg_stop_fini(sg_stop *m);

/* Feed text.  True when a stop string ended in it: *start is the offset in the whole stream where it began (of
 * those that end first, the longest); the matcher is then spent. */
bool sg_stop_feed(sg_stop *m, const char *text, size_t n, uint64_t *start);

/* Newest bytes that may yet belong to a stop string. */
size_t sg_stop_held(const sg_stop *m);

#endif
