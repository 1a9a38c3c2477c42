/* base/error.h - making error values.  Any thread. */
#ifndef SG_BASE_ERROR_H
#define SG_BASE_ERROR_H

#include "segue.h"

#include <stdarg.h>

/* Fill *err (may be NULL) and return `status`, so that a failure is one statement:
 *     return sg_fail(err, SG_E_FORMAT, "tensor %u '%s': %u dimensions, at most 4", i, name, nd);
 * The text is cut to fit; control bytes and malformed UTF-8 (they may come from a hostile file) are
 * written as \xNN, so the result is always one printable line. */
__attribute__((format(printf, 3, 4)))
sg_status sg_fail(sg_error *err, sg_status status, const char *format, ...);

/* The same with errno: sets err->sys and appends ": " and strerror(sys). */
__attribute__((format(printf, 3, 4)))
sg_status sg_fail_sys(sg_error *err, int sys, const char *format, ...);

/* Put "prefix: " before an error made deeper down; returns err's status (or `status` when err is NULL). */
__attribute__((format(printf, 3, 4)))
sg_status sg_fail_at(sg_error *err, sg_status status, const char *format, ...);

/* Out of memory for `what`. */
sg_status sg_fail_nomem(sg_error *err, const char *what);

/* Check and return: runs an expression of type sg_status, returns from the caller unless SG_OK. */
#define SG_TRY(expr)                        \
    do {                                    \
        sg_status sg_try_status_ = (expr);  \
        if (sg_try_status_ != SG_OK)        \
            return sg_try_status_;          \
    } while (0)

/* A broken invariant: print file, line and the condition, then abort.  Never for anything that
 * input can cause. */
#define SG_ASSERT(cond) ((cond) ? (void)0 : sg_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void sg_assert_failed(const char *cond, const char *file, int line);

#endif
