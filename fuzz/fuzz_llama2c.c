/* Any bytes as a llama2.c checkpoint. */
#include "base/heap.h"
#include "format/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_weights *w = NULL;
    if (sg_weights_open_bytes(&w, SG_SOURCE_LLAMA2C, data, size, "fuzz", NULL) != SG_OK)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < sg_weights_count(w); i++)
        sum += sg_weights_at(w, i)->bytes;
    if (sum > size)
        __builtin_trap();
    sg_weights_close(w);
    return 0;
}
