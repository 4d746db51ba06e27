"""What a program in Python relies on, through pymysql, against a cluster that is given in the environment.

BATON_HOST, BATON_PORT, BATON_PASSWORD say where and as whom (root). Ends with 0 and the line `pymysql works`, or with
an assertion that says what is wrong.
"""

import datetime
import decimal
import os
import threading

import pymysql


def connect(**options):
    """A connection, with a bound on every step; `options` win."""
    defaults = {
        "host": os.environ["BATON_HOST"],
        "port": int(os.environ["BATON_PORT"]),
        "user": "root",
        "password": os.environ["BATON_PASSWORD"],
        "charset": "utf8mb4",
        "connect_timeout": 10,
        "read_timeout": 30,
        "write_timeout": 30,
    }
    return pymysql.connect(**{**defaults, **options})


def same(what, found, wanted):
    assert found == wanted, f"{what}: {found!r}, should be {wanted!r}"
    if isinstance(wanted, tuple):
        for one, other in zip(found, wanted):
            assert type(one) is type(other), f"{what}: {one!r} is a {type(one)}, should be a {type(other)}"


def number_of(error):
    return error.args[0]


def fails_with(number, kind, action):
    try:
        action()
    except kind as error:
        same("the number of the error", number_of(error), number)
        return
    raise AssertionError(f"error {number} did not come")


def autocommit_is_on_and_off():
    # Off is what pymysql asks for unless it is told otherwise.
    for autocommit in (False, True):
        with connect(autocommit=autocommit) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@autocommit")
            same("@@autocommit", cursor.fetchone(), (1 if autocommit else 0,))
            cursor.execute("INSERT INTO clients.numbers (id, n) VALUES (%s, 1)", (1000 + autocommit,))
            same("rows of an INSERT", cursor.rowcount, 1)
            connection.commit()
    with connect() as connection, connection.cursor() as cursor:
        connection.autocommit(True)
        cursor.execute("SELECT COUNT(*) FROM clients.numbers WHERE id >= 1000")
        same("rows of both", cursor.fetchone(), (2,))


def many_rows_at_once():
    with connect(database="clients") as connection, connection.cursor() as cursor:
        rows = [(n, n * n) for n in range(500)]
        written = cursor.executemany("INSERT INTO numbers (id, n) VALUES (%s, %s)", rows)
        same("rows of executemany", written, 500)
        connection.commit()
        cursor.execute("SELECT id, n FROM numbers WHERE id < 1000 ORDER BY id")
        same("the rows", list(cursor.fetchall()), rows)
        changed = cursor.executemany("UPDATE numbers SET n = %s WHERE id = %s", [(-1, 3), (-1, 4), (-1, 9999)])
        same("rows of UPDATE by executemany", changed, 2)
        connection.commit()


VALUES = [
    (
        1,
        "Zoë — 漢字 🦀 it's \\ \"quoted\" %s\n",
        bytes(range(256)),
        decimal.Decimal("-1234567890.1250"),
        datetime.datetime(2024, 2, 29, 23, 59, 59, 123456),
        datetime.date(1999, 12, 31),
        -(2**63),
        0.1,
    ),
    (2, "", b"", decimal.Decimal("0.0000"), datetime.datetime(1970, 1, 1), datetime.date(2000, 1, 1), 2**63 - 1, -1.5),
    (3, None, None, None, None, None, None, None),
]


def values_come_back_as_they_went():
    with connect(database="clients") as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE kinds (id INT PRIMARY KEY, text VARCHAR(100), bytes BLOB, money DECIMAL(20, 4),"
            " moment DATETIME(6), day DATE, big BIGINT, real8 DOUBLE)"
        )
        for row in VALUES:
            cursor.execute("INSERT INTO kinds VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", row)
        connection.commit()
        for row in VALUES:
            cursor.execute("SELECT * FROM kinds WHERE id = %s", (row[0],))
            same(f"row {row[0]} by its key", cursor.fetchone(), row)
        cursor.execute("SELECT * FROM kinds ORDER BY id")
        for found, row in zip(cursor.fetchall(), VALUES):
            same(f"row {row[0]} of all", found, row)
        cursor.execute("SELECT id FROM kinds WHERE text = %s AND money = %s", VALUES[0][1:4:2])
        same("found by its values", cursor.fetchall(), ((1,),))
    with connect(database="clients", cursorclass=pymysql.cursors.DictCursor) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, text FROM kinds WHERE id = 3")
            same("as a dictionary", cursor.fetchone(), {"id": 3, "text": None})


def generated_keys_are_told():
    with connect(database="clients") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE keyed (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT)")
        cursor.execute("INSERT INTO keyed (n) VALUES (7)")
        first = cursor.lastrowid
        cursor.execute("INSERT INTO keyed (n) VALUES (8)")
        same("the next key", cursor.lastrowid, first + 1)
        cursor.execute("SELECT n FROM keyed WHERE id = %s", (first,))
        same("the row of the first key", cursor.fetchone(), (7,))
        connection.commit()


def an_error_has_its_number_and_can_be_rolled_back():
    with connect(database="clients") as connection, connection.cursor() as cursor:
        duplicate = "INSERT INTO numbers (id, n) VALUES (1, 1)"
        fails_with(1062, pymysql.err.IntegrityError, lambda: cursor.execute(duplicate))
        # Nothing was written, so there is nothing to take back.
        connection.rollback()
        fails_with(1146, pymysql.err.ProgrammingError, lambda: cursor.execute("SELECT * FROM nothing"))
        connection.rollback()
        cursor.execute("SELECT 1")
        same("after errors", cursor.fetchone(), (1,))
        connection.rollback()
        # What was written is taken back, over several partitions too.
        rows = [(n, 1) for n in range(2000, 2020)]
        cursor.executemany("INSERT INTO numbers (id, n) VALUES (%s, %s)", rows)
        connection.rollback()
        cursor.execute("SELECT COUNT(*) FROM numbers WHERE id >= 2000")
        same("rows after ROLLBACK", cursor.fetchone(), (0,))


def a_transaction_is_shown_in_the_status_of_every_answer():
    in_transaction, autocommit = 1, 2
    with connect(database="clients", autocommit=True) as connection, connection.cursor() as cursor:
        same("the status", connection.server_status & 3, autocommit)
        connection.begin()
        same("the status after BEGIN", connection.server_status & 3, autocommit | in_transaction)
        cursor.execute("UPDATE numbers SET n = 0 WHERE id < 4")
        cursor.execute("SELECT @@baton_transaction_id")
        (transaction,) = cursor.fetchone()
        same("the status with rows", connection.server_status & 3, autocommit | in_transaction)
        connection.commit()
        same("the status after COMMIT", connection.server_status & 3, autocommit)
        cursor.execute("SHOW TRANSACTION OUTCOME %s", (transaction,))
        same("the outcome", cursor.fetchone()[1], "COMMITTED")
    with connect(database="clients") as connection, connection.cursor() as cursor:
        same("the status without autocommit", connection.server_status & 3, 0)
        cursor.execute("UPDATE numbers SET n = 1 WHERE id < 4")
        same("the status after a write", connection.server_status & 3, in_transaction)


def two_that_wait_for_each_other_are_told():
    with connect(database="clients") as one, connect(database="clients") as other:
        with one.cursor() as first, other.cursor() as second:
            first.execute("UPDATE numbers SET n = 5 WHERE id = 1")
            second.execute("UPDATE numbers SET n = 6 WHERE id = 2")
            waiting = threading.Thread(target=lambda: outcome_of(first, "UPDATE numbers SET n = 5 WHERE id = 2"))
            waiting.start()
            outcome_of(second, "UPDATE numbers SET n = 6 WHERE id = 1")
            waiting.join(20)
            same("one of them is told, the other one goes on", sorted(OUTCOMES, key=str), [1213, None])
        one.rollback()
        other.rollback()


OUTCOMES = []


def outcome_of(cursor, statement):
    try:
        cursor.execute(statement)
        OUTCOMES.append(None)
    except pymysql.err.OperationalError as error:
        OUTCOMES.append(number_of(error))
        cursor.connection.rollback()


def a_wrong_password_is_refused():
    fails_with(1045, pymysql.err.OperationalError, lambda: connect(password="wrong"))


def main():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS clients")
        cursor.execute("CREATE DATABASE clients PARTITIONS 4")
        cursor.execute("CREATE TABLE clients.numbers (id BIGINT PRIMARY KEY, n BIGINT)")
        connection.commit()
    autocommit_is_on_and_off()
    many_rows_at_once()
    values_come_back_as_they_went()
    generated_keys_are_told()
    an_error_has_its_number_and_can_be_rolled_back()
    a_transaction_is_shown_in_the_status_of_every_answer()
    two_that_wait_for_each_other_are_told()
    a_wrong_password_is_refused()
    print("pymysql works")


main()
