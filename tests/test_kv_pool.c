/* The block pool: references, sequences that grow, shrink and share, and limits. */
#include "kv/pool.h"
#include "tap.h"

#include <stdlib.h>

enum { BLOCK = 8, NBLOCK = 12 };

static const sg_kv_spec specs[2] = {{.nkv = 2, .dk = 32, .dv = 64}, {.nkv = 1, .dk = 64, .dv = 32, .alias = true}};

/* Rows written with store are found again: a float for each position in layer 0's first key. */
static void put(sg_kv_seq *s, int pos, float v)
{
    const sg_kv_layer *kv = sg_kv_pool_layer(s->pool, 0);
    memcpy(kv->k + (size_t)s->table[pos / BLOCK] * kv->k_block_bytes + (size_t)(pos % BLOCK) * kv->k_row_bytes, &v,
           sizeof v);
}

static float get(const sg_kv_seq *s, int pos)
{
    const sg_kv_layer *kv = sg_kv_pool_layer(s->pool, 0);
    float v;
    memcpy(&v, kv->k + (size_t)s->table[pos / BLOCK] * kv->k_block_bytes + (size_t)(pos % BLOCK) * kv->k_row_bytes,
           sizeof v);
    return v;
}

TEST(sizes_are_what_the_layout_says)
{
    /* layer 0: 2 heads x 8 positions x (32 + 64); layer 1: 1 x 8 x 64, values inside the keys */
    CHECK_INT(sg_kv_block_bytes(specs, 2, SG_F32, BLOCK), (2 * 8 * 96 + 8 * 64) * 4);
    CHECK_INT(sg_kv_block_bytes(specs, 2, SG_F16, BLOCK), (2 * 8 * 96 + 8 * 64) * 2);
    CHECK_INT(sg_kv_block_bytes(specs, 2, SG_Q8_0, BLOCK), (2 * 8 * 3 + 8 * 2) * 34);
    CHECK_INT(sg_kv_block_bytes(specs, 2, SG_Q4_0, BLOCK), 0);
    CHECK_INT(sg_kv_block_bytes(&(sg_kv_spec){.nkv = 1, .dk = 48, .dv = 48}, 1, SG_Q8_0, BLOCK), 0);
    CHECK_INT(sg_kv_block_bytes(&(sg_kv_spec){.nkv = 1, .dk = 2048, .dv = 48}, 1, SG_F16, BLOCK), 0);
    CHECK_INT(sg_kv_blocks_for(0, BLOCK), 0);
    CHECK_INT(sg_kv_blocks_for(1, BLOCK), 1);
    CHECK_INT(sg_kv_blocks_for(16, BLOCK), 2);
    CHECK_INT(sg_kv_blocks_for(17, BLOCK), 3);
}

TEST(sequences_take_and_give_blocks)
{
    sg_error err = {0};
    sg_kv_pool *pool;
    sg_kv_seq *a, *b;
    CHECK_FAILS(sg_kv_pool_open(&pool, specs, 2, SG_F32, BLOCK, 0, &err), SG_E_ARGUMENT, "0 blocks");
    CHECK_OK(sg_kv_pool_open(&pool, specs, 2, SG_F32, BLOCK, NBLOCK, &err));
    CHECK_INT(sg_kv_pool_bytes(pool), sg_kv_block_bytes(specs, 2, SG_F32, BLOCK) * NBLOCK);
    CHECK_OK(sg_kv_seq_new(&a, pool, 60, &err));
    CHECK_OK(sg_kv_seq_new(&b, pool, 60, &err));
    CHECK_INT(sg_kv_seq_blocks_needed(a, 9), 2);
    CHECK_OK(sg_kv_seq_extend(a, 9, &err));
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK - 2);
    CHECK_INT(sg_kv_seq_blocks_needed(a, 7), 0);
    CHECK_OK(sg_kv_seq_extend(a, 51, &err));
    CHECK_FAILS(sg_kv_seq_extend(a, 1, &err), SG_E_LIMIT, "at most 60");
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK - 8);
    CHECK_FAILS(sg_kv_seq_extend(b, 40, &err), SG_E_BUSY, "4 free");
    CHECK_INT(b->len, 0);
    sg_kv_seq_truncate(a, 17);
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK - 3);
    sg_kv_seq_truncate(a, 40);
    CHECK_INT(a->len, 17);
    CHECK_OK(sg_kv_seq_extend(b, 60, &err));
    sg_kv_seq_free(a);
    sg_kv_seq_free(b);
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK);
    sg_kv_pool_close(pool);
}

TEST(a_shared_tail_is_copied_before_it_is_written)
{
    sg_error err = {0};
    sg_kv_pool *pool;
    sg_kv_seq *a, *b;
    CHECK_OK(sg_kv_pool_open(&pool, specs, 2, SG_F32, BLOCK, NBLOCK, &err));
    CHECK_OK(sg_kv_seq_new(&a, pool, 60, &err));
    CHECK_OK(sg_kv_seq_new(&b, pool, 60, &err));
    CHECK_OK(sg_kv_seq_extend(a, 12, &err));
    for (int i = 0; i < 12; i++)
        put(a, i, (float)i);
    CHECK_OK(sg_kv_seq_share(b, a->table, 11, &err));
    CHECK_FAILS(sg_kv_seq_share(b, a->table, 11, &err), SG_E_ARGUMENT, "empty");
    CHECK_INT(sg_kv_pool_refs(pool, a->table[0]), 2);
    CHECK_INT(sg_kv_seq_blocks_needed(b, 1), 1);
    CHECK_OK(sg_kv_seq_extend(b, 1, &err));
    CHECK(b->table[1] != a->table[1] && b->table[0] == a->table[0]);
    put(b, 11, 99);
    CHECK(get(a, 11) == 11 && get(b, 10) == 10 && get(b, 3) == 3 && get(b, 11) == 99);
    sg_kv_seq_free(a);
    CHECK(get(b, 3) == 3);
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK - 2);
    sg_kv_seq_free(b);
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK);
    sg_kv_pool_close(pool);
}

/* Random operations beside a model of what each sequence holds. */
TEST(random_sequences_keep_their_contents)
{
    enum { NSEQ = 6, MAX = 40 };
    sg_error err = {0};
    sg_kv_pool *pool;
    sg_kv_seq *seqs[NSEQ];
    float want[NSEQ][MAX];
    CHECK_OK(sg_kv_pool_open(&pool, specs, 2, SG_F32, BLOCK, NBLOCK, &err));
    for (int s = 0; s < NSEQ; s++)
        CHECK_OK(sg_kv_seq_new(&seqs[s], pool, MAX, &err));
    for (int i = 0; i < 20000; i++) {
        int s = (int)sg_rng_below(tap_rng(), NSEQ), o = (int)sg_rng_below(tap_rng(), NSEQ), len = seqs[s]->len;
        switch (sg_rng_below(tap_rng(), 4)) {
        case 0:
            sg_kv_seq_truncate(seqs[s], (int)sg_rng_below(tap_rng(), MAX));
            break;
        case 1:
            sg_kv_seq_truncate(seqs[s], 0);
            if (s != o && seqs[o]->len) {
                len = 1 + (int)sg_rng_below(tap_rng(), (uint64_t)seqs[o]->len);
                CHECK_OK(sg_kv_seq_share(seqs[s], seqs[o]->table, len, &err));
                memcpy(want[s], want[o], sizeof want[s]);
            }
            break;
        default: {
            int n = 1 + (int)sg_rng_below(tap_rng(), 12), need = sg_kv_seq_blocks_needed(seqs[s], n),
                nfree = sg_kv_pool_nfree(pool);
            sg_status st = sg_kv_seq_extend(seqs[s], n, &err);
            CHECK(st == (len + n > MAX ? SG_E_LIMIT : need > nfree ? SG_E_BUSY : SG_OK));
            CHECK_INT(sg_kv_pool_nfree(pool), st == SG_OK ? nfree - need : nfree);
            for (int p = len; p < seqs[s]->len; p++)
                put(seqs[s], p, want[s][p] = (float)sg_rng_unit(tap_rng()));
        }
        }
        sg_kv_pool_warm(pool, (int)sg_rng_below(tap_rng(), NBLOCK)); /* writes to what nobody has taken, and there alone */
        for (int p = 0; p < seqs[s]->len; p++)
            CHECK(get(seqs[s], p) == want[s][p]);
    }
    for (int s = 0; s < NSEQ; s++) {
        for (int p = 0; p < seqs[s]->len; p++)
            CHECK(get(seqs[s], p) == want[s][p]);
        sg_kv_seq_free(seqs[s]);
    }
    CHECK_INT(sg_kv_pool_nfree(pool), NBLOCK);
    sg_kv_pool_close(pool);
}

TEST(warming_ends_and_stays_ahead)
{
    sg_error err = {0};
    sg_kv_pool *pool;
    sg_kv_seq *a;
    CHECK_OK(sg_kv_pool_open(&pool, specs, 2, SG_F32, BLOCK, 4000, &err));
    CHECK_OK(sg_kv_seq_new(&a, pool, 4000 * BLOCK, &err));
    int n = 0;
    while (n < 100 && sg_kv_pool_warm(pool, 10))
        n++;
    CHECK_INT(n, 4); /* two layers, keys and values */
    CHECK_OK(sg_kv_seq_extend(a, 400 * BLOCK, &err)); /* a piece is 2 MiB: 1024 blocks of layer 0's keys */
    CHECK(!sg_kv_pool_warm(pool, 624));
    CHECK(sg_kv_pool_warm(pool, 625));
    CHECK_OK(sg_kv_seq_extend(a, 3000 * BLOCK, &err)); /* past all that was begun */
    while (n < 100 && sg_kv_pool_warm(pool, 4000))
        n++;
    CHECK(n < 20);
    CHECK_OK(sg_kv_seq_extend(a, 600 * BLOCK, &err));
    CHECK(!sg_kv_pool_warm(pool, 4000));
    CHECK_INT(sg_kv_pool_nused(pool), 0);
    sg_kv_seq_free(a);
    CHECK_INT(sg_kv_pool_nused(pool), 4000);
    sg_kv_pool_close(pool);
}

/* A load that takes blocks faster than a piece a step would warm them never meets memory that was not touched, and does not warm much in
 * any one step. */
TEST(warming_keeps_pace_with_a_load)
{
    enum { NBLOCK_ALL = 60000, NL = 12, AHEAD = 256, TAKE = 32 };
    sg_error err = {0};
    sg_kv_pool *pool;
    sg_kv_seq *a;
    sg_kv_spec many[NL];
    for (int l = 0; l < NL; l++)
        many[l] = (sg_kv_spec){.nkv = 2, .dk = 64, .dv = 64};
    CHECK_OK(sg_kv_pool_open(&pool, many, NL, SG_F16, 16, NBLOCK_ALL, &err));
    CHECK_OK(sg_kv_seq_new(&a, pool, NBLOCK_ALL * 16, &err));
    while (sg_kv_pool_warm(pool, AHEAD))
        ;
    CHECK(!sg_kv_pool_late(pool, AHEAD));
    int most = 0, all = 0;
    for (int step = 0; step < 200; step++) {
        int n = 0;
        CHECK_OK(sg_kv_seq_extend(a, TAKE * 16, &err));
        while (sg_kv_pool_late(pool, AHEAD) && sg_kv_pool_warm(pool, AHEAD))
            n++;
        CHECK(!sg_kv_pool_late(pool, AHEAD));
        most = n > most ? n : most;
        all += n;
    }
    CHECK(most <= 2 * NL * TAKE / AHEAD + 1);
    CHECK(all >= 200 * TAKE / (2048 / 4 + 1) * 2 * NL / 2);
    tap_note("at most %d pieces in a step, %d in all", most, all);
    sg_kv_seq_free(a);
    sg_kv_pool_close(pool);
}

static bool open_and_close(void *arg)
{
    sg_kv_pool *pool = NULL;
    sg_kv_seq *s = NULL;
    (void)arg;
    bool ok = sg_kv_pool_open(&pool, specs, 2, SG_F16, BLOCK, NBLOCK, NULL) == SG_OK &&
              sg_kv_seq_new(&s, pool, 20, NULL) == SG_OK;
    sg_kv_seq_free(s);
    sg_kv_pool_close(pool);
    return ok;
}

TEST(opening_survives_failed_allocations) { CHECK_ALLOC_LOOP(open_and_close, NULL); }

TAP_MAIN
