"""The study as a tool: the paper's sections 3 and 5.7 for any prompts and any text encoder.

One module a question, one function each that returns a typed result; `litetext.anatomy.audit` runs them all
and `litetext.anatomy.report` makes the pages.
"""
