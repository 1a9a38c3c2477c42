/* replay/sim.h - the step loop in virtual time: the real scheduler, KV pool and prefix tree, and no model.
 *
 * A machine is a formula for the time of a step.  Everything comes from a seed, so a run repeats exactly.  A million steps
 * take seconds.  With `check`, what must hold is looked at after every step, and the first breach ends the run
 * with SG_E_INTERNAL and a line that says what and when.
 */
#ifndef SG_REPLAY_SIM_H
#define SG_REPLAY_SIM_H

#include "replay/record.h"
#include "replay/trace.h"
#include "sched/sched.h"

/* us = fixed + max(weights, row * rows in whole tiles) + logit * rows with logits + decode_key * keys that answers read
 *    + chunk_key * keys that prompts read, times exp(noise * z) */
typedef struct sg_machine {
    const char *name;
    double fixed_us, weights_us, row_us, logit_us, decode_key_us, chunk_key_us;
    int tile;
    double noise;
    double spike;      /* share of steps that take ten times as long */
    int64_t kv_tokens; /* positions that the KV memory has room for */
    int step_rows;     /* largest step */
    const sg_latency *fitted; /* its prediction takes the formula's place; borrowed; NULL: the formula */
} sg_machine;

/* "cpu" (0.5e9 weights of 8 bits, two AVX-512 cores), "a100" (Mistral-7B as Sarathi-Serve measured it); NULL: no such. */
const sg_machine *sg_machine_find(const char *name);
double sg_machine_us(const sg_machine *m, const sg_step_cost *c);

/* A machine whose step times are a fitted model's, which must outlive it. */
sg_machine sg_machine_fitted(const sg_latency *l);

/* What a request takes from the prefix tree: nothing, whole blocks, or every token that is there. */
typedef enum sg_reuse { SG_REUSE_OFF, SG_REUSE_BLOCKS, SG_REUSE_TOKENS } sg_reuse;

typedef struct sg_sim_options {
    sg_sched_options sched; /* policy, param, tbt_us, preempt, ...; step_tokens_max 0: the machine's */
    const sg_machine *machine;
    int max_running, block;
    uint64_t seed;
    double give_up_queue_us; /* stop when half of the requests would wait longer: the load is beyond capacity; 0: never */
    /* what goes wrong, each a probability for a step */
    double cancel, fail, pause;
    double accept; /* probability that a guess is right; 0: no guesses are made */
    bool tenants;  /* requests get classes and tenants at random */
    int last; /* the run ends when this request of the trace has; -1: with all */
    bool check;
    sg_reuse reuse;       /* prompts' tokens are made as the real runs make them (sg_trace_token) */
    double scale_lengths; /* what the trace's lengths were divided by */
} sg_sim_options;

typedef struct sg_sim_report {
    int64_t steps, preemptions, cancelled, failed, drafts, accepted;
    int64_t wait_steps_max; /* most steps in which a waiting or running request could have moved and did not */
    double over_max;        /* largest actual / predicted of a step that was predicted and not a spike */
    bool gave_up;
} sg_sim_report;

/* Serve the trace; the record has room for its requests (sg_record_init) and is cleared first. */
sg_status sg_sim_run(const sg_sim_options *o, const sg_trace *trace, sg_record *record, sg_sim_report *report, sg_error *err);

#endif
