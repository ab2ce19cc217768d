"""What runs SQL that nobody vouches for: one module an engine, worker processes, a question's open databases.

All engines have the interface of `protocol`, and the cells of `cells`.
"""
