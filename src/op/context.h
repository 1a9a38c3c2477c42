/* op/context.h - what is inside an sg_ops.  Private to op/.
 *
 * Scratch memory has two forms.  `shared` slots belong to the running op as a whole and grow only in the reserve
 * calls; `worker` memory is a fixed piece for each worker.  An op that finds a slot too small has been called for
 * a step larger than the reserved one, which is a broken invariant of the caller.
 */
#ifndef SG_OP_CONTEXT_H
#define SG_OP_CONTEXT_H

#include "op/op.h"
#include "op/profile.h"

typedef enum sg_scratch_slot {
    SG_SCRATCH_ACT,     /* activation rows in a kernel's form, and pointers to rows (op/linear.c) */
    SG_SCRATCH_PIECES,  /* tasks of few rows (op/linear.c); fixed size */
    SG_SCRATCH_EXPERTS, /* gathered rows and their results (op/experts.c) */
    SG_SCRATCH_ATTENTION, /* the plan and the results of spans (op/attention.c); fixed size */
    SG_SCRATCH_END,
} sg_scratch_slot;

enum {
    SG_WORKER_BYTES = 1 << 20, /* scratch of one worker */
    SG_TASKS_MAX = 1 << 14,    /* units in a task table; ops with more make theirs larger */
};

typedef struct sg_scratch {
    void *p;
    size_t bytes;
} sg_scratch;

struct sg_ops {
    sg_pool *pool;
    bool shared; /* the pool is somebody else's */
    int nworker;
    bool exact;
    sg_isa isa;
    unsigned char *worker; /* [nworker][SG_WORKER_BYTES], 64-byte aligned */
    sg_scratch slot[SG_SCRATCH_END];
    sg_tasks tasks; /* of the running op */
    sg_profile *profile; /* NULL: nothing is counted */
    bool survey;         /* see op/apart.c */
    bool bare;           /* in sg_op_linear_bare */
    bool written;        /* of the survey: a layer wrote most rows anew */
    sg_status surveyed;  /* SG_OK, or SG_E_NOMEM */
};

/* A parallel region of ntask equal units, or of the units of a table, counted under `name` when there is a profile; `bytes` of packed
 * weights are read. */
void sg_ops_run(sg_ops *ops, const char *name, size_t bytes, sg_task_fn *fn, void *arg, int ntask);
void sg_ops_run_tasks(sg_ops *ops, const char *name, size_t bytes, sg_task_fn *fn, void *arg, sg_tasks *tasks);

/* Bytes of the slots of fixed size. */
size_t sg_linear_piece_bytes(void);
size_t sg_attention_plan_bytes(void);

/* Make a slot at least that large; its contents are lost when it grows.  SG_E_NOMEM leaves it as it was. */
sg_status sg_ops_grow(sg_ops *ops, sg_scratch_slot slot, size_t bytes, sg_error *err);

/* The slot's memory (64-byte aligned), which must hold `bytes`. */
void *sg_ops_scratch(sg_ops *ops, sg_scratch_slot slot, size_t bytes);

/* rest = x - what a row of k values in form `act` (not SG_ACT_F32) says; where the row is not finite NaNs are left. */
void sg_act_leave_over(sg_act act, float *rest, const float *x, const void *row, int k);

/* sg_op_linear during a survey: also choose the columns of jobs' layers that are multiplied apart, and refine (op/apart.c). */
void sg_ops_survey_linear(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob);

/* Terms for a row kernel's join: what w multiplies apart of row x, columns [j0, ...) of the results.  Returns how many. */
int sg_apart_terms(const sg_linear *w, const float *x, int j0, const float *column[SG_APART_MAX], float times[SG_APART_MAX]);

/* SG_WORKER_BYTES of the running worker. */
static inline void *sg_ops_worker(const sg_ops *ops, int worker)
{
    return ops->worker + (size_t)worker * SG_WORKER_BYTES;
}

/* Tasks for a loop over nrow rows that cost about `work` units (a few per value) each: few rows stay on one worker,
 * because waking another costs about as much as 16k simple operations.  Rows of task t: [t*step, min(nrow,
 * (t+1)*step)). */
int sg_ops_row_step(const sg_ops *ops, int nrow, int work);

#endif
