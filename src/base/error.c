/* base/error.c - error values with one printable line.
 *
 * Texts often carry names from a file that somebody else wrote.  A terminal must not obey them and a
 * log must stay one line an error, so everything that is not a printable character is escaped here,
 * once, instead of by each caller.
 */
#include "base/error.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sg_status_name(sg_status status)
{
    static const char *const names[] = {
        [SG_OK] = "ok",
        [SG_E_ARGUMENT] = "argument",
        [SG_E_FORMAT] = "format",
        [SG_E_UNSUPPORTED] = "unsupported",
        [SG_E_LIMIT] = "limit",
        [SG_E_NOT_FOUND] = "not found",
        [SG_E_BUSY] = "busy",
        [SG_E_UNAVAILABLE] = "unavailable",
        [SG_E_NOMEM] = "out of memory",
        [SG_E_IO] = "i/o",
        [SG_E_CANCELLED] = "cancelled",
        [SG_E_INTERNAL] = "internal",
    };
    size_t i = (size_t)status;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown";
}

/* Copy src to dst as one printable line: whole UTF-8 characters pass, everything else becomes \xNN. */
static void copy_escaped(char *dst, size_t cap, const char *src)
{
    size_t n = 0, len = strlen(src), i = 0;
    while (i < len) {
        uint32_t cp;
        size_t used = sg_utf8_decode(src + i, len - i, &cp);
        bool plain = used > 0 && cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0) && cp != 0x2028 && cp != 0x2029;
        size_t need = plain ? used : 4;
        if (n + need + 1 > cap)
            break;
        if (plain) {
            memcpy(dst + n, src + i, used);
            i += used;
        } else {
            snprintf(dst + n, 5, "\\x%02x", (unsigned)(unsigned char)src[i]);
            i++;
        }
        n += need;
    }
    dst[n] = '\0';
}

sg_status sg_fail(sg_error *err, sg_status status, const char *format, ...)
{
    if (!err)
        return status;
    char raw[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(raw, sizeof raw, format, ap);
    va_end(ap);
    err->status = status;
    err->sys = 0;
    copy_escaped(err->text, sizeof err->text, raw);
    return status;
}

sg_status sg_fail_sys(sg_error *err, int sys, const char *format, ...)
{
    if (!err)
        return SG_E_IO;
    char raw[512], why[128];
    va_list ap;
    va_start(ap, format);
    vsnprintf(raw, sizeof raw - sizeof why, format, ap);
    va_end(ap);
    size_t n = strlen(raw);
    snprintf(raw + n, sizeof raw - n, ": %s", strerror_r(sys, why, sizeof why));
    err->status = SG_E_IO;
    err->sys = sys;
    copy_escaped(err->text, sizeof err->text, raw);
    return SG_E_IO;
}

sg_status sg_fail_at(sg_error *err, sg_status status, const char *format, ...)
{
    if (!err)
        return status;
    char raw[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(raw, sizeof raw - sizeof err->text - 3, format, ap);
    va_end(ap);
    size_t n = strlen(raw);
    snprintf(raw + n, sizeof raw - n, ": %s", err->text);
    copy_escaped(err->text, sizeof err->text, raw);
    return err->status;
}

sg_status sg_fail_nomem(sg_error *err, const char *what)
{
    return sg_fail(err, SG_E_NOMEM, "out of memory for %s", what);
}

_Noreturn void sg_assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "segue: internal: %s:%d: invariant does not hold: %s\n", file, line, cond);
    abort();
}
