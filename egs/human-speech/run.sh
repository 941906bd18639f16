#!/usr/bin/env bash
# An adapter on human speech, measured on SAKURA's questions. Usage: run.sh DATA, where DATA holds the corpora, unpacked:
# crema_d/ common_voice/ free_spoken_digit/ asterisk/ and, for measuring, sakura_dev/.
set -euo pipefail
cd "$(dirname "$0")"

data=${1:-data}
out=run

for corpus in crema_d common_voice free_spoken_digit asterisk; do
  speechllm prepare "$corpus" "$data/$corpus" "$out/$corpus"
done
# Of the telephone's prompts those that hold more than a word or two; of the digits the official training clips.
speechllm manifest filter "$out/asterisk/all.jsonl" "$out/asterisk/long.jsonl" --where "duration>3"
for train in crema_d/all common_voice/all free_spoken_digit/train asterisk/long; do
  speechllm targets generate "$out/$train.jsonl" "$out/$(dirname "$train")/targets.jsonl" --prompts prompts.jsonl \
    --attributes language gender emotion --max-new-tokens 24 --per-utterance 2
done
speechllm train train.toml
speechllm eval "$out/checkpoint" --tasks sakura.emotion.open sakura.gender.open sakura.language.open \
  --data "$data/sakura_dev" --prompts prompts.jsonl --max-new-tokens 24 --out "$out/eval"
