"""The arms of a run: ways of answering that are compared, and their names in files and on screens."""

ARMS = ("base", "finetuned")
SHORT = {"base": "base", "finetuned": "ft"}  # summary.json's keys are columns of `dvc exp show`
LEGEND = {"base": "base", "finetuned": "fine-tuned"}
