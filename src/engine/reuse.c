/* engine/reuse.c - what was computed once is not computed again.
 *
 * The prefix tree (kv/prefix.h) knows which token sequences have their blocks in the pool.  Requests put in what they
 * compute: full blocks as soon as they are full, so that a request that comes while a long prompt is being computed
 * has the first part of it already; the last, partly filled block when they end or are preempted, answers included, so that
 * the next turn of a conversation begins where the last one ended.  Admission takes out the longest stored beginning,
 * to the token.  The last known token is always computed: its logits are wanted and not stored.
 *
 * Two requests with the same new beginning compute it once: the second is held in the waiting list while the first one
 * (its leader) computes, and finds it in the tree then.
 *
 *     leader    [ prompt ........|....... ]            held until the leader has come to `leader_at`
 *     follower  [ the same ...........|its own ]                                     ^
 *
 * `leader_at` is the last block border that both have; when the leader's prompt ends within that block, it is its
 * end, and the leader then puts in its last block although it will write on (it writes on in a copy).
 * A leader that ends, pauses or is preempted holds nobody.
 *
 * The bits are the same with and without: a row's keys and values depend on the tokens up to it only (DESIGN 6).  Where
 * they depend on how long the sequence is to become (longrope), that is part of the name space.
 */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/rng.h"

#include <string.h>

enum { GAIN_MIN = 32 }; /* tokens; less is computed at once, which costs less than another turn of waiting */

static uint64_t space_of(const sg_engine *e, const sg_request *r)
{
    bool far = e->lm.extent_switch && r->limit > e->lm.extent_switch;
    return sg_rng_at(r->space, far, 0);
}

static int match(sg_engine *e, const sg_request *r, int64_t now, sg_prefix_end *end)
{
    return sg_prefix_match(e->prefix, space_of(e, r), r->token, r->known - 1, now, e->match_block, end);
}

int sg_request_look(sg_engine *e, sg_request *r)
{
    sg_prefix_end end;
    if (!e->prefix)
        return 0;
    uint64_t version = sg_prefix_version(e->prefix) + e->epoch;
    if (r->looked_version == version)
        return r->looked;
    r->looked_version = version;
    r->looked = match(e, r, -1, &end);
    r->looked_busy = 0; /* full blocks that somebody uses: sharing them takes nothing from the pool */
    for (int i = 0; i < r->looked / sg_kv_pool_block(e->lm.pool); i++)
        r->looked_busy += sg_kv_pool_users(e->lm.pool, e->match_block[i]) > 0;
    return r->looked;
}

void sg_request_share(sg_engine *e, sg_request *r)
{
    sg_prefix_end end = SG_PREFIX_COLD;
    int n = e->prefix ? match(e, r, sg_clock_us(), &end) : 0;
    if (n && sg_kv_seq_share(r->seq, e->match_block, n, NULL) != SG_OK)
        n = 0; /* cannot be: its table has room for all of it */
    r->computed = n;
    r->leader = 0;
    pthread_mutex_lock(&e->stats_lock);
    if (r->admit_us) /* after preemption */
        e->stats.recomputed_tokens += (uint64_t)(r->known - 1 - n);
    else {
        r->usage.cached_tokens = n;
        e->stats.prefix_hit_tokens += (uint64_t)n;
        e->stats.prefix_end[e->prefix ? (int)end : SG_PREFIX_NEND]++;
    }
    pthread_mutex_unlock(&e->stats_lock);
}

void sg_request_remember(sg_engine *e, sg_request *r, bool tail)
{
    int n = tail ? r->computed : r->computed - r->computed % sg_kv_pool_block(e->lm.pool);
    if (e->prefix && n > 0)
        sg_prefix_insert(e->prefix, space_of(e, r), r->token, n, r->seq->table, tail, sg_clock_us());
}

int sg_request_guess_tree(sg_engine *e, const sg_request *r, int32_t *out, int most)
{
    if (r->known / sg_kv_pool_block(e->lm.pool) > r->seq->nblock)
        return 0;
    return sg_prefix_guess(e->prefix, space_of(e, r), r->token, r->known, r->seq->table, out, most);
}

/* ---- the same new beginning, computed once ---- */

static int common(const sg_request *a, const sg_request *b, int n)
{
    enum { PIECE = 64 };
    int i = 0;
    while (i + PIECE <= n && memcmp(a->token + i, b->token + i, PIECE * sizeof *a->token) == 0)
        i += PIECE;
    while (i < n && a->token[i] == b->token[i])
        i++;
    return i;
}

/* How far `leader` must have computed for r, of which the tree has `have` tokens, to take from it, 0: not worth waiting for.
 * Asked for each pair of requests, so what most pairs come to stands first. */
static int worth(const sg_engine *e, const sg_request *r, const sg_request *leader, int have)
{
    int block = sg_kv_pool_block(e->lm.pool), most = r->nprompt - 1 < leader->nprompt ? r->nprompt - 1 : leader->nprompt;
    have = have > leader->computed ? have : leader->computed;
    if (most - have < GAIN_MIN || memcmp(r->token + have, leader->token + have, GAIN_MIN * sizeof *r->token) != 0)
        return 0;
    if (leader->nprompt - leader->computed < GAIN_MIN || leader->priority > r->priority || space_of(e, leader) != space_of(e, r))
        return 0;
    int same = common(r, leader, most), at = same - same % block;
    if (same > at && leader->nprompt - at <= block)
        at = leader->nprompt;
    else
        same = at;
    return same - have >= GAIN_MIN ? at : 0;
}

static sg_request *running_leader(const sg_engine *e, uint64_t serial)
{
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i]->serial == serial)
            return e->running[i];
    return NULL;
}

bool sg_request_hold(sg_engine *e, sg_request *r)
{
    if (!e->prefix)
        return false;
    if (r->leader) {
        const sg_request *l = running_leader(e, r->leader);
        if (l && l->state == SG_REQUEST_PREFILL && l->computed < r->leader_at)
            return true;
        r->leader = 0;
    }
    int have = sg_request_look(e, r);
    for (int i = 0; i < e->nrunning + e->nshown; i++) {
        sg_request *l = i < e->nrunning ? e->running[i] : e->shown[i - e->nrunning];
        int at = i < e->nrunning && l->state != SG_REQUEST_PREFILL ? 0 : worth(e, r, l, have);
        if (!at)
            continue;
        r->leader = i < e->nrunning ? l->serial : 0; /* one that is only shown is looked for again */
        r->leader_at = at;
        l->followed |= at == l->nprompt;
        if (!r->waited) {
            r->waited = true;
            pthread_mutex_lock(&e->stats_lock);
            e->stats.prefix_waits++;
            pthread_mutex_unlock(&e->stats_lock);
        }
        return true;
    }
    return false;
}
