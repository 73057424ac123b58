# Sourced by demo.sh and test.sh: creates .venv once and installs what is asked for. Says what it does; may be run again at any time.
#   prepare_environment EXTRAS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m%s\033[0m\n' "== $*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found; install it, or name it: PYTHON=/path/to/python3.11 $0"
}

prepare_environment() {
    local extras=$1 python marker
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python)
        say "creating .venv with $("$python" --version)"
        "$python" -m venv .venv || fail "could not create .venv; on Debian and Ubuntu: apt-get install python3-venv"
    fi
    # What was asked for and the files that decide what it means: installed again only when one of them changes.
    marker=".venv/.installed-$(printf '%s' "$extras" | tr ',' '-')"
    if [ ! -f "$marker" ] || [ setup.py -nt "$marker" ] || [ constraints.txt -nt "$marker" ]; then
        say "installing gpt4roi[$extras] (the first time several GB, mostly PyTorch)"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip setuptools wheel
        .venv/bin/python -m pip install --disable-pip-version-check --progress-bar on --quiet -c constraints.txt -e ".[$extras]"
        touch "$marker"
    fi
}
