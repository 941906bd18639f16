#!/usr/bin/env bash
# An adapter on human speech, measured on SAKURA's questions. Usage: run.sh DATA, where DATA holds the corpora, unpacked:
# crema_d/ common_voice/ and, for measuring, sakura_dev/.
set -euo pipefail
cd "$(dirname "$0")"

data=${1:-data}
out=run

for corpus in crema_d common_voice; do
  speechllm prepare "$corpus" "$data/$corpus" "$out/$corpus"
done
speechllm manifest merge "$out/crema_d/all.jsonl" "$out/common_voice/all.jsonl" --out "$out/train.jsonl"
speechllm targets generate "$out/train.jsonl" "$out/targets.jsonl" --prompts prompts.jsonl \
  --attributes language gender emotion --max-new-tokens 24 --per-utterance 2
speechllm train train.toml
speechllm eval "$out/checkpoint" --tasks sakura.emotion.open sakura.gender.open sakura.language.open \
  --data "$data/sakura_dev" --prompts prompts.jsonl --max-new-tokens 24 --out "$out/eval"
