/* serve/access.c - who may call, and what is written down of it: API keys, web origins, the access log.
 *
 * The three are read together, at the start and on SIGHUP, into a new sg_access; only when all of it could be read does it
 * take the old one's place.
 */
#include "serve/internal.h"

#include "base/heap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static sg_status copy(char **to, const char *from, sg_error *err)
{
    if (from && !(*to = sg_strdup(from)))
        return sg_fail_nomem(err, "the server");
    return SG_OK;
}

static sg_status fill(sg_access *a, const char *key_file, const char *log_file, const char *const *origins, size_t norigin, sg_error *err)
{
    SG_TRY(copy(&a->key_file, key_file, err));
    SG_TRY(copy(&a->log_file, log_file, err));
    if (!(a->origin = sg_calloc(norigin + 1, sizeof *a->origin)))
        return sg_fail_nomem(err, "the server");
    for (; a->norigin < norigin; a->norigin++)
        SG_TRY(copy(&a->origin[a->norigin], origins[a->norigin], err));
    if (key_file)
        SG_TRY(sg_api_keys_read(&a->keys, key_file, err));
    if (!log_file)
        return SG_OK;
    a->log = strcmp(log_file, "-") == 0 ? dup(2) : open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    return a->log >= 0 ? SG_OK : sg_fail_sys(err, errno, "%s", log_file);
}

void sg_access_init(sg_access *a) { *a = (sg_access){.log = -1}; }

void sg_access_close(sg_access *a)
{
    if (a->log >= 0)
        close(a->log);
    for (size_t i = 0; i < a->norigin; i++)
        sg_free(a->origin[i]);
    sg_free(a->origin);
    sg_free(a->key_file);
    sg_free(a->log_file);
    sg_api_keys_fini(&a->keys);
    sg_access_init(a);
}

sg_status sg_access_read(sg_access *a, const char *key_file, const char *log_file, const char *const *origins, size_t norigin,
                         sg_error *err)
{
    sg_access fresh;
    sg_access_init(&fresh);
    sg_status st = fill(&fresh, key_file, log_file, origins, norigin, err);
    sg_access_close(st == SG_OK ? a : &fresh);
    if (st == SG_OK)
        *a = fresh;
    return st;
}

sg_status sg_access_reread(sg_access *a, sg_error *err)
{
    return sg_access_read(a, a->key_file, a->log_file, (const char *const *)a->origin, a->norigin, err);
}
