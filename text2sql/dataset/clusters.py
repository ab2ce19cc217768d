"""Which questions are about one database: decided by what its schema holds, not by a name."""

from collections.abc import Mapping, Sequence

from text2sql.dataset.leaks import normal_schema


def databases_of(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """For each row (keys db_id, context) the name of its database; rows of equal schemas get the same one.

    A name that several schemas share is numbered from the second on (`orders#2`), and a schema that goes by several
    names has the first. Where names and schemas match one to one, it is db_id.
    """
    names: dict[str, str] = {}  # of each schema
    count: dict[str, int] = {}  # schemas that came by each name
    found = []
    for row in rows:
        schema = normal_schema(row["context"])
        if schema not in names:
            number = count[row["db_id"]] = count.get(row["db_id"], 0) + 1
            names[schema] = row["db_id"] if number == 1 else f"{row['db_id']}#{number}"
        found.append(names[schema])
    return found
