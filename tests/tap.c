/* tests/tap.c - the harness behind tests/tap.h.
 *
 * Tests register themselves before main.  Output is TAP, one line a test, which Meson reads; comments
 * carry what a person needs to repeat a failure.  The allocation loop runs a body with the n-th
 * allocation failing, alternating between one failure and failure from then on: the first finds code
 * that goes on with NULL, the second finds clean-up that allocates.
 */
#include "tap.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NTEST = 512, NSCRATCH = 64 };

static struct {
    const char *name;
    tap_fn *fn;
} tests[NTEST];
static int ntest;
static bool failed;
static char skipped[256];
static uint64_t seed;
static sg_rng rng;
static char *scratch[NSCRATCH];
static int nscratch;

void tap_register(const char *name, tap_fn *fn)
{
    if (ntest == NTEST)
        abort();
    tests[ntest].name = name;
    tests[ntest++].fn = fn;
}

void tap_fail(const char *file, int line, const char *format, ...)
{
    failed = true;
    printf("# %s:%d: ", file, line);
    va_list ap;
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf(" (SEGUE_TEST_SEED=%llu)\n", (unsigned long long)seed);
}

bool tap_failed(void) { return failed; }

void tap_skip(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(skipped, sizeof skipped, format, ap);
    va_end(ap);
}

void tap_note(const char *format, ...)
{
    printf("# ");
    va_list ap;
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf("\n");
}

sg_rng *tap_rng(void) { return &rng; }

const char *tap_source(void)
{
    const char *s = getenv("SEGUE_SOURCE");
    return s ? s : SEGUE_SOURCE_DIR;
}

const char *tap_shared(void)
{
    static char path[4096];
    const char *s = getenv("SEGUE_SHARED");
    if (s)
        snprintf(path, sizeof path, "%s", s);
    else
        snprintf(path, sizeof path, "%s/../shared", tap_source());
    struct stat st;
    char probe[4200];
    snprintf(probe, sizeof probe, "%s/data", path);
    return stat(probe, &st) == 0 ? path : NULL;
}

static void remove_scratch(void)
{
    for (int i = 0; i < nscratch; i++) {
        unlink(scratch[i]);
        free(scratch[i]);
    }
}

const char *tap_scratch(const char *name)
{
    const char *dir = getenv("TMPDIR");
    char *path;
    if (nscratch == NSCRATCH || asprintf(&path, "%s/segue-test-%d-%s", dir ? dir : "/tmp", (int)getpid(), name) < 0)
        abort();
    if (nscratch == 0)
        atexit(remove_scratch);
    scratch[nscratch++] = path;
    return path;
}

bool tap_alloc_loop(tap_alloc_fn *body, void *arg, const char *file, int line)
{
    for (long n = 0;; n++) {
        size_t before = sg_heap_live();
        sg_heap_fail_after(n, n % 2 == 1);
        bool ok = body(arg);
        bool hit = sg_heap_failed();
        sg_heap_fail_after(-1, false);
        if (sg_heap_live() != before) {
            tap_fail(file, line, "%zd bytes leaked after allocation %ld failed", (ssize_t)(sg_heap_live() - before), n);
            return false;
        }
        if (!hit) {
            if (!ok)
                tap_fail(file, line, "fails although no allocation failed");
            return ok;
        }
        if (n > 200000) {
            tap_fail(file, line, "never ends");
            return false;
        }
    }
}

int tap_main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *s = getenv("SEGUE_TEST_SEED"); /* the same cases every day, unless others are asked for */
    seed = !s ? 1 : strcmp(s, "random") == 0 ? (uint64_t)sg_clock_ns() : strtoull(s, NULL, 10);
    int nbad = 0, nrun = 0;
    for (int i = 0; i < ntest; i++) {
        bool want = argc < 2;
        for (int a = 1; a < argc; a++)
            want = want || strcmp(argv[a], tests[i].name) == 0;
        if (!want)
            continue;
        failed = false;
        skipped[0] = '\0';
        rng.state = seed;
        tests[i].fn();
        nrun++;
        nbad += failed;
        if (skipped[0] && !failed)
            printf("ok %d - %s # SKIP %s\n", nrun, tests[i].name, skipped);
        else
            printf("%s %d - %s\n", failed ? "not ok" : "ok", nrun, tests[i].name);
    }
    printf("1..%d\n", nrun);
    return nbad ? 1 : 0;
}
