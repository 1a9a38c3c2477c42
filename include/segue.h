/* segue.h - the public interface of libsegue.
 *
 * This header is the manual: what each call does, in which units, who owns the
 * result, what can go wrong.  Programs include only this file.
 *
 * Conventions
 *   - Functions that can fail return sg_status and take a last argument
 *     `sg_error *err`, which may be NULL.  On failure outputs are untouched and
 *     err->text is one line for a person.
 *   - `new`/`free` and `open`/`close` pair up; freeing NULL does nothing.
 *   - Strings are UTF-8 and NUL-terminated unless a length stands beside them.
 *   - The library never prints and never exits.
 */
#ifndef SEGUE_H
#define SEGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SG_VERSION "0.1.0"

/* ---- errors -------------------------------------------------------------- */

typedef enum sg_status {
    SG_OK = 0,
    SG_E_ARGUMENT,    /* the caller's value is wrong            (HTTP 400) */
    SG_E_FORMAT,      /* a file or a message is malformed       (HTTP 400) */
    SG_E_UNSUPPORTED, /* well-formed, but not something we do   (HTTP 400) */
    SG_E_LIMIT,       /* a stated limit would be passed         (HTTP 413) */
    SG_E_NOT_FOUND,   /* the named thing is not there           (HTTP 404) */
    SG_E_BUSY,        /* overloaded now, try again              (HTTP 429) */
    SG_E_UNAVAILABLE, /* not ready, or shutting down            (HTTP 503) */
    SG_E_NOMEM,       /* memory cap or allocator exhausted      (HTTP 507) */
    SG_E_IO,          /* the operating system said no           (HTTP 500) */
    SG_E_CANCELLED,   /* the caller asked to stop                          */
    SG_E_INTERNAL,    /* a broken invariant that was contained  (HTTP 500) */
} sg_status;

typedef struct sg_error {
    sg_status status;
    int sys;        /* errno, or 0 */
    char text[248]; /* one line: what, where, what to do; control bytes escaped */
} sg_error;

/* The status's name, such as "format".  Never NULL.  Any thread. */
const char *sg_status_name(sg_status status);

/* ---- the machine --------------------------------------------------------- */

/* Bytes of memory that this process may still take: the least of MemAvailable and the cgroup's room. */
uint64_t sg_memory_available(void);

#ifdef __cplusplus
}
#endif
#endif
