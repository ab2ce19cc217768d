"""What may be sent to MySQL and MariaDB: one query, of functions that can do nothing but compute.

A server's own protections (a read-only transaction, a deadline) stand behind this. They do not stop functions that
read the server's files, sleep, take locks or call out, so functions are denied unless known to be harmless.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.dialects import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from text2sql.base.text import one_line
from text2sql.engines.sqlite import Failure

RUN_COMMENT = re.compile(r"/\*M?!")
# Words of the grammar, and types, that may stand before a parenthesis without being calls.
SYNTAX = frozenset(
    "select from where and or not in on using as over values exists any some all union except intersect distinct by "
    "having case when then else end interval with recursive lateral filter group within partition order between like "
    "rlike regexp escape limit offset is join rows range row grouping rollup coalesce nullif greatest least cast "
    "convert extract trim position substring collate default div mod xor char character varchar nchar text binary "
    "varbinary decimal numeric dec fixed float real double int integer bigint smallint tinyint mediumint bit date time "
    "timestamp datetime year boolean signed unsigned index key window columns match against of value".split()
)
# Pure functions of MySQL and MariaDB, and what they say of the login. Not here, among others: load_file, sleep,
# benchmark, get_lock, nextval, last_insert_id, master_pos_wait, sys_exec and whatever else a server was taught.
MYSQL_FUNCTIONS = frozenset(
    "abs acos adddate addtime add_months aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg bin bin_to_uuid "
    "bit_and bit_count bit_length bit_or bit_xor ceil ceiling char_length character_length charset chr coercibility "
    "collation column_check column_create column_exists column_get column_json column_list compress concat concat_ws "
    "conv convert_tz cos cot count crc32 crc32c cume_dist curdate current_date current_role current_time "
    "current_timestamp current_user curtime database date_add date_format date_sub datediff day dayname dayofmonth "
    "dayofweek dayofyear degrees dense_rank elt exp export_set extractvalue field find_in_set first_value floor format "
    "format_bytes format_pico_time from_base64 from_days from_unixtime get_format group_concat hex hour if ifnull "
    "inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6 is_uuid "
    "isnull json_array json_array_append json_array_insert json_array_intersect json_arrayagg json_compact "
    "json_contains json_contains_path json_depth json_detailed json_equals json_exists json_extract json_insert "
    "json_key_value json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve json_normalize "
    "json_object json_object_filter_keys json_object_to_array json_objectagg json_overlaps json_pretty json_query "
    "json_quote json_remove json_replace json_schema_valid json_schema_validation_report json_search json_set "
    "json_storage_size json_table json_type json_unquote json_valid json_value lag last_day last_value lcase lead left "
    "length lengthb ln localtime localtimestamp locate log log10 log2 lower lpad ltrim make_set makedate maketime max "
    "md5 median microsecond mid min minute month monthname name_const natural_sort_key now nth_value ntile nvl nvl2 "
    "oct octet_length ord percent_rank percentile_cont percentile_disc period_add period_diff pi pow power quarter "
    "quote radians rand rank regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse right round "
    "row_number rpad rtrim schema sec_to_time second session_user sformat sha sha1 sha2 sign sin soundex space sqrt "
    "statement_digest statement_digest_text std stddev stddev_pop stddev_samp str_to_date strcmp subdate substr "
    "substring_index subtime sum sysdate system_user tan time_format time_to_sec timediff timestampadd timestampdiff "
    "to_base64 to_char to_date to_days to_number to_seconds truncate ucase uncompress uncompressed_length unhex "
    "unix_timestamp updatexml upper user utc_date utc_time utc_timestamp uuid uuid_to_bin uuid_v4 uuid_v7 var_pop "
    "var_samp variance version week weekday weekofyear weight_string yearweek "
    # Places: those of the OpenGIS standard under both of their names.
    "area asbinary astext aswkb aswkt boundary buffer centroid contains convexhull crosses dimension disjoint "
    "distance endpoint envelope equals exteriorring geomcollfromtext geomcollfromwkb geometrycollection "
    "geometrycollectionfromtext geometrycollectionfromwkb geometryfromtext geometryfromwkb geometryn geometrytype "
    "geomfromtext geomfromwkb glength interiorringn intersects isclosed isempty isring issimple linefromtext "
    "linefromwkb linestring linestringfromtext linestringfromwkb mbrcontains mbrcoveredby mbrcovers mbrdisjoint "
    "mbrequal mbrequals mbrintersects mbroverlaps mbrtouches mbrwithin multilinestring multipoint multipolygon "
    "numgeometries numinteriorrings numpoints overlaps point pointfromtext pointfromwkb pointn pointonsurface "
    "polyfromtext polyfromwkb polygon polygonfromtext polygonfromwkb srid startpoint st_area st_asbinary st_asgeojson "
    "st_astext st_aswkb st_aswkt st_boundary st_buffer st_buffer_strategy st_centroid st_collect st_contains "
    "st_convexhull st_crosses st_difference st_dimension st_disjoint st_distance st_distance_sphere st_endpoint "
    "st_envelope st_equals st_exteriorring st_frechetdistance st_geohash st_geomcollfromtext "
    "st_geometrycollectionfromtext st_geometryfromtext st_geometryfromwkb st_geometryn st_geometrytype "
    "st_geomfromgeojson st_geomfromtext st_geomfromwkb st_hausdorffdistance st_interiorringn st_intersection "
    "st_intersects st_isclosed st_iscollection st_isempty st_isring st_issimple st_isvalid st_latfromgeohash "
    "st_latitude st_length st_linefromtext st_lineinterpolatepoint st_linestringfromtext st_longfromgeohash "
    "st_longitude st_makeenvelope st_mlinefromtext st_mpointfromtext st_mpolyfromtext st_multilinestringfromtext "
    "st_multipointfromtext st_multipolygonfromtext st_numgeometries st_numinteriorrings st_numpoints st_overlaps "
    "st_pointatdistance st_pointfromgeohash st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface "
    "st_polyfromtext st_polygonfromtext st_relate st_simplify st_srid st_startpoint st_swapxy st_symdifference "
    "st_touches st_transform st_union st_validate st_within st_x st_y touches within x y vec_distance "
    "vec_distance_cosine vec_distance_euclidean vec_fromtext vec_totext".split()
)


def checked(sql: str, judged: Callable[[Set[str]], Failure | None]) -> str | Failure:
    """The text to send for a statement, or why it is not sent.

    judged: why functions of some names, in lower case, are not to be called; None where they may be. What is sent are
    the tokens that were checked, without comments, because servers differ in where a comment ends.
    """
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot read is refused, and said once
    try:
        sql.encode()
        tokens = Dialect.get_or_raise("mysql").tokenize(sql)
        trees = [tree for tree in sqlglot.parse(sql, dialect="mysql") if tree is not None]
    except (SqlglotError, RecursionError, UnicodeEncodeError) as error:
        return Failure("syntax", one_line(error).partition("\\x1b")[0])
    if any(RUN_COMMENT.search(gap) for gap in gaps(sql, tokens)) or "\0" in sql:
        return Failure(
            "refused", "a comment that the server runs (/*!) or a NUL is not part of a query that only reads"
        )
    if len(trees) != 1:
        return Failure("refused", "not one statement")
    tree = trees[0]
    if not isinstance(tree, exp.Query):
        return Failure("refused", "not a SELECT, WITH or VALUES statement")
    forbidden = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Set, exp.NextValueFor, exp.Parameter)
    for node in tree.find_all(*forbidden, exp.SessionParameter):
        if not isinstance(node, exp.Query):
            return Failure("refused", f"{node.key.upper()} is not part of a query that only reads")
    if any(token.token_type is TokenType.INTO for token in tokens):
        return Failure("refused", "INTO is not part of a query that only reads")
    calls: Counter[str] = Counter()
    for before, word, after in zip([None, *tokens], tokens, tokens[1:], strict=False):
        quoted = word.token_type is TokenType.IDENTIFIER
        if after.token_type is TokenType.L_PAREN and (quoted or sql[word.start].isalpha() or sql[word.start] == "_"):
            name = word.text.lower() if quoted else word.text.lower().split()[-1]  # ORDER BY is one token
            if before is not None and before.token_type is TokenType.DOT:
                return Failure("refused", f"the function {one_line(name)} of a database is not known to be harmless")
            if quoted or name not in SYNTAX:
                calls[name] += 1
    # `WITH name(a)` and `AS name(a)` are no calls.
    calls -= Counter(alias.name.lower() for alias in tree.find_all(exp.TableAlias) if alias.args.get("columns"))
    if (failure := judged(set(calls))) is not None:
        return failure
    text = ""
    for before, token in pairwise([None, *tokens]):
        if token.token_type in (TokenType.SEMICOLON, TokenType.HINT):
            continue
        apart = before is not None and before.end + 1 < token.start
        text += (" " if apart else "") + sql[token.start : token.end + 1]
    return text


def refused(names: Set[str]) -> Failure:
    """What is said of functions that are not to be called."""
    return Failure("refused", f"the function {one_line(min(names))} is not known to be harmless")


def gaps(sql: str, tokens: Sequence[Token]) -> Iterator[str]:
    """What stands between a text's tokens: space and comments."""
    ends = [0, *(token.end + 1 for token in tokens)]
    starts = [*(token.start for token in tokens), len(sql)]
    return (sql[end:start] for end, start in zip(ends, starts, strict=True))
