/* base/json.c - parsing JSON with jansson, through our allocator, with errors that say where.
 *
 * jansson keeps its allocator in a global; it is set once, before the first value is made.  Depth and the
 * shape of numbers and strings are jansson's to check (it refuses more than 2048 levels); size is the
 * caller's, who knows what is reasonable for the file at hand.
 */
#include "base/json.h"

#include "base/file.h"
#include "base/heap.h"

#include <pthread.h>

/* Beyond the cap: jansson's parser does not survive every failed allocation.  Texts from outside are measured first. */
static void init(void) { json_set_alloc_funcs(sg_alloc_beyond, sg_free); }

size_t sg_json_bytes_most(const char *text, size_t n)
{
    enum { VALUE = 160 }; /* a value with its key's entry and its place in a table */
    size_t values = 1;
    for (size_t i = 0; i < n; i++)
        values += text[i] == ',' || text[i] == '[' || text[i] == '{';
    return 4096 + 3 * n + VALUE * values;
}

void sg_json_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init);
}

static json_t *load(const char *text, size_t n, size_t flags, json_error_t *e)
{
    sg_json_init();
    return json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | flags, e);
}

static sg_status failed(const json_error_t *e, const char *what, sg_error *err)
{
    if (json_error_code(e) == json_error_out_of_memory)
        return sg_fail_nomem(err, what);
    return sg_fail(err, SG_E_FORMAT, "%s: line %d column %d: %s", what, e->line, e->column, e->text);
}

sg_status sg_json_parse(json_t **value, const char *text, size_t n, const char *what, sg_error *err)
{
    json_error_t e;
    json_t *v = load(text, n, 0, &e);
    if (!v)
        return failed(&e, what, err);
    *value = v;
    return SG_OK;
}

sg_status sg_json_parse_any_number(json_t **value, const char *text, size_t n, const char *what, sg_error *err)
{
    json_error_t e;
    json_t *v = load(text, n, 0, &e);
    if (!v && json_error_code(&e) == json_error_numeric_overflow)
        v = load(text, n, JSON_DECODE_INT_AS_REAL, &e);
    if (!v)
        return failed(&e, what, err);
    *value = v;
    return SG_OK;
}

sg_status sg_json_read(json_t **value, const char *path, size_t max, sg_error *err)
{
    char *text;
    size_t n;
    SG_TRY(sg_file_read(path, max, &text, &n, err));
    sg_status st = sg_json_parse(value, text, n, path, err);
    sg_free(text);
    return st;
}
