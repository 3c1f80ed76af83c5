"""Rewards that come along. Each is a class with its settings as ``Config``, called as any reward function is."""

SHIPPED = {
    "length": "terrains.functions.rewards.length:Length",
    "regex": "terrains.functions.rewards.regex:Regex",
    "json": "terrains.functions.rewards.json_format:JsonFormat",
    "exact_match": "terrains.functions.rewards.matches:ExactMatch",
    "numeric_match": "terrains.functions.rewards.matches:NumericMatch",
    "python_tests": "terrains.functions.rewards.python_tests:PythonTests",
    "sentiment": "terrains.functions.rewards.sentiment:Sentiment",
    "classifier": "softprompt.rewards.classifier:Classifier",
    "likelihood": "softprompt.rewards.likelihood:Likelihood",
}
"""Where each is. The last two need torch, and are imported where a setting names them."""
