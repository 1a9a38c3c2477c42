/* Any bytes as a connection: the first byte says how they are cut, the answer must not depend on it. */
#include "base/heap.h"
#include "serve/http.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read up to 8 requests in pieces of `step` bytes; a number that says what was seen. */
static uint64_t run(const char *bytes, size_t n, size_t step)
{
    sg_http h;
    uint64_t seen = 0;
    sg_http_init(&h, 4096);
    for (size_t at = 0, round = 0; round < 8 && h.state != SG_HTTP_BAD;) {
        size_t k = n - at < step ? n - at : step;
        sg_http_state before = h.state;
        size_t used = sg_http_feed(&h, bytes + at, k);
        if (used > k || h.body.len > 4096 || h.head.len > SG_HTTP_HEAD_MAX || h.nheader > SG_HTTP_HEADERS_MAX)
            __builtin_trap();
        at += used;
        if (h.state == SG_HTTP_DONE) {
            char name[64];
            seen = seen * 31 + h.body.len * 7 + strlen(h.path) + sg_http_unescape(h.path, name, sizeof name);
            sg_http_next(&h);
            round++;
        } else if (used == 0 && h.state == before && (at == n || k))
            break;
    }
    if (h.state == SG_HTTP_BAD)
        seen = seen * 31 + (uint64_t)h.status;
    sg_http_fini(&h);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *bytes = (const char *)data + 1;
    if (run(bytes, size - 1, SIZE_MAX) != run(bytes, size - 1, 1 + data[0] % 16))
        __builtin_trap();
    return 0;
}
