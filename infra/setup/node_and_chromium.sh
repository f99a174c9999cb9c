#!/usr/bin/env bash
# Installs what tests need besides Python: Node with the packages that package-lock.json files name, and
# Chromium. It takes no time where all is there. What it cannot install it says in a line, and the tests that
# need it are skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."

NODE_MAJOR=20
FOLDERS=(tests/node api/console)

main() {
    if has_node || { (($(candidate nodejs) >= NODE_MAJOR)) && install nodejs npm && has_node; }; then
        for folder in "${FOLDERS[@]}"; do
            install_packages "$folder"
        done
    else
        missing "Node $NODE_MAJOR or newer with npm (https://nodejs.org)"
    fi
    has_chromium || { (($(candidate chromium))) && install chromium; } || missing "Chromium"
}

has_node() {
    command -v npm >/dev/null && [[ $(node --version 2>/dev/null) =~ ^v([0-9]+) ]] && ((BASH_REMATCH[1] >= NODE_MAJOR))
}

has_chromium() {
    command -v chromium >/dev/null
}

# The major version that apt would install; 0: none, or nobody here may install it.
candidate() {
    local version=""
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        version=$(known_version "$1")
        if [ -z "$version" ]; then # an image without lists of packages
            timeout 120 apt-get update --quiet >/dev/null 2>&1
            version=$(known_version "$1")
        fi
    fi
    echo "${version:-0}"
}

known_version() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]\+:\)\?\([0-9]\+\).*/\2/p'
}

install() {
    echo "Installing $* by apt: a minute or two, once …"
    DEBIAN_FRONTEND=noninteractive timeout 600 \
        apt-get install --yes --quiet --no-install-recommends "$@" >/dev/null 2>&1
}

# Exact versions, held against the hashes of package-lock.json; no script of a package is run.
install_packages() {
    local folder=$1 installed=$1/node_modules/installed
    [ "$installed" -nt "$folder/package-lock.json" ] && [ "$installed" -nt "$folder/package.json" ] && return
    if (cd "$folder" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund --loglevel=error); then
        touch "$installed"
    else
        rm -f "$installed"
        missing "what $folder/package-lock.json names, as npm ci has failed"
    fi
}

missing() {
    echo "Tests are skipped for want of $1." >&2
}

main
