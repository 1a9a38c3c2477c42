/* engine/warm.c - memory of keys and values is touched before a step meets it for the first time.
 *
 * The pool is reserved and not touched; the system finds a page when it is written to, which takes up to milliseconds for
 * 2 MiB on a rented machine, and all layers cross the border to fresh memory in the same step, which then would last a third of a
 * second.  So the loop touches what comes next a piece at a time:
 *
 *     idle      a context ahead, until something comes
 *     busy      what requests that run or are first in line are expected to take, for BUSY_US a step, and as much more as the steps
 *               take blocks faster than that
 *
 * What nobody is expected to want is not touched while steps run: it would cost the streams time for nothing.
 */
#include "engine/internal.h"

#include "base/clock.h"

int sg_engine_blocks_wanted(const sg_engine *e, int most)
{
    int block = sg_kv_pool_block(e->lm.pool);
    int64_t n = -sg_kv_pool_nused(e->lm.pool);
    for (int i = 0; i < e->nrunning && n < most; i++) {
        const sg_request *r = e->running[i];
        int all = sg_kv_blocks_for(sg_request_expected(e, r), block);
        n += all > r->seq->nblock ? all - r->seq->nblock : 0;
    }
    for (int i = 0; i < e->nwaiting && i < e->max_running - e->nrunning && n < most; i++)
        n += sg_kv_blocks_for(sg_request_expected(e, e->waiting[i]), block);
    return n < 0 ? 0 : n < most ? (int)n : most;
}

void sg_engine_warm(sg_engine *e, bool idle)
{
    enum { BUSY_US = 1500, AHEAD_BYTES = 256 << 20 };
    int64_t start = sg_clock_us();
    int block = sg_kv_pool_block(e->lm.pool), step = sg_kv_blocks_for(e->lm.max_rows, block), context = sg_kv_blocks_for(e->lm.ctx, block);
    int64_t most = AHEAD_BYTES / (int64_t)(sg_kv_pool_bytes(e->lm.pool) / (size_t)sg_kv_pool_nblock(e->lm.pool) + 1);
    int ahead = idle ? context : 8 * step;
    ahead = ahead < most ? ahead : (int)most;
    if (!e->lm.probe)
        return;
    if (!idle && (ahead = sg_engine_blocks_wanted(e, ahead)) == 0)
        return;
    while ((idle ? !sg_engine_awaited(e) : sg_clock_us() - start < BUSY_US || sg_kv_pool_late(e->lm.pool, ahead)) &&
           sg_kv_pool_warm(e->lm.pool, ahead))
        ;
}
