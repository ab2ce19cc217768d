"""A server that speaks OpenAI's API, asked by the judge and by generation in one way.

address (where it is, with which key) · failures (whose error is it, how long to wait) · limits (requests and tokens a
minute) · cost (tokens and money) · client (all of it together: an answer, a refusal, or the end of the run).
"""
