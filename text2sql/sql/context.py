"""What of a script is schema, and what is rows."""

import re


def schema_of(context: str) -> str:
    """The statements of a script that are not INSERTs, each as written, one a line.

    Statements are cut by sqlglot's tokenizer, which knows literals and comments. A script that it cannot read is
    returned whole: the prompt then shows more than needed, never less.
    """
    from sqlglot.errors import TokenError
    from sqlglot.tokens import Tokenizer, TokenType

    try:
        tokens = Tokenizer().tokenize(context)
    except TokenError:
        return context
    statements: list[list] = [[]]
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            statements.append([])
        else:
            statements[-1].append(token)
    kept = [
        context[statement[0].start : statement[-1].end + 1]
        for statement in statements
        if statement and statement[0].token_type is not TokenType.INSERT
    ]
    return ";\n".join(kept) + ";" if kept else ""


_INSERT = re.compile(r"\b(insert\s+(or\s+\w+\s+)?|replace\s+)into\b", re.IGNORECASE)


def brings_rows(context: str) -> bool:
    """Whether a script inserts rows, and so is a database to score on as it is."""
    return _INSERT.search(context) is not None
