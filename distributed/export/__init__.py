"""Export: the prompts of a finished run as registered MLflow models, one a terrain.

Promises: exporting twice registers once; the alias ``champion`` moves only to a prompt that was evaluated as better by
the same rules; an exported model writes the same programs as the run's own sampler, without this project installed.
`Exporter` is in ``exporter``; ``prompt_model`` is the file that each model carries.
"""
