/* text/bench.c - how fast a tokenizer encodes.
 *
 * The text is cut at line ends into documents of at least `document` bytes, one call of sg_tokenizer_encode each, as a
 * service would see them.  The first pass starts with an empty word cache ("cold"), the others find it filled
 * ("warm").  Time is the thread's CPU time, so other work on the machine disturbs less.
 */
#include "text/tokenizer.h"

#include "base/heap.h"

#include <time.h>

static double cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* One pass over the text: its seconds and the number of ids. */
static sg_status pass(const sg_tokenizer *t, const char *text, size_t n, size_t document, sg_tokens *ids, double *seconds,
                      uint64_t *ntoken, sg_error *err)
{
    double start = cpu_seconds();
    *ntoken = 0;
    for (size_t at = 0; at < n;) {
        size_t end = n;
        if (document && n - at > document) {
            const char *p = memchr(text + at + document - 1, '\n', n - at - document + 1);
            end = p ? (size_t)(p - text) + 1 : n;
        }
        ids->n = 0;
        SG_TRY(sg_tokenizer_encode(t, text + at, end - at, 0, ids, err));
        *ntoken += ids->n;
        at = end;
    }
    *seconds = cpu_seconds() - start;
    return SG_OK;
}

sg_status sg_tokenizer_bench(const sg_tokenizer *t, const char *text, size_t len, size_t document, int repeats,
                             double *seconds, uint64_t *ntoken, sg_error *err)
{
    sg_tokens ids = {0};
    sg_encoder *idle;
    SG_TRY(sg_encoder_take(t, &idle, err)); /* an encoder that others filled would make the first pass warm */
    sg_encoder_forget(idle);
    sg_encoder_give(t, idle);
    sg_status st = SG_OK;
    for (int i = 0; st == SG_OK && i < repeats; i++)
        st = pass(t, text, len, document, &ids, &seconds[i], ntoken, err);
    sg_tokens_fini(&ids);
    return st;
}
