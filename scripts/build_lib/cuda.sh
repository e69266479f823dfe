# shellcheck shell=bash
# CUDA: whether and for which GPUs, what the toolkit or a machine without a driver lacks, what runs beside the library.

readonly DEFAULT_CUDA_ARCHS=(75 80 86 89 90 100 120)

# Sets CUDA to on or off, NVCC, and the architectures in CUDA_ARCH.
choose_cuda() {
    local gpus=''
    NVCC=${CUDACXX:-$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc || true)}
    if [[ $CUDA != off ]]; then
        gpus=$(gpu_archs)
    fi
    if [[ $CUDA == auto && -z $CUDA_ARCH ]]; then
        choose_by_presence "$gpus"
    elif [[ $CUDA == auto ]]; then
        CUDA=on
    fi
    if [[ $CUDA == off ]]; then
        CUDA_ARCH=''
        return
    fi
    command -v "${NVCC:-nvcc}" >/dev/null ||
        fail "CUDA is wanted, but ${NVCC:-nvcc} is not found" "install the CUDA toolkit, or set CUDACXX to nvcc"
    CUDA_ARCH=${CUDA_ARCH:-${gpus:-$(default_cuda_archs)}}
}

choose_by_presence() {
    CUDA=off
    if [[ -n $1 && -n $NVCC ]]; then
        CUDA=on
    elif [[ -n $1 ]]; then
        say "a GPU is present, but no nvcc: building for the CPU" \
            "(install the CUDA toolkit to use the GPU; --cuda off hides this line)"
    fi
}

# The compute capabilities of the GPUs present, such as 86-real;90-real; nothing without a GPU or driver.
gpu_archs() {
    command -v nvidia-smi >/dev/null || return 0
    { timeout 20 nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null || true; } |
        sed -n 's/^\([0-9]*\)\.\([0-9]\)$/\1\2-real/p' | sort -u | paste -sd ';'
}

default_cuda_archs() {
    local known arch archs=()
    known=$("$NVCC" --list-gpu-arch)
    for arch in "${DEFAULT_CUDA_ARCHS[@]}"; do
        if grep -qx "compute_$arch" <<<"$known"; then
            archs+=("$arch-real")
        fi
    done
    archs[-1]=${archs[-1]%-real}        # the newest also as PTX, for GPUs that come after it
    (IFS=';' && echo "${archs[*]}")
}

# Sets CUDA_PATHS: what cmake must be told where the toolkit lacks cuBLAS or the machine a driver.
provide_cuda() {
    CUDA_PATHS=("-DCUDA_cuda_driver_LIBRARY=$(driver_stub)")
    if ! "$NVCC" -E -x cu - <<<'#include <cublas_v2.h>' >/dev/null 2>&1; then
        provide_cublas
    fi
}

# Something to link with: every function of cuda.h, doing nothing. The real library comes with the driver of the
# machine that runs the result.
driver_stub() {
    local stub=$TREE/stubs/libcuda.so
    mkdir -p "$TREE/stubs"
    "$NVCC" -E -x cu - <<<'#include <cuda.h>' 2>>"$LOG" | grep -oE '\bcu[A-Z][A-Za-z0-9_]*[ ]*\(' | tr -d ' (' | sort -u |
        sed 's/.*/void &(void) {}/' >"$TREE/stubs/libcuda.c"
    logged "making a stub of the driver library" "${CC:-cc}" -shared -fPIC -w -fno-builtin -Wl,-soname,libcuda.so.1 \
        "$TREE/stubs/libcuda.c" -o "$stub"
    echo "$stub"
}

# cuBLAS of the toolkit's release from pip.
provide_cublas() {
    local release major pin cublas
    release=$("$NVCC" --version | sed -n 's/.*release \([0-9]*\.[0-9]*\).*/\1/p')
    major=${release%%.*}
    pin="nvidia-cublas==$release.*"
    ((major >= 13)) || pin="nvidia-cublas-cu$major==$release.*"
    local folder=$CACHE/tools/cublas-$release
    if [[ ! -e $folder/ready ]]; then
        say "the CUDA toolkit has no cuBLAS: fetching $pin (about 400 MB)"
        rm -rf "$folder"
        logged "fetching cuBLAS" "$TOOLS/bin/python" -m pip install --quiet --no-deps --target "$folder" "$pin"
        touch "$folder/ready"
    fi
    cublas=$(dirname "$(find "$folder" -name cublas_v2.h)")
    CUDA_PATHS+=("-DCMAKE_CUDA_FLAGS=-isystem \"$cublas\""
        "-DCUDA_cublas_LIBRARY=$(echo "$cublas"/../lib/libcublas.so.*)"
        "-DCUDA_cublasLt_LIBRARY=$(echo "$cublas"/../lib/libcublasLt.so.*)")
}

# libggml-cuda.so looks for its runtime libraries beside itself; they stay where they are and get a link there.
link_cuda_runtime() {
    local library file missing
    for library in cudart cublas cublasLt; do
        file=$(sed -n "s/^CUDA_${library}_LIBRARY:[A-Z]*=//p" "$TREE/CMakeCache.txt")
        ln -s "$(realpath "$file")" "$NEW/$(soname "$file")"
    done
    readelf -d "$NEW/libggml-cuda.so" | grep -q 'NEEDED.*libcuda\.so\.1' || fail "libggml-cuda.so does not ask for the driver"
    missing=$(ldd "$NEW/libggml-cuda.so" | grep 'not found' | grep -v 'libcuda\.so') || true
    [[ -z $missing ]] || fail "libggml-cuda.so does not find its runtime libraries:" "$missing"
}

soname() {
    readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p'
}
