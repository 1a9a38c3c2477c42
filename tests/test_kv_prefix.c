/* The prefix tree against a list of everything that was inserted; references, eviction, name spaces. */
#include "tap.h"

#include "kv/prefix.h"

enum { BLOCK = 8, NBLOCK = 512, NTEXT = 60, LONG = 100 };

typedef struct text {
    uint64_t space;
    int n;
    int32_t ids[LONG];
} text;

/* Texts over two ids that often go on from one another, so that they share and diverge everywhere. */
static void write_text(text *x, const text *all, int nall)
{
    sg_rng *r = tap_rng();
    x->space = sg_rng_below(r, 2);
    x->n = 0;
    if (nall && sg_rng_below(r, 3)) {
        const text *from = &all[sg_rng_below(r, (uint64_t)nall)];
        x->n = (int)sg_rng_below(r, (uint64_t)from->n + 1);
        memcpy(x->ids, from->ids, sizeof x->ids);
    }
    int more = (int)sg_rng_below(r, (uint64_t)(LONG - x->n));
    for (int i = 0; i < more; i++)
        x->ids[x->n++] = (int32_t)sg_rng_below(r, 2);
    if (x->n == 0)
        x->ids[x->n++] = 1;
}

static int common(const text *a, const text *b)
{
    int i = 0;
    while (a->space == b->space && i < a->n && i < b->n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

typedef struct world {
    sg_kv_pool *pool;
    sg_prefix *tree;
} world;

static bool world_open(world *w, int nblock)
{
    static const sg_kv_spec layer = {1, 8, 8, false};
    w->pool = NULL;
    w->tree = NULL;
    return sg_kv_pool_open(&w->pool, &layer, 1, SG_F32, BLOCK, nblock, NULL) == SG_OK && sg_prefix_open(&w->tree, w->pool, NULL) == SG_OK;
}

static void world_close(world *w)
{
    sg_prefix_close(w->tree);
    sg_kv_pool_close(w->pool);
}

/* Take blocks for a text, insert it, give the blocks: what a finished request does.  false: no room. */
static bool run_text(world *w, const text *x, int64_t now)
{
    int32_t blocks[LONG / BLOCK + 1] = {0};
    int n = sg_kv_blocks_for(x->n, BLOCK);
    for (int i = 0; i < n; i++) {
        blocks[i] = sg_kv_pool_take(w->pool);
        if (blocks[i] < 0 && sg_prefix_evict(w->tree, 1) == 1)
            blocks[i] = sg_kv_pool_take(w->pool);
        if (blocks[i] < 0) {
            while (i-- > 0)
                sg_kv_pool_give(w->pool, blocks[i]);
            return false;
        }
    }
    sg_prefix_insert(w->tree, x->space, x->ids, x->n, blocks, true, now);
    for (int i = 0; i < n; i++)
        sg_kv_pool_give(w->pool, blocks[i]);
    return true;
}

TEST(finds_the_longest_prefix_by_tokens)
{
    for (int round = 0; round < 60; round++) {
        world w;
        static text all[NTEXT];
        CHECK(world_open(&w, NBLOCK * 2));
        int n = 0;
        for (; n < NTEXT; n++) {
            write_text(&all[n], all, n);
            CHECK(run_text(&w, &all[n], n));
            CHECK_INT(sg_kv_pool_nfree(w.pool) + sg_prefix_nblock(w.tree), NBLOCK * 2);
        }
        for (int i = 0; i < 100; i++) {
            text q;
            int32_t blocks[LONG / BLOCK + 1];
            sg_prefix_end end;
            write_text(&q, all, n);
            int want = 0;
            for (int j = 0; j < n; j++)
                want = common(&q, &all[j]) > want ? common(&q, &all[j]) : want;
            CHECK_INT(sg_prefix_match(w.tree, q.space, q.ids, q.n, 1000 + i, blocks, &end), want);
            CHECK_INT(end == SG_PREFIX_WHOLE, want == q.n);
            for (int b = 0; b < sg_kv_blocks_for(want, BLOCK); b++)
                CHECK(sg_kv_pool_refs(w.pool, blocks[b]) == 1);
        }
        sg_prefix_evict(w.tree, NBLOCK * 2);
        CHECK_INT(sg_prefix_nblock(w.tree), 0);
        CHECK_INT(sg_kv_pool_nfree(w.pool), NBLOCK * 2);
        world_close(&w);
    }
}

TEST(evicts_under_pressure_and_never_what_is_held)
{
    world w;
    static text all[NTEXT];
    CHECK(world_open(&w, 40));
    static const text held = {.space = 9, .n = 20, .ids = {5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7}};
    int32_t mine[3], found[3];
    sg_prefix_end end;
    for (int i = 0; i < 3; i++)
        mine[i] = sg_kv_pool_take(w.pool);
    sg_prefix_insert(w.tree, held.space, held.ids, held.n, mine, true, 0);
    for (int i = 0; i < 3000; i++) {
        text *x = &all[i % NTEXT];
        write_text(x, all, i < NTEXT ? i : NTEXT);
        CHECK(run_text(&w, x, i));
        CHECK_INT(sg_kv_pool_nfree(w.pool) + sg_prefix_nblock(w.tree), 40);
        CHECK_INT(sg_prefix_match(w.tree, x->space, x->ids, x->n < 8 ? x->n : 8, i, found, &end), x->n < 8 ? x->n : 8);
    }
    CHECK_INT(sg_prefix_match(w.tree, held.space, held.ids, held.n, 5000, found, &end), held.n);
    CHECK(memcmp(found, mine, sizeof mine) == 0);
    for (int i = 0; i < 3; i++)
        sg_kv_pool_give(w.pool, mine[i]);
    int left = sg_prefix_nblock(w.tree);
    CHECK_INT(sg_prefix_evict(w.tree, 100), left);
    CHECK_INT(sg_kv_pool_nfree(w.pool), 40);
    world_close(&w);
}

/* A match that ends where something was evicted says so, and only there. */
TEST(what_was_evicted_is_said)
{
    world w;
    int32_t found[3];
    sg_prefix_end end;
    static const text a = {.space = 1, .n = 20, .ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}};
    text b = a;
    CHECK(world_open(&w, 40));
    CHECK(run_text(&w, &a, 1));
    for (int left = 2; left >= 0; left--) { /* the tail of 4, then a block of 8, then the first */
        CHECK_INT(sg_prefix_match(w.tree, 1, a.ids, 20, 2, found, &end), left == 2 ? 20 : 8 * (left + 1));
        CHECK_INT(end, left == 2 ? SG_PREFIX_WHOLE : SG_PREFIX_EVICTED);
        CHECK_INT(sg_prefix_evict(w.tree, 1), 1);
    }
    CHECK_INT(sg_prefix_match(w.tree, 1, a.ids, 20, 2, found, &end), 0);
    CHECK_INT(end, SG_PREFIX_EVICTED);
    CHECK_INT(sg_prefix_match(w.tree, 2, a.ids, 20, 2, found, &end), 0); /* another name space */
    CHECK_INT(end, SG_PREFIX_COLD);
    CHECK_INT(sg_prefix_match(w.tree, 1, a.ids, 7, 2, found, &end), 0); /* less than what was there */
    CHECK_INT(end, SG_PREFIX_COLD);
    b.n = 8;
    CHECK(run_text(&w, &b, 3));
    b.ids[8] = 99;
    CHECK_INT(sg_prefix_match(w.tree, 1, b.ids, 16, 4, found, &end), 8); /* this text was never longer */
    CHECK_INT(end, SG_PREFIX_SHORT);
    CHECK_INT(sg_prefix_match(w.tree, 1, a.ids, 16, 4, found, &end), 8);
    CHECK_INT(end, SG_PREFIX_EVICTED);
    world_close(&w);
}

TEST(one_leaf_is_forgotten_for_who_holds_it)
{
    world w;
    static const text x = {.space = 1, .n = 12, .ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
    int32_t mine[2], found[2];
    sg_prefix_end end;
    CHECK(world_open(&w, 4));
    mine[0] = sg_kv_pool_take(w.pool);
    mine[1] = sg_kv_pool_take(w.pool);
    CHECK(!sg_prefix_forget(w.tree, mine[1])); /* is not there */
    sg_prefix_insert(w.tree, 1, x.ids, x.n, mine, true, 0);
    CHECK(!sg_prefix_forget(w.tree, mine[0])); /* another one follows */
    CHECK_INT(sg_kv_pool_refs(w.pool, mine[1]), 2);
    CHECK(sg_prefix_forget(w.tree, mine[1]));
    CHECK(!sg_prefix_forget(w.tree, mine[1]));
    CHECK_INT(sg_kv_pool_refs(w.pool, mine[1]), 1);
    CHECK_INT(sg_prefix_match(w.tree, 1, x.ids, x.n, 1, found, &end), 8);
    CHECK(sg_prefix_forget(w.tree, mine[0])); /* a leaf by now */
    CHECK_INT(sg_prefix_nblock(w.tree), 0);
    sg_kv_pool_give(w.pool, mine[0]);
    sg_kv_pool_give(w.pool, mine[1]);
    CHECK_INT(sg_kv_pool_nfree(w.pool), 4);
    world_close(&w);
}

TEST(often_used_leaves_outlive_recent_ones)
{
    world w;
    CHECK(world_open(&w, 3));
    text often = {.n = BLOCK, .ids = {1}}, once = {.n = BLOCK, .ids = {2}};
    int32_t found[2];
    sg_prefix_end end;
    CHECK(run_text(&w, &often, 0));
    for (int i = 0; i < 40; i++)
        sg_prefix_match(w.tree, 0, often.ids, often.n, i, found, &end);
    CHECK(run_text(&w, &once, SG_PREFIX_USE_US));
    CHECK_INT(sg_prefix_evict(w.tree, 1), 1);
    CHECK_INT(sg_prefix_match(w.tree, 0, often.ids, often.n, 50, found, &end), BLOCK);
    CHECK_INT(sg_prefix_match(w.tree, 0, once.ids, once.n, 50, found, &end), 0);
    CHECK_INT(end, SG_PREFIX_EVICTED);
    world_close(&w);
}

static bool open_close(void *arg)
{
    (void)arg;
    world w;
    bool ok = world_open(&w, 20);
    world_close(&w);
    return ok;
}

TEST(survives_every_failed_allocation) { CHECK_ALLOC_LOOP(open_close, NULL); }

TEST(what_came_behind_is_guessed)
{
    world w;
    text long_one = {.n = 30}, other = {.space = 1, .n = 30};
    int32_t blocks[16], out[16];
    sg_prefix_end end;
    CHECK(world_open(&w, 64));
    for (int i = 0; i < 30; i++)
        long_one.ids[i] = i, other.ids[i] = i < 12 ? i : 100 + i;
    CHECK(run_text(&w, &long_one, 1));
    CHECK(run_text(&w, &other, 2));
    CHECK_INT(sg_prefix_guess(w.tree, 0, long_one.ids, 3, blocks, out, 4), 4); /* within the first block */
    CHECK(out[0] == 3 && out[3] == 6);
    CHECK_INT(sg_prefix_match(w.tree, 0, long_one.ids, 16, -1, blocks, &end), 16);
    CHECK_INT(sg_prefix_guess(w.tree, 0, long_one.ids, 16, blocks, out, 16), 14); /* behind full blocks, to the end of what is known */
    CHECK(out[0] == 16 && out[13] == 29);
    CHECK_INT(sg_prefix_guess(w.tree, 0, long_one.ids, 19, blocks, out, 16), 11);
    CHECK_INT(sg_prefix_guess(w.tree, 1, long_one.ids, 16, blocks, out, 16), 0); /* blocks of another name space */
    long_one.ids[18] = 77;
    CHECK_INT(sg_prefix_guess(w.tree, 0, long_one.ids, 19, blocks, out, 16), 0); /* nobody went on like that */
    CHECK_INT(sg_prefix_guess(w.tree, 0, long_one.ids, 20, (int32_t[]){40, 41}, out, 16), 0); /* blocks that the tree does not have */
    world_close(&w);
}

TAP_MAIN
