/* bench/peers/ggml_gemm.c - one linear layer as llama.cpp or ik_llama.cpp computes it, through their public interface.
 *
 * Not part of segue's build: bench/peers/tools.sh compiles it against a peer's headers and libraries, outside the repo.
 *
 *     ggml_gemm THREADS TYPE N K M[,M...] [repack]      prints "TYPE M GOP/s" a line
 *
 * The weights are random; `repack` asks for the engine's interleaved form of them (llama.cpp: its extra buffer types;
 * ik_llama.cpp: its -rtr).  Times include the engine's own quantising of the activations, as in `segue bench kernel`, and are the
 * best within 200 ms.  -DIK selects the older interface of ik_llama.cpp.
 */
#include "ggml.h"
#ifndef IK
#include "ggml-backend.h"
#include "ggml-cpu.h"
#else
#include "ggml-backend.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRAM "ggml_gemm"
#include "measure.h"

static enum ggml_type type_named(const char *name)
{
    for (int t = 0; t < GGML_TYPE_COUNT; t++)
        if (ggml_type_name((enum ggml_type)t) && strcmp(ggml_type_name((enum ggml_type)t), name) == 0)
            return (enum ggml_type)t;
    fprintf(stderr, "ggml_gemm: no type is called %s\n", name);
    exit(2);
}

static void *random_floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; x && i < n; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        x[i] = (float)(state >> 40) / 16777216.0f - 0.5f;
    }
    return x;
}

/* Weights [n][k] of `type` from floats. */
static void *encode(enum ggml_type type, const float *x, int64_t n, int64_t k)
{
    void *out = malloc(ggml_row_size(type, k) * (size_t)n);
    if (type == GGML_TYPE_F32)
        memcpy(out, x, (size_t)(n * k) * sizeof *x);
    else if (type == GGML_TYPE_F16)
        ggml_fp32_to_fp16_row(x, out, n * k);
    else if (type == GGML_TYPE_BF16)
        ggml_fp32_to_bf16_row(x, out, n * k);
    else
        ggml_quantize_chunk(type, x, out, 0, n, k, NULL);
    return out;
}

#ifdef IK
void iqk_repack_tensor(struct ggml_tensor *tensor);
#else
/* The first extra buffer type that takes this tensor's type, or NULL. */
static ggml_backend_buffer_type_t interleaving(void)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(cpu);
    ggml_backend_dev_get_extra_bufts_t get =
        (ggml_backend_dev_get_extra_bufts_t)(void *)ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t *list = get ? get(cpu) : NULL;
    for (; list && *list; list++)
        if (strstr(ggml_backend_buft_name(*list), "REPACK"))
            return *list;
    return NULL;
}
#endif

static struct ggml_tensor *weight(struct ggml_context *ctx, enum ggml_type type, int64_t n, int64_t k, const void *bytes, bool repack)
{
    struct ggml_tensor *w = ggml_new_tensor_2d(ctx, type, k, n);
#ifdef IK
    memcpy(w->data, bytes, ggml_nbytes(w));
    if (repack)
        iqk_repack_tensor(w);
#else
    ggml_backend_buffer_type_t buft = repack ? interleaving() : ggml_backend_cpu_buffer_type();
    if (!buft) {
        fprintf(stderr, "ggml_gemm: this build does not repack\n");
        exit(1);
    }
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(buft, ggml_nbytes(w) + 4096);
    w->data = NULL;
    ggml_backend_tensor_alloc(buffer, w, ggml_backend_buffer_get_base(buffer));
    ggml_backend_tensor_set(w, bytes, 0, ggml_nbytes(w));
#endif
    return w;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: ggml_gemm THREADS TYPE N K M[,M...] [repack]\n");
        return 2;
    }
    int threads = (int)count(argv[1]);
    enum ggml_type type = type_named(argv[2]);
    int64_t n = count(argv[3]), k = count(argv[4]);
    bool repack = argc > 6;
    float *values = random_floats((size_t)(n * k));
    void *bytes = encode(type, values, n, k);
    for (const char *next = argv[5]; next; next = strchr(next, ',') ? strchr(next, ',') + 1 : NULL) {
        int64_t m = count(next);
        size_t room = ggml_row_size(type, k) * (size_t)n * 3 + (size_t)(m * (n + 2 * k)) * 8 + ((size_t)256 << 20);
        struct ggml_context *ctx = ggml_init((struct ggml_init_params){room, NULL, false});
        struct ggml_tensor *w = weight(ctx, type, n, k, bytes, repack), *x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, k, m);
        memcpy(x->data, values, (size_t)((m * k < n * k ? m : n) * k) * sizeof *values);
        struct ggml_cgraph *graph = ggml_new_graph(ctx);
        ggml_build_forward_expand(graph, ggml_mul_mat(ctx, w, x));
        double best = 1e9, end = 0;
        for (int i = 0; i < 3 || now() < end; i++) {
            double t = now();
            ggml_graph_compute_with_ctx(ctx, graph, threads);
            t = now() - t;
            best = t < best ? t : best;
            end = i == 0 ? now() + 0.2 : end;
        }
        printf("%s%s %lld %.1f\n", argv[2], repack ? "+repack" : "", (long long)m, 2e-9 * (double)(m * n * k) / best);
        fflush(stdout);
        ggml_free(ctx);
    }
    return 0;
}
