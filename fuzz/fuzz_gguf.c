/* Any bytes as a GGUF file: opened, every tensor of a sensible size read, then closed. */
#include "base/heap.h"
#include "format/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_weights *w = NULL;
    if (sg_weights_open_memory(&w, data, size, "fuzz", NULL) != SG_OK)
        return 0;
    for (size_t i = 0; i < sg_weights_count(w); i++) {
        const sg_tensor *t = sg_weights_at(w, i);
        void *p = t->bytes <= size ? sg_alloc(t->bytes) : NULL;
        if (t->bytes > size || !sg_weights_find(w, t->name)) /* extents were proved against the file */
            __builtin_trap();
        if (p)
            sg_weights_read(w, t, p, NULL);
        sg_free(p);
    }
    sg_weights_close(w);
    return 0;
}
