#!/usr/bin/env bash
# One command from a fresh clone to the page: scripts/demo.sh [--port 7860] [--model FOLDER] [--host 127.0.0.1] [--share]
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment demo
say "starting the demo; the first start fetches the language model (93 MB) and shows its progress on the page"
exec .venv/bin/python -m web_demo.app "$@"
