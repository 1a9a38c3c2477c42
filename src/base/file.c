/* base/file.c - mapped reading, and writing that leaves a whole file or none.
 *
 * Models are mapped, not read: weights go straight from the page cache into their packed form, and the
 * pages can be given back afterwards.  Files are opened non-blocking so that a FIFO cannot hang the
 * program; only regular files are accepted.  A writer collects in 64 KiB, writes to a temporary file in
 * the same folder (rename must not cross file systems), syncs and renames.  Renaming replaces whatever stands there, so a
 * target that is a folder, a device or a pipe is refused, and a link is followed first: the file behind it is replaced.
 */
#include "base/file.h"

#include "base/buf.h"
#include "base/heap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static sg_status open_regular(const char *path, int *fd, size_t *size, sg_error *err)
{
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f < 0)
        return sg_fail_sys(err, errno, "%s", path);
    struct stat st;
    if (fstat(f, &st)) {
        int sys = errno;
        close(f);
        return sg_fail_sys(err, sys, "%s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        close(f);
        return sg_fail(err, SG_E_ARGUMENT, "%s: not a regular file", path);
    }
    *fd = f;
    *size = (size_t)st.st_size;
    return SG_OK;
}

sg_status sg_file_open(sg_file *file, const char *path, sg_error *err)
{
    int fd = -1;
    size_t size = 0;
    SG_TRY(open_regular(path, &fd, &size, err));
    char *name = sg_strdup(path);
    if (!name) {
        close(fd);
        return sg_fail_nomem(err, "a file name");
    }
    void *data = NULL;
    if (size) {
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            int sys = errno;
            close(fd);
            sg_free(name);
            return sg_fail_sys(err, sys, "%s: cannot map %zu bytes", path, size);
        }
    }
    close(fd);
    *file = (sg_file){data, size, name};
    return SG_OK;
}

void sg_file_close(sg_file *file)
{
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->size);
    sg_free(file->path);
    *file = (sg_file){0};
}

/* A page that is touched brings its neighbours with it, 64 KiB or a huge page of the cache, so those on either side go too: they would
 * stay otherwise, 16 MB in a model of 169 tensors and 531 MB. */
bool sg_file_drop_range(size_t size, size_t offset, size_t n, size_t *from, size_t *to)
{
    enum { AROUND = 2 << 20 };
    if (offset > size || n > size - offset)
        return false;
    size_t begin = offset / AROUND * AROUND, room = size - offset - n;
    *from = begin >= AROUND ? begin - AROUND : 0;
    *to = offset + n + (room < AROUND ? room : AROUND);
    return true;
}

void sg_file_drop(const sg_file *file, size_t offset, size_t n)
{
    size_t from, to;
    if (file->data && sg_file_drop_range(file->size, offset, n, &from, &to) && to > from)
        madvise((void *)(uintptr_t)(file->data + from), to - from, MADV_DONTNEED);
}

sg_status sg_file_read(const char *path, size_t max, char **data, size_t *size, sg_error *err)
{
    int fd = 0;
    size_t hint = 0;
    bool in = strcmp(path, "-") == 0;
    if (!in)
        SG_TRY(open_regular(path, &fd, &hint, err));
    sg_buf b = {.max = max};
    sg_status st = SG_OK;
    for (;;) {
        size_t want = hint > b.len ? hint - b.len : 65536;
        if (want > max - b.len)
            want = max - b.len;
        char spare[1];
        char *p = want ? sg_buf_room(&b, want) : spare;
        if (!p) {
            st = sg_fail_nomem(err, path);
            break;
        }
        ssize_t got = read(fd, p, want ? want : 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            st = sg_fail_sys(err, errno, "%s", in ? "standard input" : path);
            break;
        }
        if (got == 0)
            break;
        if (!want) {
            st = sg_fail(err, SG_E_LIMIT, "%s: longer than %zu bytes", in ? "standard input" : path, max);
            break;
        }
        b.len += (size_t)got;
        b.data[b.len] = '\0';
    }
    if (!in)
        close(fd);
    if (st == SG_OK) {
        size_t n = b.len;
        char *p = sg_buf_steal(&b);
        if (p) {
            *data = p;
            *size = n;
            return SG_OK;
        }
        st = sg_fail_nomem(err, path);
    }
    sg_buf_fini(&b);
    return st;
}

struct sg_file_writer {
    int fd;
    bool failed;
    uint64_t position;
    size_t fill;
    char *path, *temporary;
    char buffer[1 << 16];
};

/* What a file that is no regular one is. */
static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)                      ? "a folder"
           : S_ISFIFO(mode) || S_ISSOCK(mode) ? "a pipe or socket"
                                              : "a device";
}

/* The file that is to be written: nothing yet, or a regular file; behind links. */
static sg_status find_target(const char *path, char real[static PATH_MAX], sg_error *err)
{
    struct stat st;
    if ((size_t)snprintf(real, PATH_MAX, "%s", path) >= PATH_MAX)
        return sg_fail_sys(err, ENAMETOOLONG, "%.64s...", path);
    if (lstat(path, &st))
        return errno == ENOENT ? SG_OK : sg_fail_sys(err, errno, "%s", path);
    bool link = S_ISLNK(st.st_mode);
    if (link && stat(path, &st))
        return sg_fail_sys(err, errno, "%s: is a link that leads nowhere", path);
    if (!S_ISREG(st.st_mode))
        return sg_fail(err, SG_E_ARGUMENT, "%s: is %s, only regular files are written", path, kind_of(st.st_mode));
    if (link && !realpath(path, real))
        return sg_fail_sys(err, errno, "%s", path);
    return SG_OK;
}

sg_status sg_file_create(sg_file_writer **out, const char *path, sg_error *err)
{
    char real[PATH_MAX];
    SG_TRY(find_target(path, real, err));
    sg_file_writer *w = sg_calloc(1, sizeof *w);
    sg_buf t = SG_BUF_INIT;
    sg_buf_addf(&t, "%s.XXXXXX", real);
    if (w) {
        w->fd = -1;
        w->path = sg_strdup(real);
        w->temporary = sg_buf_steal(&t);
    }
    if (!w || !w->path || !w->temporary) {
        sg_buf_fini(&t);
        sg_file_abort(w);
        return sg_fail_nomem(err, "a file writer");
    }
    w->fd = mkostemp(w->temporary, O_CLOEXEC);
    if (w->fd < 0) {
        int sys = errno;
        sg_file_abort(w);
        return sg_fail_sys(err, sys, "%s: cannot create a file there", path);
    }
    mode_t mask = umask(0);
    umask(mask);
    (void)!fchmod(w->fd, 0666 & ~mask);
    *out = w;
    return SG_OK;
}

static sg_status flush(sg_file_writer *w, const char *p, size_t n, sg_error *err)
{
    while (n) {
        ssize_t put = write(w->fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            w->failed = true;
            return sg_fail_sys(err, errno, "%s: cannot write", w->path);
        }
        p += put;
        n -= (size_t)put;
    }
    return SG_OK;
}

sg_status sg_file_write(sg_file_writer *w, const void *bytes, size_t n, sg_error *err)
{
    if (w->failed)
        return sg_fail(err, SG_E_IO, "%s: an earlier write failed", w->path);
    w->position += n;
    if (w->fill + n <= sizeof w->buffer) {
        if (n)
            memcpy(w->buffer + w->fill, bytes, n);
        w->fill += n;
        return SG_OK;
    }
    SG_TRY(flush(w, w->buffer, w->fill, err));
    w->fill = 0;
    if (n >= sizeof w->buffer)
        return flush(w, bytes, n, err);
    memcpy(w->buffer, bytes, n);
    w->fill = n;
    return SG_OK;
}

uint64_t sg_file_position(const sg_file_writer *w) { return w->position; }

sg_status sg_file_commit(sg_file_writer *w, sg_error *err)
{
    sg_status st = w->failed ? sg_fail(err, SG_E_IO, "%s: an earlier write failed", w->path) : flush(w, w->buffer, w->fill, err);
    if (st == SG_OK && fsync(w->fd))
        st = sg_fail_sys(err, errno, "%s: cannot sync", w->path);
    if (st == SG_OK && rename(w->temporary, w->path))
        st = sg_fail_sys(err, errno, "%s: cannot rename", w->path);
    if (st == SG_OK) {
        close(w->fd);
        w->fd = -1;
        sg_free(w->temporary);
        w->temporary = NULL;
    }
    sg_file_abort(w);
    return st;
}

void sg_file_abort(sg_file_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->temporary);
    }
    sg_free(w->path);
    sg_free(w->temporary);
    sg_free(w);
}

bool sg_path_is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool sg_path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

char *sg_path_join(const char *dir, const char *name)
{
    sg_buf b = SG_BUF_INIT;
    size_t n = strlen(dir);
    sg_buf_addf(&b, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
    char *p = sg_buf_steal(&b);
    return p;
}
