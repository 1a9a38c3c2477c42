/* sched/sched.c - the table of policies, and what a plan is made in.
 *
 * A policy is a row: a name, a line of help, a function.  Each function has its own place (policy_*.c) and is
 * composed of the same pieces (pass.c), so what differs between two policies is what is read there.
 */
#include "sched/pass.h"

#include "base/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const sg_policy policies[] = {
    {"slo", "decodes first; prompts in chunks that the step-time model says keep the bound between tokens", false, sg_plan_slo},
    {"static", "Sarathi-Serve: decodes first, then prompts in chunks; static:N has N tokens a step", true, sg_plan_static},
    {"chunked", "chunks of prompts and decodes in turns; chunked:N has N tokens a chunk", true, sg_plan_chunked},
    {"hybrid", "decodes beside whole prompts", false, sg_plan_hybrid},
    {"prefill-first", "vLLM's first: whole prompts before decodes", false, sg_plan_prefill_first},
    {"orca", "decodes beside whole prompts, whole lives reserved; orca:N runs N requests at once (16)", true, sg_plan_orca},
    {"request", "FasterTransformer: a batch is taken in and ends before the next", false, sg_plan_request},
};

enum { NPOLICY = sizeof policies / sizeof policies[0], PARAM_MAX = 1 << 20 };

const sg_policy *sg_policy_at(int i) { return i >= 0 && i < NPOLICY ? &policies[i] : NULL; }

static sg_status unknown(const char *name, sg_error *err)
{
    char names[192] = "";
    for (int i = 0; i < NPOLICY; i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s%s", i ? ", " : "", policies[i].name, policies[i].takes_param ? "[:N]" : "");
    }
    return sg_fail(err, SG_E_NOT_FOUND, "unknown policy '%.40s': one of %s", name, names);
}

static sg_status read_param(int *param, const sg_policy *policy, const char *text, sg_error *err)
{
    char *end;
    long n = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;
    if (!policy->takes_param || n < 1 || n > PARAM_MAX || *end)
        return sg_fail(err, SG_E_ARGUMENT, "policy '%s:%.40s': %s", policy->name, text,
                       policy->takes_param ? "a number from 1 to 1048576 is needed" : "it takes no number");
    *param = (int)n;
    return SG_OK;
}

sg_status sg_policy_find(sg_sched_options *options, const char *name, sg_error *err)
{
    const char *colon = name ? strchr(name, ':') : NULL;
    size_t len = colon ? (size_t)(colon - name) : name ? strlen(name) : 0;
    for (int i = 0; i < NPOLICY; i++) {
        if (name && (strlen(policies[i].name) != len || memcmp(policies[i].name, name, len) != 0))
            continue;
        int param = 0;
        if (colon)
            SG_TRY(read_param(&param, &policies[i], colon + 1, err));
        options->policy = &policies[i];
        options->param = param;
        return SG_OK;
    }
    return unknown(name, err);
}

sg_status sg_plan_init(sg_plan *plan, int max_running, int max_waiting, sg_error *err)
{
    sg_plan p = {.cap = max_running, .norder = max_running + max_waiting};
    size_t n = (size_t)max_running;
    p.part = sg_calloc(n, sizeof *p.part);
    p.admit = sg_calloc(n, sizeof *p.admit);
    p.victim = sg_calloc(n, sizeof *p.victim);
    p.order = sg_calloc((size_t)p.norder, sizeof *p.order);
    p.key = sg_calloc((size_t)p.norder, sizeof *p.key);
    if (!p.part || !p.admit || !p.victim || !p.order || !p.key) {
        sg_plan_fini(&p);
        return sg_fail_nomem(err, "a plan");
    }
    *plan = p;
    return SG_OK;
}

void sg_plan_fini(sg_plan *plan)
{
    sg_free(plan->part);
    sg_free(plan->admit);
    sg_free(plan->victim);
    sg_free(plan->order);
    sg_free(plan->key);
    *plan = (sg_plan){0};
}

void sg_sched_plan(const sg_sched_options *options, const sg_snapshot *s, sg_plan *plan)
{
    plan->npart = plan->nadmit = plan->nvictim = plan->ntoken = plan->ndraft = plan->ndecode = plan->budget = 0;
    plan->predicted_us = 0;
    options->policy->plan(s, options, plan);
}
