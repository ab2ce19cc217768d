"""The one instant at which all SQL runs."""

# The clock stands still at this UTC instant: `date('now')` and CURRENT_TIMESTAMP answer the same on every run, for
# gold and prediction alike. Its day exists in every month, and it is not midnight, so that shifting it by months
# never clamps and a date never equals a date with a time.
NOW = "2024-06-15 12:34:56"
