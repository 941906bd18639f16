#!/usr/bin/env bash
# Skill and forgetting of many ways to teach an LLM to hear. Usage: run.sh [quick|every|all] [CREMA_D SAKURA]: three arms
# on little data; every arm on the same; every arm on more, with Whisper base and three seeds of the main ones. Given
# CREMA_D, the corpus as its recipe reads it, and SAKURA, the folder of that benchmark, emotion and gender are learnt from
# human speech too and asked about that of others; without them gender, pitch and speed of synthetic speech.
# Run again after an interruption, it goes on where it stopped. OTHER_LLM=REFERENCE adds the arm cross_model.
set -euo pipefail
cd "$(dirname "$0")"

setting=${1:-quick}
crema_d=${2:-}
sakura=${3:-}
llm=pypi:smollm2-135m-instruct

main=(sft_lora self_output self_output_gated_lora)
others=(sft self_output_mixed sft_full experience_replay self_output_lora on_policy paraphrase selective)
others+=(self_output_cross_entropy self_output_one_wording minimal_edit stm dropout pseudo_replay weight_decay)
[ -z "${OTHER_LLM:-}" ] || others+=(cross_model)
case $setting in
  quick | every)
    encoder=pypi:whisper-tiny.en size=quick train=160 each=1 test=10 warmup=300 steps=16 forms=2 retention=quick seeds=(0)
    ;;
  all)
    encoder=pypi:whisper-base size=all train=400 each=2 test=16 warmup=400 steps=24 forms=16 retention=full
    seeds=(0 1 2)
    ;;
  *)
    echo "run.sh: $setting: say quick, every or all" >&2
    exit 2
    ;;
esac
# A folder a size; paths that were given stay what they are.
attributes=(gender pitch speaking_rate emotion) asked=(--manifest test.jsonl --targets test_targets.jsonl)
if [ -n "$crema_d" ]; then
  [ -n "$sakura" ] || { echo "run.sh: give SAKURA too, on which what is learnt from CREMA_D is measured" >&2; exit 2; }
  crema_d=$(realpath "$crema_d") sakura=$(realpath "$sakura")
  # As many synthetic clips as human ones.
  train=200 asked+=(--tasks sakura.gender.open --data "$sakura")
fi
mkdir -p "run/$size${crema_d:+-crema_d}"
cd "run/$size${crema_d:+-crema_d}"
here=../..

# Made once: the corpus, and what the recogniser hears in it.
if [ ! -e train.jsonl ]; then
  speechllm corpus corpus --train "$train" --test "$test"
  all=corpus
  if [ -n "$crema_d" ]; then
    # The clips that SAKURA asks about emotion in are CREMA-D's, which knows the gender too, so that the ceiling reads of
    # them what the adapter was taught to say; their actors are not trained on.
    mkdir -p unheard all
    ln -sfn "$sakura/Emotion/audio" unheard/AudioWAV
    cp "$crema_d/VideoDemographics.csv" unheard
    speechllm prepare crema_d unheard unheard
    speechllm prepare crema_d "$crema_d" crema_d
    actors=$(find "$sakura/Emotion/audio" -name '*.wav' -printf '%f\n' | cut -d_ -f1 | sort -u)
    # shellcheck disable=SC2086 # a condition an actor
    speechllm manifest filter crema_d/all.jsonl heard.jsonl --where $(printf 'speaker!=%s ' $actors)
    speechllm manifest merge corpus/train.jsonl heard.jsonl --out all/train.jsonl
    speechllm manifest merge corpus/test.jsonl unheard/all.jsonl --out all/test.jsonl
    all=all
  fi
  speechllm transcribe $all/test.jsonl test.jsonl --encoder "$encoder"
  speechllm transcribe $all/train.jsonl train.jsonl --encoder "$encoder"
fi

# Each way to write the replies once: NAME, then strategies and settings. Labels answer one question each; the LLM
# answers whatever it is asked, in 126 wordings, of which 72 ask for a form too, none in the words that are measured.
# Its replies without the form are left out.
targets() {
  local name=$1 asked=prompts tokens=16 prompts=1
  shift
  case $name in
    self_output) asked=self_output_prompts tokens=48 prompts=$each ;;
    gold_pseudo_replay) tokens=48 ;;
  esac
  [ -e "targets/$name.jsonl" ] || speechllm targets generate train.jsonl "targets/$name.jsonl" \
    --prompts "$here/$asked.jsonl" --llm "$llm" --attributes "${attributes[@]}" \
    --max-new-tokens "$tokens" --per-utterance "$prompts" --strategies "$@"
}
targets gold gold
targets self_output self_output
if [ "$setting" != quick ]; then
  targets self_output_one_wording self_output
  targets gold_experience_replay gold experience_replay=0.05 --instructions "$here/instructions.jsonl"
  # About 5 % are left: of the instructions that the LLM writes every second is cut short.
  targets gold_pseudo_replay gold pseudo_replay=0.1
  targets paraphrase paraphrase
  targets selective selective
  targets minimal_edit minimal_edit
  targets gold_masked gold --mask-above 2.5
  [ -z "${OTHER_LLM:-}" ] || targets cross_model cross_model --other-llm "$OTHER_LLM"
fi

# What the LLM replies to the descriptions of the test clips: on it the speech-text gap is measured.
[ -e test_targets.jsonl ] || speechllm targets generate test.jsonl test_targets.jsonl \
  --prompts "$here/self_output_prompts.jsonl" --llm "$llm" --attributes "${attributes[@]}" \
  --max-new-tokens 48 --strategies self_output

lab() { # ARM... -- OPTION...; the last options are the changes
  local arms=()
  while [ "$1" != -- ]; do
    arms+=("$here/arms/$1.toml")
    shift
  done
  shift
  speechllm lab run "${arms[@]}" --out arms "${asked[@]}" --prompts "$here/prompts.jsonl" --retention "$retention" \
    --max-new-tokens 48 --form-questions "$forms" "$@" "model.encoder=$encoder"
}
# One warm-up a seed, from which all arms start.
lab warmup -- --seeds "${seeds[@]}" --set "stages.0.steps=$warmup" save_every=1000
changes=(--start warmup --set "stages.0.steps=$steps" stages.0.batch_size=8 "save_every=$((steps / 4))")
lab "${main[@]}" -- --seeds "${seeds[@]}" "${changes[@]}"
[ "$setting" = quick ] || lab "${others[@]}" -- "${changes[@]}"
speechllm lab report arms
