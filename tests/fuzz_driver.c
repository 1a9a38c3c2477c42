/* tests/fuzz_driver.c - runs a fuzz target over its corpus without libFuzzer: the regression test.
 *
 *     regress_NAME DIR
 *
 * Every file of DIR, then VARIANTS seeded changes of each: cut short, bytes overwritten, lengths made
 * absurd.  The target must return 0 and neither crash, nor leak (the address sanitizer's build says), nor
 * leave heap bytes behind.
 */
#include "base/heap.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VARIANTS = 2000, LONGEST = 1 << 20 };

static size_t ninput, nbad;

static void run(const uint8_t *data, size_t size, const char *name, int variant)
{
    uint8_t *copy = malloc(size ? size : 1); /* its own block: the sanitizer sees a read past the end */
    memcpy(copy, data, size);
    size_t before = sg_heap_live();
    if (LLVMFuzzerTestOneInput(copy, size) != 0 || sg_heap_live() != before) {
        printf("# %s, variant %d: the target failed or left %zu bytes\n", name, variant, sg_heap_live() - before);
        nbad++;
    }
    ninput++;
    free(copy);
}

static size_t change(uint8_t *data, size_t size, sg_rng *rng)
{
    static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff};
    if (size == 0)
        return 0;
    if (sg_rng_below(rng, 4) == 0)
        return (size_t)sg_rng_below(rng, size);
    uint64_t n = 1 + sg_rng_below(rng, 4);
    for (uint64_t i = 0; i < n; i++) {
        size_t at = (size_t)sg_rng_below(rng, size), width = 1u << sg_rng_below(rng, 4);
        uint8_t byte = sg_rng_below(rng, 2) ? extremes[sg_rng_below(rng, 5)] : (uint8_t)sg_rng_u64(rng);
        memset(data + at, byte, width < size - at ? width : size - at);
    }
    return size;
}

static void run_file(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(LONGEST), *copy = malloc(LONGEST);
    size_t size = f ? fread(data, 1, LONGEST, f) : 0;
    if (f)
        fclose(f);
    run(data, size, name, -1);
    for (int i = 0; i < VARIANTS; i++) {
        sg_rng rng = {.state = (uint64_t)i * 1000003 + size};
        memcpy(copy, data, size);
        run(copy, change(copy, size, &rng), name, i);
    }
    free(data);
    free(copy);
}

int main(int argc, char **argv)
{
    struct dirent **names;
    int n = argc == 2 ? scandir(argv[1], &names, NULL, alphasort) : -1, nfile = 0;
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.') {
            run_file(argv[1], names[i]->d_name);
            nfile++;
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    printf("# %d files, %zu inputs\n%s 1 - corpus\n1..1\n", nfile, ninput, nfile > 0 && nbad == 0 ? "ok" : "not ok");
    return nfile == 0 || nbad;
}
