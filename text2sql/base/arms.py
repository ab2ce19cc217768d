"""The arms of a run: ways of answering that are compared, and their names in files and on screens."""

BASE = "base"
FINETUNED = "finetuned"
ARMS = (BASE, FINETUNED)  # in the order of tables and plots; a gain is the second's over the first
SHORT = {BASE: "base", FINETUNED: "ft"}  # summary.json's keys are columns of `dvc exp show`
LEGEND = {BASE: "base", FINETUNED: "fine-tuned"}
