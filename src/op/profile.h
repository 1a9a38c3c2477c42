/* op/profile.h - where the time of a step goes, by op.
 *
 * With a profile set, every parallel region of an op is counted under a name: the op's, or for linear layers the first
 * tensor's of the call (attn_q: q, k and v; ffn_gate: gate and up).  Without one, nothing is counted and no clock is read.
 * What is between regions (tables of tasks, pointers to rows, copies) is not in any row: the wall time of a step less
 * the sum of the rows.
 */
#ifndef SG_OP_PROFILE_H
#define SG_OP_PROFILE_H

#include <stdint.h>

enum { SG_PROFILE_ROWS = 48 };

typedef struct sg_profile_row {
    const char *name;          /* lives as long as the model */
    int64_t calls;
    int64_t wall_ns, busy_ns;  /* busy of all workers together; the rest of nworker * wall_ns is waking and waiting */
    int64_t bytes;             /* of packed weights read once a call */
} sg_profile_row;

typedef struct sg_profile {
    int nrow;
    sg_profile_row row[SG_PROFILE_ROWS]; /* in the order of their first calls; a call too many names counts in the last */
} sg_profile;

struct sg_ops;

/* Count into *profile (the caller's; not cleared) from now on; NULL: stop.  By the thread that runs the ops, between two of them. */
void sg_ops_profile(struct sg_ops *ops, sg_profile *profile);

#endif
