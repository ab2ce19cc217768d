"""The LLM judge: a second instrument beside execution accuracy, measured against it.

requests (what is asked, how an answer is read) · cost · limits · cache · client and batch (the two transports) ·
shown (first rows of both results) · results (files and metrics) · run (all of it in order).
"""
