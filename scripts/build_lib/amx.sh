# shellcheck shell=bash
# AMX: whether it works here, and how it is left out where it does not.

# AMX that the CPU announces: works, refused (by the kernel; ggml then does not use it), traps. Else: absent.
# The finding is kept, also when it was the self-test that made it.
amx_state() {
    grep -qw amx_tile /proc/cpuinfo || { echo absent; return; }
    if [[ ! -e $AMX_FILE ]]; then
        probe_amx >"$AMX_FILE.$$"
        mv "$AMX_FILE.$$" "$AMX_FILE"
    fi
    cat "$AMX_FILE"
}

probe_amx() {
    local probe=$CACHE/probe/amx.$$ status=0
    if ! "${CC:-cc}" -O2 -mamx-tile -mamx-int8 -include "$AMX_LOAD" "$ROOT/scripts/build_lib/amx_probe.c" -o "$probe" 2>/dev/null; then
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
