"""The append-only file after a full disk, of a real server."""

import os
from pathlib import Path

import pytest
from redis import Redis

from tests.infra.local.redis_on_full_disk import (
    latest_log,
    limit_files,
    rewrite,
    running_server,
    write,
    write_in_part,
)
from tests.infra.local.waiting import eventually
from workers.unet.maintenance.log_rewrite import rewrite_damaged_log


def state(redis: Redis) -> dict[str, object]:
    return redis.info("persistence")


def settle(redis: Redis) -> None:
    assert eventually(lambda: not state(redis)["aof_rewrite_in_progress"])


def test_a_server_that_is_killed_after_a_full_disk_keeps_all(tmp_path: Path) -> None:
    with running_server(tmp_path) as (redis, server):
        write(redis, "before")
        rewrite(redis)
        for name in ("a", "b"):
            write(redis, name)
            write_in_part(redis, server, latest_log(tmp_path), 20)
        rewrite_damaged_log(redis)
        settle(redis)
        write(redis, "after")
    # Without mending
    with running_server(tmp_path) as (redis, _):
        assert {"before", "a", "b", "full", "after"} <= set(redis.keys())


def test_the_file_is_written_anew_only_after_a_full_disk_and_once(tmp_path: Path) -> None:
    with running_server(tmp_path) as (redis, server):
        write(redis, "a")
        rewrite_damaged_log(redis)
        assert state(redis)["aof_rewrites"] == 0
        write_in_part(redis, server, latest_log(tmp_path), 20)
        for _ in range(3):
            rewrite_damaged_log(redis)
            settle(redis)
        assert state(redis)["aof_rewrites"] == 1


def test_a_rewrite_that_fails_is_begun_again(tmp_path: Path) -> None:
    with running_server(tmp_path) as (redis, server):
        redis.set("large", os.urandom(500_000))
        rewrite(redis)
        write(redis, "a")
        write_in_part(redis, server, latest_log(tmp_path), 20)
        # Given space for a little, but not for all
        limit_files(server, 100_000)
        rewrite_damaged_log(redis)
        settle(redis)
        assert state(redis)["aof_last_bgrewrite_status"] == "err"
        limit_files(server)
        rewrite_damaged_log(redis)
        settle(redis)
        assert state(redis)["aof_last_bgrewrite_status"] == "ok"


def test_a_rewrite_that_waits_for_a_snapshot_is_not_taken_for_done(tmp_path: Path) -> None:
    with running_server(tmp_path) as (redis, server):
        redis.set("a", "1")
        write_in_part(redis, server, latest_log(tmp_path), 20)
        redis.config_set("rdb-key-save-delay", 10_000_000)
        redis.bgsave()
        for _ in range(2):
            rewrite_damaged_log(redis)
        assert (state(redis)["aof_rewrite_scheduled"], state(redis)["aof_rewrites"]) == (1, 0)
        # When the snapshot is there
        redis.config_set("rdb-key-save-delay", 0)
        server.children()[0].kill()
        assert eventually(lambda: state(redis)["aof_rewrites"] == 1)


def test_a_server_that_nobody_may_ask_for_a_rewrite_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_server(tmp_path) as (redis, server):
        write(redis, "a")
        write_in_part(redis, server, latest_log(tmp_path), 20)
        redis.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof")
        for _ in range(2):
            rewrite_damaged_log(redis)
    [said] = caplog.messages
    assert "have its append-only file written anew" in said
