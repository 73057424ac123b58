#!/usr/bin/env bash
# The whole check from a fresh clone: lint, types, tests, browser. Arguments go to pytest, for example: scripts/test.sh tests/unit -k boxes
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

find_browser() {
    local candidate
    for candidate in "${GPT4ROI_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable chrome; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    .venv/bin/python - <<'PY'
from pathlib import Path
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = playwright.chromium.executable_path
    print(path if Path(path).exists() else "")
PY
}

prepare_browser() {
    GPT4ROI_BROWSER=$(find_browser)
    if [ -z "$GPT4ROI_BROWSER" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing chromium for the browser tests"
        apt-get update -qq && apt-get install -y -qq chromium >/dev/null || true
        GPT4ROI_BROWSER=$(find_browser)
    fi
    if [ -z "$GPT4ROI_BROWSER" ]; then
        say "fetching Playwright's chromium for the browser tests"
        .venv/bin/python -m playwright install chromium || true
        GPT4ROI_BROWSER=$(find_browser)
    fi
    [ -n "$GPT4ROI_BROWSER" ] || fail "the browser tests need chromium or chrome and none was found or could be installed; install one, or name it in GPT4ROI_BROWSER"
    export GPT4ROI_BROWSER
}

prepare_environment demo,data,train,deepspeed,eval,serve,test
prepare_browser
say "lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
say "types"
.venv/bin/mypy gpt4roi web_demo
say "base language model (93 MB, once)"
.venv/bin/python -c 'from gpt4roi.models.embedded import ensure_base; ensure_base()'
say "tests (browser: $GPT4ROI_BROWSER)"
# One thread each: PyTorch's own threads only get in each other's way on small models.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} TOKENIZERS_PARALLELISM=false
exec .venv/bin/python -m pytest "${@:-tests}"
