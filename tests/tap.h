/* tests/tap.h - the test harness: TAP on standard output, one process a file.
 *
 *     TEST(dict_replaces_in_place) { CHECK(x == 3); CHECK_STR(s, "abc"); }
 *     int main(int argc, char **argv) { return tap_main(argc, argv); }      (TAP_MAIN writes it)
 *
 * A failing CHECK prints file, line, the values and the seed, fails the test and leaves the test
 * function.  `test NAME...` runs only those; SEGUE_TEST_SEED=N or =random gives other
 * cases than the usual ones.
 */
#ifndef SG_TESTS_TAP_H
#define SG_TESTS_TAP_H

#include "base/error.h"
#include "base/heap.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef void tap_fn(void);

void tap_register(const char *name, tap_fn *fn);
int tap_main(int argc, char **argv);

#define TEST(name)                                                                             \
    static void test_##name(void);                                                             \
    __attribute__((constructor)) static void reg_##name(void) { tap_register(#name, test_##name); } \
    static void test_##name(void)

#define TAP_MAIN \
    int main(int argc, char **argv) { return tap_main(argc, argv); }

/* Note the failure; the CHECK macros then return from the test. */
__attribute__((format(printf, 3, 4))) void tap_fail(const char *file, int line, const char *format, ...);
bool tap_failed(void);

/* Mark the running test as skipped, visibly, with the reason. */
__attribute__((format(printf, 1, 2))) void tap_skip(const char *format, ...);

/* A line of commentary ("# ..."), such as counts. */
__attribute__((format(printf, 1, 2))) void tap_note(const char *format, ...);

/* The seeded generator of this test, and the folder of the shared data (NULL when it is not there:
 * SEGUE_SHARED, or ../shared beside the source tree). */
sg_rng *tap_rng(void);
const char *tap_shared(void);
/* The source tree (fixtures). */
const char *tap_source(void);
/* A path for a scratch file of this process; the file is removed at exit. */
const char *tap_scratch(const char *name);

#define CHECK(cond)                                                  \
    do {                                                             \
        if (!(cond)) {                                               \
            tap_fail(__FILE__, __LINE__, "%s does not hold", #cond); \
            return;                                                  \
        }                                                            \
    } while (0)

#define CHECK_INT(have, want)                                                                             \
    do {                                                                                                  \
        long long h_ = (long long)(have), w_ = (long long)(want);                                         \
        if (h_ != w_) {                                                                                   \
            tap_fail(__FILE__, __LINE__, "%s is %lld, want %s = %lld", #have, h_, #want, w_);             \
            return;                                                                                       \
        }                                                                                                 \
    } while (0)

#define CHECK_STR(have, want)                                                             \
    do {                                                                                  \
        const char *h_ = (have), *w_ = (want);                                            \
        if (!h_ || strcmp(h_, w_) != 0) {                                                 \
            tap_fail(__FILE__, __LINE__, "%s is \"%s\", want \"%s\"", #have, h_ ? h_ : "(null)", w_); \
            return;                                                                       \
        }                                                                                 \
    } while (0)

#define CHECK_NEAR(have, want, tolerance)                                                                \
    do {                                                                                                 \
        double h_ = (double)(have), w_ = (double)(want), t_ = (double)(tolerance);                       \
        if (!(fabs(h_ - w_) <= t_)) {                                                                    \
            tap_fail(__FILE__, __LINE__, "%s is %.9g, want %.9g within %.3g", #have, h_, w_, t_);        \
            return;                                                                                      \
        }                                                                                                \
    } while (0)

/* The call succeeds; `err` is an sg_error variable in scope. */
#define CHECK_OK(call)                                                                                \
    do {                                                                                              \
        sg_status s_ = (call);                                                                        \
        if (s_ != SG_OK) {                                                                            \
            tap_fail(__FILE__, __LINE__, "%s: %s: %s", #call, sg_status_name(s_), err.text);          \
            return;                                                                                   \
        }                                                                                             \
    } while (0)

/* The call fails with that status and a text that contains `part`. */
#define CHECK_FAILS(call, want, part)                                                                            \
    do {                                                                                                         \
        memset(&err, 0, sizeof err);                                                                             \
        sg_status s_ = (call);                                                                                   \
        if (s_ != (want) || err.status != (want) || !strstr(err.text, (part))) {                                 \
            tap_fail(__FILE__, __LINE__, "%s: %s \"%s\", want %s with \"%s\"", #call, sg_status_name(s_), err.text, \
                     sg_status_name(want), (part));                                                              \
            return;                                                                                              \
        }                                                                                                        \
    } while (0)

/* Run `body` again and again, letting the n-th allocation fail for n = 0, 1, 2, ... until a run has no
 * injected failure.  `body` is a bool function(void *arg): true when it succeeded.  A run in which an
 * allocation failed must return false or true without harm, and must leave no live bytes behind. */
typedef bool tap_alloc_fn(void *arg);
bool tap_alloc_loop(tap_alloc_fn *body, void *arg, const char *file, int line);

#define CHECK_ALLOC_LOOP(body, arg)                               \
    do {                                                          \
        if (!tap_alloc_loop((body), (arg), __FILE__, __LINE__))   \
            return;                                               \
    } while (0)

#endif
