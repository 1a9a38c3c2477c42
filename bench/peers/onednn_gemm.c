/* bench/peers/onednn_gemm.c - one linear layer as oneDNN computes it (interface of version 2, Debian's libdnnl-dev).
 *
 * Not part of segue's build: bench/peers/tools.sh compiles it when the library is there.
 *
 *     OMP_NUM_THREADS=2 onednn_gemm f32|bf16|int8 N K M[,M...]     prints "TYPE M GOP/s" a line
 *
 * Weights are packed once, in the layout that the library asks for.  int8 is u8 x s8 to s32 with no scales and activations that are
 * bytes already: an upper bound for a type with a scale for each block, not its equal.  Best within 200 ms.
 */
#include <dnnl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRAM "onednn_gemm"
#include "measure.h"

#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        dnnl_status_t status_ = (call);                                                                                                    \
        if (status_ != dnnl_success) {                                                                                                     \
            fprintf(stderr, "onednn_gemm: %s: status %d\n", #call, (int)status_);                                                          \
            exit(1);                                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static dnnl_memory_t filled(const dnnl_memory_desc_t *d, dnnl_engine_t engine)
{
    dnnl_memory_t m;
    void *p;
    OK(dnnl_memory_create(&m, d, engine, DNNL_MEMORY_ALLOCATE));
    OK(dnnl_memory_get_data_handle(m, &p));
    memset(p, 1, dnnl_memory_desc_get_size(d));
    return m;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: onednn_gemm f32|bf16|int8 N K M[,M...]\n");
        return 2;
    }
    int is8 = strcmp(argv[1], "int8") == 0, is16 = strcmp(argv[1], "bf16") == 0;
    dnnl_data_type_t xt = is8 ? dnnl_u8 : is16 ? dnnl_bf16 : dnnl_f32, wt = is8 ? dnnl_s8 : xt, ot = is8 ? dnnl_s32 : dnnl_f32;
    dnnl_dim_t n = count(argv[2]), k = count(argv[3]);
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    OK(dnnl_engine_create(&engine, dnnl_cpu, 0));
    OK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    for (const char *next = argv[4]; next; next = strchr(next, ',') ? strchr(next, ',') + 1 : NULL) {
        dnnl_dim_t m = count(next);
        dnnl_dims_t xd = {m, k}, wd = {k, n}, od = {m, n};
        dnnl_memory_desc_t x, w, o;
        OK(dnnl_memory_desc_init_by_tag(&x, 2, xd, xt, dnnl_ab));
        OK(dnnl_memory_desc_init_by_tag(&w, 2, wd, wt, dnnl_format_tag_any));
        OK(dnnl_memory_desc_init_by_tag(&o, 2, od, ot, dnnl_ab));
        dnnl_matmul_desc_t d;
        dnnl_primitive_desc_t pd;
        dnnl_primitive_t p;
        OK(dnnl_matmul_desc_init(&d, &x, &w, NULL, &o));
        OK(dnnl_primitive_desc_create(&pd, &d, NULL, engine, NULL));
        OK(dnnl_primitive_create(&p, pd));
        dnnl_memory_t mx = filled(&x, engine), mo = filled(&o, engine);
        dnnl_memory_t mw = filled(dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), engine);
        dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, mw}, {DNNL_ARG_DST, mo}};
        double best = 1e9, end = 0;
        for (int i = 0; i < 3 || now() < end; i++) {
            double t = now();
            OK(dnnl_primitive_execute(p, stream, 3, args));
            OK(dnnl_stream_wait(stream));
            t = now() - t;
            best = t < best ? t : best;
            end = i == 0 ? now() + 0.2 : end;
        }
        printf("%s %lld %.1f\n", argv[1], (long long)m, 2e-9 * (double)(m * n * k) / best);
        fflush(stdout);
        dnnl_primitive_destroy(p);
        dnnl_primitive_desc_destroy(pd);
        dnnl_memory_destroy(mx);
        dnnl_memory_destroy(mw);
        dnnl_memory_destroy(mo);
    }
    return 0;
}
