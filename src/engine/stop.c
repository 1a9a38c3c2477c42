/* engine/stop.c - stop strings in a stream.
 *
 * One automaton a string: state[i] is how many bytes of string i the newest bytes match.  Since a state is the longest
 * such match, the largest state is exactly what must be held back.  Rejected: one automaton for all strings (Aho and
 * Corasick): there are at most a few short ones, and this is half the code.
 */
#include "engine/stop.h"

#include "base/heap.h"

#include <string.h>

static void borders(const char *s, uint32_t n, uint32_t *fail)
{
    fail[0] = 0;
    for (uint32_t i = 1, k = 0; i < n; i++) {
        while (k && s[i] != s[k])
            k = fail[k - 1];
        k += s[i] == s[k];
        fail[i] = k;
    }
}

sg_status sg_stop_init(sg_stop *out, const char *const *strings, size_t n, sg_error *err)
{
    if (n > SG_STOPS_MAX)
        return sg_fail(err, SG_E_LIMIT, "%zu stop strings, at most %d", n, SG_STOPS_MAX);
    sg_stop m = {0};
    m.string = sg_calloc(n, sizeof *m.string);
    m.len = sg_calloc(n, sizeof *m.len);
    m.fail = sg_calloc(n, sizeof *m.fail);
    m.state = sg_calloc(n, sizeof *m.state);
    sg_status st = m.string && m.len && m.fail && m.state ? SG_OK : sg_fail_nomem(err, "stop strings");
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        size_t len = strlen(strings[i]);
        if (len == 0)
            st = sg_fail(err, SG_E_ARGUMENT, "stop string %zu is empty", i);
        else if (len > SG_STOP_BYTES_MAX)
            st = sg_fail(err, SG_E_LIMIT, "stop string %zu has %zu bytes, at most %d", i, len, SG_STOP_BYTES_MAX);
        else if (!(m.string[i] = sg_strndup(strings[i], len)) || !(m.fail[i] = sg_calloc(len, sizeof **m.fail)))
            st = sg_fail_nomem(err, "stop strings");
        else
            borders(m.string[i], m.len[i] = (uint32_t)len, m.fail[i]);
        m.nstring = i + 1;
    }
    if (st != SG_OK) {
        sg_stop_fini(&m);
        return st;
    }
    *out = m;
    return SG_OK;
}

void sg_stop_fini(sg_stop *m)
{
    for (size_t i = 0; i < m->nstring; i++) {
        sg_free(m->string[i]);
        sg_free(m->fail[i]);
    }
    sg_free(m->string);
    sg_free(m->len);
    sg_free(m->fail);
    sg_free(m->state);
    *m = (sg_stop){0};
}

bool sg_stop_feed(sg_stop *m, const char *text, size_t n, uint64_t *start)
{
    if (m->nstring == 0)
        return false;
    for (size_t b = 0; b < n; b++) {
        uint32_t longest = 0;
        m->fed++;
        for (size_t i = 0; i < m->nstring; i++) {
            uint32_t k = m->state[i];
            while (k && m->string[i][k] != text[b])
                k = m->fail[i][k - 1];
            k += m->string[i][k] == text[b];
            m->state[i] = k;
            if (k == m->len[i]) {
                longest = k > longest ? k : longest;
                m->state[i] = m->fail[i][k - 1]; /* never index past the string */
            }
        }
        if (longest) {
            *start = m->fed - longest;
            return true;
        }
    }
    return false;
}

size_t sg_stop_held(const sg_stop *m)
{
    uint32_t held = 0;
    for (size_t i = 0; i < m->nstring; i++)
        held = m->state[i] > held ? m->state[i] : held;
    return held;
}
