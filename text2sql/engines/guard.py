"""What may be sent to a database server: one query, of functions that can do nothing but compute.

A server's own protections (a read-only transaction, a deadline) stand behind this. They do not stop functions that
read the server's files, sleep, take locks or call out, so functions are denied unless known to be harmless.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.dialects import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType

from text2sql.base.text import one_line
from text2sql.engines.sqlite import Failure

RUN_COMMENT = re.compile(r"/\*M?[!+]")  # MySQL runs the first kind and obeys the second
# Words of the grammar, and types, that may stand before a parenthesis without being calls.
SYNTAX = frozenset(
    "select from where and or not in on using as over values exists any some all union except intersect distinct by "
    "having case when then else end interval with recursive lateral filter group within partition order between like "
    "ilike rlike regexp escape limit offset fetch is join rows range array row grouping sets rollup cube materialized "
    "coalesce nullif greatest least cast convert extract trim position overlay substring collate default div mod xor "
    "char character varchar nchar varying text binary varbinary decimal numeric dec number float real double int "
    "integer bigint smallint tinyint bit date time timestamp timestamptz datetime year boolean signed unsigned".split()
)
# Pure functions of MySQL and MariaDB. Not here, among others: load_file, sleep, benchmark, get_lock, nextval,
# last_insert_id, master_pos_wait, sys_exec and whatever else a server was taught.
MYSQL_FUNCTIONS = frozenset(
    "abs acos adddate addtime any_value ascii asin atan atan2 avg bin bit_and bit_count bit_length bit_or bit_xor ceil "
    "ceiling char_length character_length concat concat_ws conv convert_tz cos cot count crc32 cume_dist curdate "
    "current_date current_time current_timestamp curtime date_add date_format date_sub datediff day dayname dayofmonth "
    "dayofweek dayofyear degrees dense_rank elt exp export_set field find_in_set first_value floor format from_days "
    "from_unixtime get_format group_concat hex hour if ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr "
    "is_uuid isnull json_array json_array_append json_array_insert json_arrayagg json_contains json_contains_path "
    "json_depth json_extract json_insert json_keys json_length json_merge_patch json_merge_preserve json_object "
    "json_objectagg json_overlaps json_pretty json_quote json_remove json_replace json_search json_set json_table "
    "json_type json_unquote json_valid json_value lag last_day last_value lcase lead left length ln localtime "
    "localtimestamp locate log log10 log2 lower lpad ltrim make_set makedate maketime max md5 median microsecond mid "
    "min minute month monthname now nth_value ntile oct octet_length ord percent_rank percentile_cont percentile_disc "
    "period_add period_diff pi pow power quarter quote radians rand rank regexp_instr regexp_like regexp_replace "
    "regexp_substr repeat replace reverse right round row_number rpad rtrim sec_to_time second sha1 sha2 sign sin "
    "soundex space sqrt std stddev stddev_pop stddev_samp str_to_date strcmp subdate substr substring_index subtime "
    "sum tan time_format time_to_sec timediff timestampadd timestampdiff to_char to_days to_seconds truncate ucase "
    "unhex unix_timestamp upper utc_date utc_time utc_timestamp uuid var_pop var_samp variance version week weekday "
    "weekofyear weight_string yearweek".split()
)


def checked(sql: str, dialect: str, denied: Callable[[set[str]], set[str]]) -> str | Failure:
    """The text to send for a statement, or why it is not sent.

    What is sent are the tokens that were checked, without comments, because servers differ in where a comment ends.
    denied: which of some function names, in lower case, are not to be called.
    """
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot read is refused, and said once
    try:
        sql.encode()
        tokens = Dialect.get_or_raise(dialect).tokenize(sql)
        trees = [tree for tree in sqlglot.parse(sql, dialect=dialect) if tree is not None]
    except (SqlglotError, RecursionError, UnicodeEncodeError) as error:
        return Failure("syntax", one_line(error).partition("\\x1b")[0])
    if RUN_COMMENT.search(sql):
        return Failure("refused", "a comment that a server may run (/*! or /*+) is not part of a query that only reads")
    if len(trees) != 1:
        return Failure("refused", "not one statement")
    tree = trees[0]
    if not isinstance(tree, exp.Query):
        return Failure("refused", "not a SELECT, WITH or VALUES statement")
    forbidden = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Set, exp.NextValueFor, exp.Parameter)
    for node in tree.find_all(*forbidden, exp.SessionParameter):
        if not isinstance(node, exp.Query):
            return Failure("refused", f"{node.key.upper()} is not part of a query that only reads")
    kinds = {token.token_type for token in tokens}
    if TokenType.INTO in kinds or TokenType.HEREDOC_STRING in kinds or "\0" in sql:
        return Failure("refused", "INTO, a $$ literal or a NUL character is not part of a query that only reads")
    calls = Counter(
        word.text.lower()
        for word, after in pairwise(tokens)
        if after.token_type is TokenType.L_PAREN
        and (word.token_type is TokenType.IDENTIFIER or sql[word.start].isalpha() or sql[word.start] == "_")
    )
    # `WITH name(a)` and `AS name(a)` are no calls.
    calls -= Counter(alias.name.lower() for alias in tree.find_all(exp.TableAlias) if alias.args.get("columns"))
    if names := denied(set(calls) - SYNTAX):
        return Failure("refused", f"the function {one_line(min(names))} is not known to be harmless")
    text = ""
    for before, token in pairwise([None, *tokens]):
        if token.token_type is TokenType.SEMICOLON:
            continue
        apart = before is not None and before.end + 1 < token.start
        text += (" " if apart else "") + sql[token.start : token.end + 1]
    return text
