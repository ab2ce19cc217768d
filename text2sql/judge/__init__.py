"""The LLM judge: a second instrument beside execution accuracy, measured against it.

requests (what is asked, how an answer is read) · cache · chat and batch (the two transports) · measures ·
results (files and metrics) · run (all of it in order). The server itself is base/endpoint's.
"""
