"""Questions are about one database where its schema is the same, whatever it is called."""

from text2sql.dataset.clusters import databases_of

PETS, SHOP = "CREATE TABLE pets (name TEXT);", "CREATE TABLE shop (price INT);"


def named(*rows: tuple[str, str]) -> list[str]:
    return databases_of([{"db_id": db_id, "context": context} for db_id, context in rows])


def test_names_that_match_schemas_one_to_one_stay():
    assert named(("a", PETS), ("b", SHOP), ("a", PETS)) == ["a", "b", "a"]


def test_one_schema_under_several_names_is_one_database():
    assert named(("p1", PETS), ("p2", PETS + "\nINSERT INTO pets VALUES ('Bo');"), ("p1", PETS)) == ["p1"] * 3


def test_one_name_for_several_schemas_is_several_databases():
    assert named(("table_name_67", PETS), ("table_name_67", SHOP), ("table_name_67", PETS)) == [
        "table_name_67", "table_name_67#2", "table_name_67",
    ]  # fmt: skip
