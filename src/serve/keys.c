/* serve/keys.c - API keys: a file of them, and whether a candidate is one.
 *
 * Keys are kept padded with zeros to one length, and a candidate is compared with every byte of every key, so that the time
 * tells neither how much of a key was right nor which one.  A file that cannot be read leaves the old keys.
 */
#include "serve/internal.h"

#include "base/file.h"
#include "base/heap.h"
#include "base/rng.h"

#include <string.h>

enum { KEY_MAX = 512, KEYS_MAX = 100000 };

void sg_api_keys_fini(sg_api_keys *k)
{
    for (size_t i = 0; i < k->n; i++)
        sg_free(k->key[i]);
    sg_free(k->key);
    *k = (sg_api_keys){0};
}

static sg_status add(sg_api_keys *k, const char *line, size_t n, size_t number, const char *path, sg_error *err)
{
    while (n && (line[n - 1] == '\r' || line[n - 1] == ' ' || line[n - 1] == '\t'))
        n--;
    if (n == 0 || line[0] == '#')
        return SG_OK;
    if (n > KEY_MAX)
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: a key has at most %d bytes", path, number, KEY_MAX);
    for (size_t i = 0; i < n; i++)
        if (line[i] <= ' ' || line[i] == 127)
            return sg_fail(err, SG_E_FORMAT, "%s: line %zu: a key has no spaces", path, number);
    if (k->n == KEYS_MAX)
        return sg_fail(err, SG_E_LIMIT, "%s: more than %d keys", path, KEYS_MAX);
    char **more = sg_realloc(k->key, (k->n + 1) * sizeof *more);
    if (!more)
        return sg_fail_nomem(err, "API keys");
    k->key = more;
    if (!(k->key[k->n] = sg_calloc(1, KEY_MAX + 1)))
        return sg_fail_nomem(err, "API keys");
    memcpy(k->key[k->n++], line, n);
    return SG_OK;
}

sg_status sg_api_keys_read(sg_api_keys *keys, const char *path, sg_error *err)
{
    char *text;
    size_t n, number = 1;
    sg_api_keys k = {0};
    SG_TRY(sg_file_read(path, 16 << 20, &text, &n, err));
    sg_status st = SG_OK;
    for (size_t i = 0; i < n && st == SG_OK; number++) {
        const char *end = memchr(text + i, '\n', n - i);
        size_t len = end ? (size_t)(end - text) - i : n - i;
        st = add(&k, text + i, len, number, path, err);
        i += len + 1;
    }
    if (st == SG_OK && k.n == 0)
        st = sg_fail(err, SG_E_FORMAT, "%s: there is no key in it", path);
    sg_free(text);
    if (st != SG_OK) {
        sg_api_keys_fini(&k);
        return st;
    }
    sg_api_keys_fini(keys);
    *keys = k;
    return SG_OK;
}

bool sg_api_keys_have(const sg_api_keys *keys, const char *candidate)
{
    char padded[KEY_MAX + 1] = {0};
    size_t n = strlen(candidate);
    if (n > KEY_MAX)
        return false;
    memcpy(padded, candidate, n);
    unsigned found = 0;
    for (size_t i = 0; i < keys->n; i++) { /* every byte of every key, whatever differs */
        unsigned differ = 0;
        for (size_t b = 0; b <= KEY_MAX; b++)
            differ |= (unsigned)(padded[b] ^ keys->key[i][b]) & 0xff;
        found |= differ == 0;
    }
    return found != 0 && n > 0;
}

uint64_t sg_api_number_of(uint64_t secret, const char *text)
{
    uint64_t h = secret;
    for (uint64_t i = 0; text[i]; i++)
        h = sg_rng_at(h, (unsigned char)text[i], i);
    return h;
}
