"""Reward functions as a world: a terrain is a list of instructions, and a function scores what is written behind them.

`config` has the settings. `instructions` reads data files (`data_files`); `finding` finds functions, those of a user
and those that come along (`rewards`); `judge` asks them (`function`, `crew`) and reads what they say (`answers`);
`world` puts these together.
"""
