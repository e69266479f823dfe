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

# scikit-build-core only lets pip read the sdist's metadata without fetching it anew for every build.
readonly TOOL_PINS=(cmake==4.2.3 ninja==1.13.0 scikit-build-core==0.11.6)

# Always configured alike, so that asking for llama-server later compiles nothing of the libraries again.
readonly CMAKE_FLAGS=(
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN"
    -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_WEBUI=OFF
    -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF -DLLAMA_ALL_WARNINGS=OFF
)

# shellcheck source=scripts/build_lib/report.sh
. "$ROOT/scripts/build_lib/report.sh"
# shellcheck source=scripts/build_lib/source.sh
. "$ROOT/scripts/build_lib/source.sh"
# shellcheck source=scripts/build_lib/cuda.sh
. "$ROOT/scripts/build_lib/cuda.sh"
# shellcheck source=scripts/build_lib/amx.sh
. "$ROOT/scripts/build_lib/amx.sh"

usage() {
    cat <<'HELP'
usage: ./build_lib.sh [options]

Builds libllama, libmtmd and ggml for llamahttp, or finds a finished build in the cache, and
points llamahttp/_lib/current at it.

  --source DIR        build this llama.cpp source tree
  --ref TAG|latest    build this llama.cpp tag (b8505, say), fetched with git
                      default: the llama.cpp inside a pinned llama-cpp-python sdist, fetched with pip
  --cuda auto|on|off  GPU support; auto (default): on where nvcc and a GPU are found
  --cuda-arch LIST    GPU architectures, such as 86 or "80;90"; implies --cuda on; default: those of
                      the GPUs present, else 75;80;86;89;90;100;120 as far as nvcc knows them
  --portable          for any CPU of this kind: several CPU variants, the best is loaded at run time;
                      default: for the CPU of this machine
  --reference         also build llama-server from the same source; prints its path as the last line
  --print-dir         print the directory of the libraries as the last line
  --jobs N            compile N files at a time; default: the number of cores
  --no-self-test      do not load the result: it is tested elsewhere, as in a container (binding/selftest.py)
  --clean             forget what is cached for these options and build again
  --help              this text

environment: LLAMAHTTP_CACHE (default ~/.cache/llamahttp), LLAMAHTTP_SDIST (the pinned sdist as a local
file), LLAMAHTTP_LLAMA_CPP_REPO (git repository for --ref), PYTHON, CC, CXX, CUDACXX
HELP
}

# -------------------------------------------------------------------------------- options

SOURCE='' REF='' CUDA=auto CUDA_ARCH='' PORTABLE='' REFERENCE='' PRINT_DIR='' SELF_TEST=1 CLEAN='' JOBS=''
readonly OPTION_NAMES=(--source --ref --cuda --cuda-arch --portable --reference --print-dir --no-self-test --jobs --clean --help)

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
            --no-self-test) SELF_TEST='' ;;
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
    JOBS=${JOBS:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}
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

cpu_model() {
    local model
    model=$(grep -m 1 -E '^(model name|Model)\s*:' /proc/cpuinfo | cut -d : -f 2-) || model=$(uname -m)
    printf '%s' "${model# }"
}

compiler_version() {
    "${CXX:-c++}" --version | head -n 1
}

# -------------------------------------------------------------------------------- the key

# Sets FLAGS (what cmake is given), TREE (build tree), LIBRARY (finished library) and LOG.
choose_keys() {
    FINGERPRINT=$(in_root "$PYTHON" -m llamahttp.binding.cpu)
    COMPILER=$(compiler_version)
    AMX_FILE=$CACHE/probe/amx-$(hash_of "$FINGERPRINT" "$COMPILER" "$(uname -r)")
    AMX_LOAD=$CACHE/probe/amx_load-$(sha256sum <"$ROOT/scripts/build_lib/amx_load.h" | cut -c 1-16).h
    if [[ ! -e $AMX_LOAD ]]; then
        cp "$ROOT/scripts/build_lib/amx_load.h" "$AMX_LOAD.$$"
        mv "$AMX_LOAD.$$" "$AMX_LOAD"
    fi
    choose_flags
    local compilers="$COMPILER|${CC:-}|${CXX:-}|${CFLAGS:-}|${CXXFLAGS:-}|${LDFLAGS:-}"
    if [[ $CUDA == on ]]; then
        compilers+="|$("$NVCC" --version | tail -n 1)|${CUDAHOSTCXX:-}"
    fi
    local cpu=$FINGERPRINT
    [[ -z $PORTABLE ]] || cpu=$(uname -m)
    PROBE=$(in_root "$PYTHON" -m llamahttp.binding.abi probe) || fail "llamahttp/binding/abi.py printed no probe"
    TREE=$CACHE/build/$(hash_of "$TREE_ID" "${FLAGS[*]}" "$compilers" "$cpu" "${TOOL_PINS[*]}")
    LIBRARY=$CACHE/lib/$(hash_of "$SOURCE_ID" "$TREE" "$PROBE")
    if [[ -z $SELF_TEST && ! -f $LIBRARY/manifest.json ]]; then
        LIBRARY+=-untested
    fi
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

write_manifest() {
    local version backend_dl=''
    if [[ ${FLAGS[*]} == *GGML_BACKEND_DL=ON* ]]; then
        backend_dl=1
    fi
    version=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")$/\1/p' "$TREE/llama-config-version.cmake" 2>/dev/null) || version=unknown
    "$PYTHON" "$ROOT/scripts/build_lib/manifest.py" --abi "$TREE/abi_probe.json" --version "$version" \
        ${BUILD_NUMBER:+--build "$BUILD_NUMBER"} --commit "$(source_commit)" --source "$SOURCE_NAME" \
        --compiler "$COMPILER" --cpu-model "$(cpu_model)" --cpu-fingerprint "$FINGERPRINT" \
        ${PORTABLE:+--portable} ${AMX_DISABLED:+--amx-disabled} ${backend_dl:+--backend-dl} --cuda-arch "$CUDA_ARCH" \
        -- "${FLAGS[@]}"
}

self_test() {
    local status=0 python=$PYTHON
    if ! "$python" -c 'import numpy' 2>/dev/null; then
        python=$TOOLS/bin/python
        "$python" -c 'import numpy' 2>/dev/null || logged "installing numpy" "$python" -m pip install --quiet numpy
    fi
    (ulimit -c 0 && in_root timeout 300 "$python" -m llamahttp.binding.selftest "$NEW") \
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
    rm -rf "$CACHE"/{src,lib}/.new-* "$CACHE"/lib/*.old-*   # what a killed call left; the lock is ours
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
    [[ -z $SELF_TEST ]] || self_test || status=$?
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

# shellcheck disable=SC2329  # the trap calls it
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
