"""Requests in, rollouts out, none lost: the messages, the worker, and pools of workers."""
