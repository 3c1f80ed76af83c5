"""What a store is sent of settings."""

from __future__ import annotations

from distributed.observability.mlflow_store import flatten


def test_passwords_and_keys_are_not_sent() -> None:
    reward = [{"name": "own.py:ask", "api_key": "sk-1", "weight": 2.0}, {"name": "length", "unit": "tokens"}]
    options = {"reward": reward, "openai-token": "sk-2", "server": {"PASSWORD": "sk-3", "secret_key": "sk-4"}}
    said = {"terrains": {"options": options}, "method": {"n_soft_tokens": 8, "gen_kwargs": {"max_new_tokens": 40}}}
    params = flatten(said)
    assert "sk-" not in str(params) and params["terrains.options.server.PASSWORD"] == "***"
    assert params["method.n_soft_tokens"] == "8" and params["method.gen_kwargs.max_new_tokens"] == "40"
    assert '"unit": "tokens"' in params["terrains.options.reward"] and '"weight": 2.0' in str(params)
    assert options["server"]["PASSWORD"] == "sk-3"
