/* Any bytes as a safetensors file. */
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_safetensors dir = {0};
    sg_file f = {.data = data, .size = size};
    if (sg_safetensors_read(&dir, &f, NULL) == SG_OK && sg_safetensors_sort(&dir, NULL) == SG_OK)
        for (size_t i = 0; i < dir.n; i++)
            if (dir.tensors[i].offset > size || dir.tensors[i].bytes > size - dir.tensors[i].offset ||
                sg_safetensors_find(&dir, dir.tensors[i].name) != &dir.tensors[i])
                __builtin_trap();
    sg_safetensors_fini(&dir);
    return 0;
}
