"""Scores of published benchmarks, from stored responses, by the benchmarks' own rules."""
