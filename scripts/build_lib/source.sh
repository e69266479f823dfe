# shellcheck shell=bash disable=SC2034  # build_lib.sh reads what choose_source sets
# Where llama.cpp's source comes from: a directory, a tag fetched with git, or the pinned sdist fetched with pip.

LLAMA_CPP_REPO=${LLAMAHTTP_LLAMA_CPP_REPO:-https://github.com/ggml-org/llama.cpp}

# The pinned source: an sdist that carries llama.cpp whole. Version, hash and commit change together.
readonly SDIST=llama-cpp-python SDIST_VERSION=0.3.36
readonly SDIST_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly SDIST_COMMIT=0c1e57098bba43ac29e6e3b677cdceebdd22334f

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
