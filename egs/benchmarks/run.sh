#!/usr/bin/env bash
# Published responses, scored again. Usage: run.sh [FOLDER], where FOLDER holds, or gets, the two repositories in which
# they are published; run/published where left out.
set -euo pipefail
cd "$(dirname "$0")"

folder=${1:-run/published}
for name in DeSTA2.5-Audio Speech-IFEval; do
  [ -e "$folder/$name" ] || git clone --quiet --depth 1 "https://github.com/kehanlu/$name" "$folder/$name"
done

echo "DeSTA2.5-Audio on MMAU's test-mini"
speechllm score mmau "$folder/DeSTA2.5-Audio/examples/evaluation/MMAU-v05.15.25/results/mmau-test-mini_results.json" \
  --out run/mmau

echo "GPT-4 on IFEval"
ifeval=$folder/Speech-IFEval/instruction_following_eval/data
speechllm score ifeval "$ifeval/input_response_data_gpt4_20231107_145030.jsonl" --questions "$ifeval/input_data.jsonl" \
  --out run/ifeval

# The text LLM first: what the speech LLM forgot is told beside it.
speech_ifeval() { # NAME IN_ITS_REPOSITORY MORE...
  echo "$1 on Speech-IFEval"
  local replies=$folder/Speech-IFEval/outputs/$2
  speechllm score speech_ifeval "$replies/closed_ended_questions.jsonl" "$replies/creative_writing.jsonl" \
    "$replies/reports/llm_eval@chain-of-thought.jsonl" --out "run/$1" "${@:3}"
}
speech_ifeval llama3 meta-llama--Meta-Llama-3-8B-Instruct
speech_ifeval desta2 DeSTA-ntu--DeSTA2-8B-beta --reference run/llama3/scores.json
