/* Any bytes as a recorded load, and as the description of a client. */
#include "replay/trace.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_trace t = {0};
    const char *bytes = (const char *)data, *cut = size ? memchr(bytes, '{', size) : NULL; /* a client: windows, then lengths */
    if (cut) {
        size_t n = (size_t)(cut - bytes);
        if (sg_servegen_add(&t, bytes, n, cut, size - n, 1, 1000, "fuzz", "fuzz", NULL) == SG_OK)
            for (size_t i = 0; i < t.n; i++)
                if (t.request[i].prompt < 1 || t.request[i].output < 1 || t.request[i].arrival_us < 0)
                    abort();
        sg_trace_fini(&t);
    }
    if (sg_trace_parse(&t, (const char *)data, size, "fuzz", 0, NULL) != SG_OK)
        return 0;
    sg_trace_scale(&t, 3, 1000);
    for (size_t i = 0; i < t.n; i++)
        if (t.request[i].prompt < 1 || t.request[i].output < 1 || t.request[i].prompt + t.request[i].output > 1000 ||
            t.request[i].arrival_us < 0 || t.request[i].hash + (size_t)t.request[i].nhash > t.nhash)
            abort();
    sg_trace_fini(&t);
    return 0;
}
