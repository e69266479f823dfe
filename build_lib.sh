#!/usr/bin/env bash
# Builds libllama, libmtmd and ggml as shared libraries for llamahttp, or finds a finished build in the cache.
#
#   options -> source, CUDA, CPU -> key -> in the cache? point llamahttp/_lib/current at it
#                                       -> else: tools, sources, cmake, ninja, self-test, then the same
#
# A library is complete before it is visible: it is put together and tested under another name, then renamed.
set -euo pipefail
export LC_ALL=C

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
CACHE=${LLAMAHTTP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llamahttp}
LLAMA_CPP_REPO=${LLAMAHTTP_LLAMA_CPP_REPO:-https://github.com/ggml-org/llama.cpp}

# The pinned source: an sdist that carries llama.cpp whole. Version, hash and commit change together.
readonly SDIST=llama-cpp-python SDIST_VERSION=0.3.36
readonly SDIST_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly SDIST_COMMIT=0c1e57098bba43ac29e6e3b677cdceebdd22334f

# scikit-build-core only lets pip read the sdist's metadata without fetching it anew for every build.
readonly TOOL_PINS=(cmake==4.2.3 ninja==1.13.0 scikit-build-core==0.11.6)
readonly DEFAULT_CUDA_ARCHS=(75 80 86 89 90 100 120)

# Always configured alike, so that asking for llama-server later compiles nothing of the libraries again.
readonly CMAKE_FLAGS=(
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN"
    -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_WEBUI=OFF
    -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF -DLLAMA_ALL_WARNINGS=OFF
)

usage() {
    cat <<'HELP'
usage: ./build_lib.sh [options]

Builds libllama, libmtmd and ggml for llamahttp, or finds a finished build in the cache, and
points llamahttp/_lib/current at it.

  --source DIR        build this llama.cpp source tree
  --ref TAG|latest    build this llama.cpp tag (b8505, say), fetched with git
                      default: the llama.cpp inside a pinned llama-cpp-python sdist, fetched with pip
  --cuda auto|on|off  GPU support; auto (default): on where nvcc and a GPU are found
  --cuda-arch LIST    GPU architectures, such as 86 or "80;90"; default: those of the GPUs present,
                      else 75;80;86;89;90;100;120 as far as nvcc knows them
  --portable          for any CPU of this kind: several CPU variants, the best is loaded at run time;
                      default: for the CPU of this machine
  --reference         also build llama-server from the same source; prints its path as the last line
  --print-dir         print the directory of the libraries as the last line
  --jobs N            compile N files at a time; default: the number of cores
  --clean             forget what is cached for these options and build again
  --help              this text

environment: LLAMAHTTP_CACHE (default ~/.cache/llamahttp), LLAMAHTTP_SDIST (the pinned sdist as a local
file), LLAMAHTTP_LLAMA_CPP_REPO (git repository for --ref), PYTHON, CC, CXX, CUDACXX
HELP
}

# -------------------------------------------------------------------------------- messages

say() {
    printf 'build_lib: %s\n' "$*" >&2
}

# fail MESSAGE [HINT]...
fail() {
    say "error: $1"
    shift
    local hint
    for hint in "$@"; do
        printf '  %s\n' "$hint" >&2
    done
    exit 1
}

elapsed() {
    printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# The end of the log, where the whole of it is, and what to install or change.
fail_with_log() {
    {
        printf '%s\n' "--- the last lines of the log"
        tail -n 20 "$LOG"
        printf '%s\n' "---"
    } >&2
    fail "$1" "whole log: $LOG" "$(hint_for_log)"
}

hint_for_log() {
    local pattern hint
    while IFS='|' read -r hint pattern; do
        if tail -n 200 "$LOG" | grep -qiE -- "$pattern"; then
            printf '%s' "$hint"
            return
        fi
    done <<HINTS
the disk is full ($(df -h --output=avail "$CACHE" | tail -n 1 | tr -d ' ') free in $CACHE): free some space, or set LLAMAHTTP_CACHE to another disk|no space left on device|disk quota exceeded
memory ran out: try a smaller --jobs than $JOBS|killed signal terminated|cannot allocate memory|out of memory|signal 9
install venv for Python (Debian and Ubuntu: apt install python3-venv), or set PYTHON to another Python|ensurepip|no module named venv
no package index is reachable: check the network, pip's configuration or HTTPS_PROXY; without a network set LLAMAHTTP_SDIST or use --source|no matching distribution|could not find a version|name resolution|connection (error|refused|reset|timed)|max retries|network is unreachable|proxyerror
this nvcc does not accept this C++ compiler: install an older g++ and set CUDAHOSTCXX to it|unsupported gnu version|unsupported clang version
install a C++17 compiler (Debian and Ubuntu: apt install g++, Fedora: dnf install gcc-c++), or set CXX|no cmake_cxx_compiler|compiler .* not able to compile|unrecognized .*std=
a header is missing; one of the system's comes with: apt install build-essential (Debian and Ubuntu)|fatal error: .*no such file
if the log does not help: ./build_lib.sh --clean builds from nothing|.
HINTS
}

# logged STEP COMMAND...: the command's output goes to the log; a failure ends the script.
logged() {
    local step=$1
    shift
    printf '+ %s\n' "$*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 || fail_with_log "$step failed"
}

# show_progress WHAT: reads ninja's output; one live line on a terminal, a line for every 10 % elsewhere.
show_progress() {
    local what=$1 line percent=0 last=-10 status
    while true; do
        status=0
        IFS= read -r -t 1 line || status=$?
        if ((status > 128)); then
            line=''             # a second without news: only the clock moves
        elif ((status > 0)); then
            break
        else
            printf '%s\n' "$line" >>"$LOG"
        fi
        if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
            percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
        fi
        if [[ -t 2 ]]; then
            printf '\rbuild_lib: %s %3d %%  %s ' "$what" "$percent" "$(elapsed)" >&2
        elif ((percent >= last + 10)); then
            say "$what $percent % ($(elapsed))"
            last=$((percent - percent % 10))
        fi
    done
    if [[ -t 2 ]]; then
        printf '\r\033[K' >&2
    fi
}

# -------------------------------------------------------------------------------- options

SOURCE='' REF='' CUDA=auto CUDA_ARCH='' PORTABLE='' REFERENCE='' PRINT_DIR='' CLEAN='' JOBS=''
readonly OPTION_NAMES=(--source --ref --cuda --cuda-arch --portable --reference --print-dir --jobs --clean --help)

parse_options() {
    while (($#)); do
        case $1 in
            --source | --ref | --cuda | --cuda-arch | --jobs)
                (($# >= 2)) || fail "$1 needs a value" "./build_lib.sh --help explains the options"
                set_option "$1" "$2"
                shift
                ;;
            --source=* | --ref=* | --cuda=* | --cuda-arch=* | --jobs=*) set_option "${1%%=*}" "${1#*=}" ;;
            --portable) PORTABLE=1 ;;
            --reference) REFERENCE=1 ;;
            --print-dir) PRINT_DIR=1 ;;
            --clean) CLEAN=1 ;;
            --help | -h)
                usage
                exit
                ;;
            *) fail "unknown option $1$(nearest_option "$1")" "./build_lib.sh --help lists the options" ;;
        esac
        shift
    done
    [[ -z $SOURCE || -z $REF ]] || fail "--source and --ref exclude each other"
    JOBS=${JOBS:-$(nproc)}
}

set_option() {
    case $1 in
        --source) SOURCE=$2 ;;
        --ref)
            [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "--ref $2: not a tag; examples: b8505, latest"
            REF=$2
            ;;
        --cuda)
            [[ $2 =~ ^(auto|on|off)$ ]] || fail "--cuda $2: must be auto, on or off"
            CUDA=$2
            ;;
        --cuda-arch)
            CUDA_ARCH=${2//[, ]/;}
            [[ $CUDA_ARCH =~ ^[0-9]+[af]?(-real|-virtual)?(\;[0-9]+[af]?(-real|-virtual)?)*$ ]] ||
                fail "--cuda-arch $2: must be a list of numbers such as 86 or \"80;90\""
            ;;
        --jobs)
            [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "--jobs $2: must be a number of at least 1"
            JOBS=$2
            ;;
    esac
}

nearest_option() {
    "$PYTHON" -c 'import difflib, sys
near = difflib.get_close_matches(sys.argv[1].split("=")[0], sys.argv[2:], 1)
print(f"; did you mean {near[0]}?" if near else "")' "$1" "${OPTION_NAMES[@]}"
}

# -------------------------------------------------------------------------------- the machine

choose_python() {
    if [[ -z ${PYTHON:-} && -x $ROOT/.venv/bin/python ]]; then
        PYTHON=$ROOT/.venv/bin/python
    fi
    PYTHON=${PYTHON:-python3}
    if [[ $PYTHON == */* ]]; then
        PYTHON=$(realpath --no-symlinks "$PYTHON")      # calls below change the directory
    fi
    command -v "$PYTHON" >/dev/null || fail "no Python: $PYTHON is not found" "install Python 3.10 or newer, or set PYTHON"
}

check_machine() {
    [[ $(uname -s) == Linux ]] || fail "build_lib.sh builds on Linux only so far; this is $(uname -s)"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$PYTHON is too old: Python 3.10 or newer is needed" "install one, or set PYTHON to it"
    local compiler
    for compiler in "${CXX:-c++}" "${CC:-cc}"; do
        command -v "$compiler" >/dev/null || fail "no C++ compiler: $compiler is not found" \
            "Debian and Ubuntu: apt install g++    Fedora: dnf install gcc-c++    or set CC and CXX"
    done
}

# Runs Python on this checkout's package, wherever the caller stands and whatever is installed.
in_root() {
    (cd "$ROOT" && PYTHONPATH=$ROOT exec "$@")
}

hash_of() {
    printf '%s\0' "$@" | sha256sum | cut -c 1-16
}

# What a native build depends on: the first 16 hex digits of the SHA-256 of the CPU's feature names,
# sorted, each once, separated by single spaces.
cpu_fingerprint() {
    local features
    features=$(grep -m 1 -E '^(flags|Features)\s*:' /proc/cpuinfo | cut -d : -f 2 | tr -s ' \t' '\n' | sed '/^$/d' | sort -u)
    printf '%s' "${features//$'\n'/ }" | sha256sum | cut -c 1-16
}

cpu_model() {
    local model
    model=$(grep -m 1 -E '^(model name|Model)\s*:' /proc/cpuinfo | cut -d : -f 2-) || model=$(uname -m)
    printf '%s' "${model# }"
}

compiler_version() {
    "${CXX:-c++}" --version | head -n 1
}

# AMX that the CPU announces: works, refused (by the kernel; ggml then does not use it), traps. Else: absent.
# The finding is kept, also when it was the self-test that made it.
amx_state() {
    grep -qw amx_tile /proc/cpuinfo || { echo absent; return; }
    [[ -e $AMX_FILE ]] || probe_amx >"$AMX_FILE"
    cat "$AMX_FILE"
}

probe_amx() {
    local probe=$CACHE/probe/amx.$$ status=0
    if ! "${CC:-cc}" -O2 -mamx-tile -mamx-int8 -include "$AMX_LOAD" "$ROOT/scripts/amx_probe.c" -o "$probe" 2>/dev/null; then
        echo absent             # the compiler does not know AMX and cannot emit it
        return
    fi
    { bash -c 'ulimit -c 0; "$0"' "$probe" || status=$?; } 2>/dev/null
    rm -f "$probe"
    case $status in
        0) echo works ;;
        1) echo refused ;;
        *) echo traps ;;
    esac
}

# -------------------------------------------------------------------------------- the source

# Sets SOURCE_ID (what the key depends on), TREE_ID (what the build tree depends on), SOURCE_NAME and
# SOURCE_DIR; fetches nothing, but asks the repository when the newest tag is wanted.
choose_source() {
    BUILD_NUMBER=''
    if [[ -n $SOURCE ]]; then
        choose_source_dir
    elif [[ -n $REF ]]; then
        choose_source_ref
    else
        SOURCE_NAME="sdist $SDIST $SDIST_VERSION"
        SOURCE_DIR=$CACHE/src/sdist-${SDIST_SHA256:0:16}
        SOURCE_ID=$SDIST_SHA256
        TREE_ID=$SOURCE_ID
    fi
}

choose_source_dir() {
    [[ -f $SOURCE/CMakeLists.txt && -f $SOURCE/include/llama.h ]] ||
        fail "--source $SOURCE: no llama.cpp source tree (CMakeLists.txt and include/llama.h are looked for)"
    SOURCE_DIR=$(cd "$SOURCE" && pwd -P)
    SOURCE_NAME="directory $SOURCE_DIR"
    SOURCE_ID="$SOURCE_DIR $(source_dir_state)"
    TREE_ID=$SOURCE_DIR         # one build tree for all states: a change compiles only what it touches
}

# Names, sizes and times of the files that the build reads.
source_dir_state() {
    (cd "$SOURCE_DIR" && find CMakeLists.txt cmake common ggml include scripts src tools vendor \
        -type f -printf '%p %s %T@\n' 2>/dev/null || true) | sort | sha256sum | cut -c 1-16
}

choose_source_ref() {
    command -v git >/dev/null || fail "--ref needs git, which is not found" "Debian and Ubuntu: apt install git"
    if [[ $REF == latest ]]; then
        REF=$(latest_tag)
        say "the latest tag is $REF"
    fi
    if [[ $REF =~ ^b([0-9]+)$ ]]; then
        BUILD_NUMBER=${BASH_REMATCH[1]}
    fi
    SOURCE_NAME="git $LLAMA_CPP_REPO $REF"
    SOURCE_DIR=$CACHE/src/git-$(hash_of "$LLAMA_CPP_REPO")-$REF
    SOURCE_ID=$SOURCE_NAME      # a tag does not move
    TREE_ID=$SOURCE_ID
}

latest_tag() {
    local tags
    tags=$(git_online ls-remote --tags --refs "$LLAMA_CPP_REPO" 'b[0-9]*') || fail_without_repo
    tags=$(sed -n 's|.*refs/tags/\(b[0-9][0-9]*\)$|\1|p' <<<"$tags" | sort -V)
    [[ -n $tags ]] || fail "$LLAMA_CPP_REPO has no tag of the form b8505"
    tail -n 1 <<<"$tags"
}

git_online() {
    GIT_TERMINAL_PROMPT=0 git -c advice.detachedHead=false -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=30 "$@" 2>>"$LOG"
}

fail_without_repo() {
    tail -n 3 "$LOG" >&2
    fail "$LLAMA_CPP_REPO cannot be read" "check the network, or name a reachable copy in LLAMAHTTP_LLAMA_CPP_REPO," \
        "or build without --ref: the pinned source comes with pip"
}

fetch_source() {
    [[ ! -d $SOURCE_DIR ]] || return 0
    local new=$CACHE/src/.new-$$
    TEMPORARY+=("$new")
    mkdir -p "$new"
    if [[ -n $REF ]]; then
        fetch_ref "$new"
    else
        fetch_sdist "$new"
    fi
    mv -T "$new" "$SOURCE_DIR"
}

fetch_ref() {
    say "fetching llama.cpp $REF"
    git_online clone --quiet --depth 1 --branch "$REF" "$LLAMA_CPP_REPO" "$1" ||
        { grep -q "Remote branch $REF not found" "$LOG" && fail "$LLAMA_CPP_REPO has no tag $REF" "tags look like b8505"; } ||
        fail_without_repo
    [[ -f $1/include/llama.h ]] || fail "$LLAMA_CPP_REPO $REF holds no llama.cpp (include/llama.h is missing)"
}

fetch_sdist() {
    local archive=${LLAMAHTTP_SDIST:-}
    if [[ -z $archive ]]; then
        say "fetching $SDIST $SDIST_VERSION (77 MB)"
        printf '%s==%s --hash=sha256:%s\n' "$SDIST" "$SDIST_VERSION" "$SDIST_SHA256" >"$1/requirements.txt"
        logged "fetching $SDIST $SDIST_VERSION" "$TOOLS/bin/python" -m pip download --no-deps --no-binary "$SDIST" \
            --no-build-isolation --require-hashes --requirement "$1/requirements.txt" --dest "$1"
        archive=$(find "$1" -name '*.tar.gz')
    fi
    [[ -f $archive ]] || fail "LLAMAHTTP_SDIST: no such file: $archive"
    sha256sum --check --status <<<"$SDIST_SHA256  $archive" ||
        fail "$archive is not the pinned $SDIST $SDIST_VERSION" "expected sha256 $SDIST_SHA256" \
            "found           $(sha256sum "$archive" | cut -d ' ' -f 1)"
    logged "unpacking $archive" tar -xzf "$archive" -C "$1" --no-same-owner --strip-components=3 \
        "llama_cpp_python-$SDIST_VERSION/vendor/llama.cpp"
    rm -f "$1"/*.tar.gz "$1/requirements.txt" "$1/.git"
}

source_commit() {
    if [[ -z $SOURCE && -z $REF ]]; then
        echo "$SDIST_COMMIT"
    elif [[ -e $SOURCE_DIR/.git ]]; then
        git -C "$SOURCE_DIR" rev-parse HEAD 2>/dev/null || echo unknown
    else
        echo unknown
    fi
}

# -------------------------------------------------------------------------------- CUDA

# Sets CUDA to on or off, NVCC, and the architectures in CUDA_ARCH.
choose_cuda() {
    if [[ $CUDA == off ]]; then
        CUDA_ARCH=''
        return
    fi
    NVCC=${CUDACXX:-$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc || true)}
    local gpus
    gpus=$(gpu_archs)
    if [[ $CUDA == auto ]]; then
        choose_cuda_auto "$gpus"
    elif ! command -v "${NVCC:-nvcc}" >/dev/null; then
        fail "--cuda on: ${NVCC:-nvcc} is not found" "install the CUDA toolkit, or set CUDACXX to nvcc"
    fi
    if [[ $CUDA == off ]]; then
        CUDA_ARCH=''
    else
        CUDA_ARCH=${CUDA_ARCH:-${gpus:-$(default_cuda_archs)}}
    fi
}

choose_cuda_auto() {
    CUDA=off
    if [[ -n $1 && -n $NVCC ]]; then
        CUDA=on
    elif [[ -n $1 ]]; then
        say "a GPU is present, but no nvcc: building for the CPU (install the CUDA toolkit to use the GPU; --cuda off hides this line)"
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

# -------------------------------------------------------------------------------- the key

# Sets FLAGS (what cmake is given), TREE (build tree), LIBRARY (finished library) and LOG.
choose_keys() {
    FINGERPRINT=$(cpu_fingerprint)
    COMPILER=$(compiler_version)
    AMX_FILE=$CACHE/probe/amx-$(hash_of "$FINGERPRINT" "$COMPILER" "$(uname -r)")
    AMX_LOAD=$CACHE/probe/amx_load-$(sha256sum <"$ROOT/scripts/amx_load.h" | cut -c 1-16).h
    [[ -e $AMX_LOAD ]] || cp "$ROOT/scripts/amx_load.h" "$AMX_LOAD"
    choose_flags
    local compilers="$COMPILER|${CC:-}|${CXX:-}|${CFLAGS:-}|${CXXFLAGS:-}|${LDFLAGS:-}"
    local cpu=$FINGERPRINT
    [[ -z $PORTABLE ]] || cpu=$(uname -m)
    PROBE=$(in_root "$PYTHON" -m llamahttp.binding.abi probe) || fail "llamahttp/binding/abi.py printed no probe"
    TREE=$CACHE/build/$(hash_of "$TREE_ID" "${FLAGS[*]}" "$compilers" "$cpu" "${TOOL_PINS[*]}")
    LIBRARY=$CACHE/lib/$(hash_of "$SOURCE_ID" "$TREE" "$PROBE")
    LOG=$CACHE/log/$(basename "$LIBRARY").log
}

choose_flags() {
    local c_flags=() cxx_flags=()
    FLAGS=("${CMAKE_FLAGS[@]}")
    AMX_DISABLED=''
    if [[ -n $PORTABLE ]]; then
        FLAGS+=(-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON)
    elif [[ $CUDA == on ]]; then
        # As a backend loaded at run time CUDA may be missing its driver. ggml refuses GGML_NATIVE then,
        # so the compiler is told itself.
        FLAGS+=(-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON)
        c_flags+=("$(native_flag)")
    else
        FLAGS+=(-DGGML_NATIVE=ON)
    fi
    local amx
    amx=$(amx_state)
    if [[ $amx == traps ]]; then
        AMX_DISABLED=1
        [[ -n $PORTABLE ]] || c_flags+=(-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
    elif [[ $amx != absent || -n $PORTABLE ]]; then
        cxx_flags+=(-include "\"$AMX_LOAD\"")
    fi
    FLAGS+=("-DCMAKE_C_FLAGS=${CFLAGS:-} ${c_flags[*]}" "-DCMAKE_CXX_FLAGS=${CXXFLAGS:-} ${c_flags[*]} ${cxx_flags[*]}")
    if [[ $CUDA == on ]]; then
        FLAGS+=(-DGGML_CUDA=ON "-DCMAKE_CUDA_COMPILER=$NVCC" "-DCMAKE_CUDA_ARCHITECTURES=$CUDA_ARCH")
    fi
}

native_flag() {
    case $(uname -m) in
        x86_64 | i?86) echo -march=native ;;
        *) echo -mcpu=native ;;
    esac
}

is_finished() {
    [[ -z $CLEAN && -f $LIBRARY/manifest.json ]] && [[ -z $REFERENCE || -x $LIBRARY/llama-server ]]
}

# -------------------------------------------------------------------------------- building

install_tools() {
    TOOLS=$CACHE/tools/$(hash_of "${TOOL_PINS[*]}" "$("$PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)')")
    [[ ! -e $TOOLS/ready ]] || return 0
    say "installing ${TOOL_PINS[*]:0:2}"
    rm -rf "$TOOLS"             # what an interrupted call left
    logged "creating a virtual environment for the build tools" "$PYTHON" -m venv "$TOOLS"
    logged "installing the build tools" "$TOOLS/bin/python" -m pip install --quiet "${TOOL_PINS[@]}"
    touch "$TOOLS/ready"
}

# Structs and constants as this compiler sees them in these headers; fails early, before the long part.
run_abi_probe() {
    local probe=$TREE/abi_probe
    printf '%s\n' "$PROBE" >"$probe.cpp"
    logged "compiling the ABI probe" "${CXX:-c++}" -std=c++20 -I "$SOURCE_DIR/include" -I "$SOURCE_DIR/ggml/include" \
        -I "$SOURCE_DIR/tools/mtmd" "$probe.cpp" -o "$probe"
    "$probe" >"$probe.json" 2>>"$LOG" || fail_with_log "the ABI probe failed"
}

configure() {
    local flags=("${FLAGS[@]}" "-DLLAMA_BUILD_NUMBER=${BUILD_NUMBER:-0}" "-DLLAMA_BUILD_COMMIT=$(source_commit | cut -c 1-9)")
    if [[ $CUDA == on ]]; then
        provide_cuda
        flags+=("${CUDA_PATHS[@]}")
    fi
    # The ceiling keeps a repository that happens to hold the cache from being taken for llama.cpp's.
    GIT_CEILING_DIRECTORIES=$CACHE/src logged "configuring (cmake)" "$TOOLS/bin/cmake" -G Ninja -S "$SOURCE_DIR" -B "$TREE" \
        "-DCMAKE_MAKE_PROGRAM=$TOOLS/bin/ninja" "${flags[@]}"
}

compile() {
    local targets=(ggml llama mtmd) what=libllama
    if [[ -n $REFERENCE ]]; then
        targets+=(llama-server)
        what='libllama and llama-server'
    fi
    NINJA_STATUS='[%f/%t] ' "$TOOLS/bin/ninja" -C "$TREE" -j "$JOBS" "${targets[@]}" 2>&1 | show_progress "building $what" ||
        fail_with_log "building $what failed"
}

# Puts the library together beside its final place.
collect() {
    NEW=$CACHE/lib/.new-$$
    TEMPORARY+=("$NEW")
    mkdir -p "$NEW"
    cp -a "$TREE"/bin/libggml*.so* "$TREE"/bin/libllama.so* "$TREE"/bin/libmtmd.so* "$NEW"
    if [[ -n $PORTABLE && -n $AMX_DISABLED ]]; then
        leave_out_amx
    fi
    if [[ $CUDA == on ]]; then
        link_cuda_runtime
    fi
    write_manifest >"$NEW/manifest.json"
}

# ggml picks the variant at run time by what the CPU announces, so one that traps must not be there.
leave_out_amx() {
    local variant
    while read -r variant; do
        rm -f "$NEW/lib$variant".so*
        say "leaving out $variant"
    done < <(amx_variants)
}

amx_variants() {
    awk '/^build .*ggml-cpu-[a-z0-9_.]+\.dir/ { match($0, /ggml-cpu-[a-z0-9_.]+\.dir/)
                                                name = substr($0, RSTART, RLENGTH - 4) }
         /DEFINES = .*GGML_AMX/ { print name }' "$TREE/build.ninja" | sort -u
}

write_manifest() {
    local version
    version=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")$/\1/p' "$TREE/llama-config-version.cmake" 2>/dev/null) || version=unknown
    "$PYTHON" "$ROOT/scripts/manifest.py" --abi "$TREE/abi_probe.json" --version "$version" \
        ${BUILD_NUMBER:+--build "$BUILD_NUMBER"} --commit "$(source_commit)" --source "$SOURCE_NAME" \
        --compiler "$COMPILER" --cpu-model "$(cpu_model)" --cpu-fingerprint "$FINGERPRINT" \
        ${PORTABLE:+--portable} ${AMX_DISABLED:+--amx-disabled} --cuda-arch "$CUDA_ARCH" \
        "$([[ ${FLAGS[*]} == *GGML_BACKEND_DL=ON* ]] && echo --backend-dl || echo --)" "${FLAGS[@]}"
}

self_test() {
    local status=0 python=$PYTHON
    if ! "$python" -c 'import numpy' 2>/dev/null; then
        python=$TOOLS/bin/python
        "$python" -c 'import numpy' 2>/dev/null || logged "installing numpy" "$python" -m pip install --quiet numpy
    fi
    (ulimit -c 0 && in_root "$python" -m llamahttp.binding.selftest "$NEW") \
        >"$TREE/selftest.log" 2>&1 || status=$?
    { echo '+ self-test' && cat "$TREE/selftest.log"; } >>"$LOG"
    return "$status"
}

install_library() {
    if [[ -e $LIBRARY ]]; then
        TEMPORARY+=("$LIBRARY.old-$$")
        mv -T "$LIBRARY" "$LIBRARY.old-$$"
    fi
    mv -T "$NEW" "$LIBRARY"
}

# Beside the libraries, so that both servers run the very same ones; the executable comes last.
install_reference() {
    local file
    for file in "$TREE"/bin/libllama-*.so* "$TREE/bin/llama-server"; do
        [[ -e $file ]] || continue
        cp -a "$file" "$LIBRARY/.new-$$"
        mv -fT "$LIBRARY/.new-$$" "$LIBRARY/$(basename "$file")"
    done
}

build() {
    : >"$LOG"
    if [[ -n $CLEAN ]]; then
        rm -rf "$TREE"
    fi
    mkdir -p "$TREE"
    install_tools
    fetch_source
    if [[ -n $AMX_DISABLED ]]; then
        say "this CPU announces AMX and traps on it: building without AMX"
    fi
    run_abi_probe
    configure
    compile
    if [[ -n $CLEAN || ! -f $LIBRARY/manifest.json ]]; then
        collect
        test_and_install
    fi
    if [[ -n $REFERENCE ]]; then
        install_reference
    fi
}

test_and_install() {
    local status=0
    self_test || status=$?
    if ((status == 0)); then
        install_library
    elif ((status > 128)) && [[ -z $AMX_DISABLED && $(amx_state) == works ]]; then
        rebuild_without_amx
    else
        rm -f "$AMX_FILE"       # whatever it was, it was not (only) AMX
        fail_with_log "the new library failed its self-test ($(describe_failure "$status")) and is not installed"
    fi
}

# The self-test prints the name of each weight type before it begins with it.
describe_failure() {
    local type
    type=$(grep -xE '[A-Z][A-Z0-9_]+' "$TREE/selftest.log" | tail -n 1) || type='before the first type'
    if (($1 > 128)); then
        printf 'died in %s of SIG%s' "$type" "$(kill -l $(($1 - 128)))"
    else
        printf 'last type %s, exit status %d' "$type" "$1"
    fi
}

# The probe saw AMX work, yet the library dies: the likeliest culprit is left out, once.
rebuild_without_amx() {
    say "the self-test died with AMX in use: building again without AMX"
    echo traps >"$AMX_FILE"
    rm -rf "$NEW"
    choose_keys
    build
}

# -------------------------------------------------------------------------------- the result

use_library() {
    local links=$ROOT/llamahttp/_lib
    if [[ $(readlink "$links/current" 2>/dev/null) != "$LIBRARY" ]]; then
        mkdir -p "$links"
        ln -s "$LIBRARY" "$links/.current-$$"
        mv -fT "$links/.current-$$" "$links/current"
    fi
}

remove_temporary() {
    if ((${#TEMPORARY[@]})); then
        rm -rf "${TEMPORARY[@]}"
    fi
}

take_lock() {
    exec 9>"$CACHE/lock"
    if ! flock -n 9; then
        say "waiting for another build_lib.sh to finish"
        flock 9
    fi
}

main() {
    TEMPORARY=()
    trap remove_temporary EXIT
    trap 'exit 130' INT TERM
    choose_python
    parse_options "$@"
    check_machine
    mkdir -p "$CACHE"/{src,build,lib,log,probe,tools} || fail "the cache directory $CACHE cannot be written" "set LLAMAHTTP_CACHE"
    LOG=$CACHE/log/start.log
    choose_source
    choose_cuda
    choose_keys
    if is_finished; then
        say "libllama is up to date: $LIBRARY"
    else
        take_lock
        if ! is_finished; then  # another call may have built it meanwhile
            build
        fi
        say "libllama is ready in $LIBRARY ($(elapsed))"
    fi
    use_library
    [[ -z $PRINT_DIR ]] || echo "$LIBRARY"
    [[ -z $REFERENCE ]] || echo "$LIBRARY/llama-server"
}

# One line, so that bash reads nothing more from a file that may have changed meanwhile.
main "$@"; exit
