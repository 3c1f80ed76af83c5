"""Rewards that are given by models: a classifier's probability, a language model's likelihood."""
