/* base/file.h - files: mapped for reading, written whole or not at all. */
#ifndef SG_BASE_FILE_H
#define SG_BASE_FILE_H

#include "base/error.h"

/* A file mapped read-only.  A file that shrinks under a mapping would raise SIGBUS; readers check all
 * sizes at open, and a model file is expected to be replaced by rename, not truncated in place. */
typedef struct sg_file {
    const unsigned char *data; /* NULL when size is 0 */
    size_t size;
    char *path;
} sg_file;

/* Map a regular file.  A directory, a device or a pipe is SG_E_ARGUMENT.  On failure *file is
 * untouched.  Any thread. */
sg_status sg_file_open(sg_file *file, const char *path, sg_error *err);
void sg_file_close(sg_file *file); /* a zeroed or closed sg_file is fine */

/* Tell the system that bytes [offset, offset+n) are not needed any more (repacked elsewhere): they, and
 * what lies within 2 MiB of them, leave this process's resident set; reading them again still works. */
void sg_file_drop(const sg_file *file, size_t offset, size_t n);
/* Which bytes [*from, *to) those are, in a file of `size` bytes; false, and nothing set, when the part does not lie within the file. */
bool sg_file_drop_range(size_t size, size_t offset, size_t n, size_t *from, size_t *to);

/* Read a whole small file ("-" is standard input) into fresh memory with a NUL behind it (sg_free).
 * More than `max` bytes is SG_E_LIMIT.  */
sg_status sg_file_read(const char *path, size_t max, char **data, size_t *size, sg_error *err);

/* Write to a temporary file beside `path`; commit syncs and renames it over `path`, abort removes it.  A path that names something
 * else than a regular file is SG_E_ARGUMENT; through a link the file behind it is written.
 * After a failed write the writer only accepts abort. */
typedef struct sg_file_writer sg_file_writer;
sg_status sg_file_create(sg_file_writer **w, const char *path, sg_error *err);
sg_status sg_file_write(sg_file_writer *w, const void *bytes, size_t n, sg_error *err);
uint64_t sg_file_position(const sg_file_writer *w); /* bytes written so far */
sg_status sg_file_commit(sg_file_writer *w, sg_error *err); /* frees w in any case */
void sg_file_abort(sg_file_writer *w);                      /* frees w; NULL is fine */

/* What a path names. */
bool sg_path_is_directory(const char *path);
bool sg_path_exists(const char *path);
/* dir + "/" + name in fresh memory (sg_free), NULL when out of memory. */
char *sg_path_join(const char *dir, const char *name);

#endif
