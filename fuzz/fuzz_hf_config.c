/* A config.json and a safetensors header: "CONFIG\0HEADER", the tensors' data is zeros.  The two are put in a
 * directory of this process, opened as a model, and every tensor is made. */
#include "base/heap.h"
#include "format/weights.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATA_BYTES = 1 << 16 };

static char dir[64], config[128], tensors[128];

static void leave(void)
{
    unlink(config);
    unlink(tensors);
    rmdir(dir);
}

static void enter(void)
{
    if (dir[0])
        return;
    snprintf(dir, sizeof dir, "%s/segue-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        abort();
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(tensors, sizeof tensors, "%s/model.safetensors", dir);
    atexit(leave);
}

static void put(const char *path, const void *head, size_t nhead, const void *body, size_t nbody, size_t zeros)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        abort();
    fwrite(head, 1, nhead, f);
    fwrite(body, 1, nbody, f);
    fflush(f);
    if (ftruncate(fileno(f), (off_t)(nhead + nbody + zeros)) != 0)
        abort();
    fclose(f);
}

/* The data's length: the largest number behind a comma that a well-formed header would end its offsets with. */
static size_t data_bytes(const uint8_t *s, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (s[i] == ',') {
            char number[16] = "";
            size_t k = 0;
            while (k < sizeof number - 1 && i + 1 + k < n &&
                   ((s[i + 1 + k] >= '0' && s[i + 1 + k] <= '9') || s[i + 1 + k] == ' ')) {
                number[k] = (char)s[i + 1 + k];
                k++;
            }
            size_t v = i + 1 + k < n && s[i + 1 + k] == ']' ? strtoul(number, NULL, 10) : 0;
            most = v > most && v <= DATA_BYTES ? v : most;
        }
    return most;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *gap = size ? memchr(data, 0, size) : NULL;
    size_t n = gap ? (size_t)(gap - data) : size, m = gap ? size - n - 1 : 0;
    uint64_t header = m;
    sg_weights *w = NULL;
    enter();
    put(config, "", 0, data, n, 0);
    put(tensors, &header, sizeof header, gap ? gap + 1 : data, m, m ? data_bytes(gap + 1, m) : 0);
    if (sg_weights_open(&w, dir, NULL) != SG_OK)
        return 0;
    for (size_t i = 0; i < sg_weights_count(w); i++) {
        const sg_tensor *t = sg_weights_at(w, i);
        void *p = sg_alloc(t->bytes);
        if (p)
            sg_weights_read(w, t, p, NULL);
        sg_free(p);
    }
    sg_weights_close(w);
    return 0;
}
