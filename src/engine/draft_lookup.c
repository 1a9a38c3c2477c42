/* engine/draft_lookup.c - guessing the next tokens of an answer from its own text (prompt lookup).
 *
 * Code that is edited, text that is summarised and JSON that repeats its keys say again what stands above.  The last
 * GRAM tokens are looked up among all earlier places of the request; of those that begin alike, the one with the longest
 * common past is continued, the newest among equals:
 *
 *     ... the boat sailed away and ...... the boat sailed
 *         [  common past ][guess ->]      [  now        ]
 *
 *     head [hash of GRAM tokens] -> last place behind such a run -> prev [place] -> the place before ...
 *
 * The step loop's thread; memory is taken when the request is built.
 */
#include "engine/internal.h"

#include "base/heap.h"
#include "base/rng.h"

enum { GRAM = 3, CANDIDATES = 8, PAST_MAX = 32 };

struct sg_drafter {
    int32_t *head; /* [mask + 1] place or 0 */
    int32_t *prev; /* [limit] */
    uint32_t mask;
    int limit, n; /* places up to n are in */
};

sg_status sg_drafter_new(sg_drafter **out, int limit, sg_error *err)
{
    sg_drafter *d = sg_calloc(1, sizeof *d);
    if (!d)
        return sg_fail_nomem(err, "a request");
    uint32_t size = 64;
    while (size < (uint32_t)limit && size < 1u << 30)
        size *= 2;
    *d = (sg_drafter){.mask = size - 1, .limit = limit};
    d->head = sg_calloc(size, sizeof *d->head);
    d->prev = sg_calloc((size_t)limit + 1, sizeof *d->prev);
    if (!d->head || !d->prev) {
        sg_drafter_free(d);
        return sg_fail_nomem(err, "a request");
    }
    *out = d;
    return SG_OK;
}

void sg_drafter_free(sg_drafter *d)
{
    if (!d)
        return;
    sg_free(d->head);
    sg_free(d->prev);
    sg_free(d);
}

/* Where runs that end before token `n` begin their list. */
static int32_t *slot(sg_drafter *d, const int32_t *token, int n)
{
    uint64_t h = 0;
    for (int i = n - GRAM; i < n; i++)
        h = sg_rng_mix(h + (uint32_t)token[i] + 1);
    return &d->head[h & d->mask];
}

static int past(const int32_t *token, int a, int b)
{
    int n = 0;
    while (n < PAST_MAX && n < a && token[a - 1 - n] == token[b - 1 - n])
        n++;
    return n;
}

int sg_drafter_guess(sg_drafter *d, const int32_t *token, int n, int32_t *draft, int most, int *same_past)
{
    int best = 0, longest = GRAM - 1, count = 0;
    if (n < GRAM || n > d->limit || most <= 0)
        return 0;
    for (int at = d->n + 1; at < n; at++) /* the run that ends at n itself comes in with the next token */
        if (at >= GRAM) {
            int32_t *first = slot(d, token, at);
            d->prev[at] = *first;
            *first = at;
        }
    d->n = n - 1 > d->n ? n - 1 : d->n;
    for (int at = *slot(d, token, n), i = 0; at && i < CANDIDATES; at = d->prev[at], i++) {
        int same = past(token, at, n);
        if (same > longest) {
            longest = same;
            best = at;
        }
    }
    for (int i = best; best && i < n && count < most; i++)
        draft[count++] = token[i];
    *same_past = longest;
    return count;
}
