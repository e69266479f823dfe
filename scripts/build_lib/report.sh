# shellcheck shell=bash
# What the user of build_lib.sh sees: messages, progress, and a failure with the end of its log and a hint.

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
this llama.cpp is older or newer than the declarations in llamahttp/binding, which describe the pinned one|abi_probe\.cpp.* error
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
