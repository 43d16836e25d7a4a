"""Services: how they get ready, in which order, as whom, and what happens when they end."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from netemu import Lab, ServiceError, UsageError
from netemu.lab.show import shown
from netemu.topology.load import loads

WITHIN = 20.0
AFTER = "last: {command: [sleep, '99'], after: [slow, once]}"


def lab_of(*services: str) -> Lab:
    lines = ["name: served", "hosts:", "  A:", "    environment: {FROM: host}", "    services:"]
    topology, source = loads("\n".join(lines + [f"      {service}" for service in services]), "served.yaml")
    lab = Lab(topology)
    lab.source = source
    return lab


async def until(condition) -> None:
    async with asyncio.timeout(WITHIN):
        while not await condition():
            await asyncio.sleep(0.02)


async def some_failed(lab: Lab) -> bool:
    return any(state.state == "failed" for state in lab.services.states())


UDP = "import socket as s, time; a = s.socket(2, 2); a.bind(('', 53)); time.sleep(99)"
UNIX = "import socket as s, time; a = s.socket(1, 1); a.bind('FOLDER/served'); a.listen(); time.sleep(99)"


@pytest.mark.parametrize(
    ("command", "ready"),
    [
        (["python3", "-m", "http.server", "80"], {"tcp": 80}),
        (["python3", "-c", UDP], {"udp": 53}),
        (["python3", "-c", UNIX], {"unix": "FOLDER/served"}),
        (["python3", "-c", UNIX.replace("FOLDER/", "")], {"unix": "served"}),
        (["python3", "-c", UNIX.replace("FOLDER/", "./")], {"unix": "served"}),
        (["python3", "-c", UNIX.replace("FOLDER/", "\\0")], {"unix": "@served"}),
        (["sh", "-c", "sleep 0.2; touch x; sleep 99"], {"command": ["test", "-e", "x"]}),
        (["sh", "-c", "sleep 0.2; touch FOLDER/x; sleep 99"], {"command": ["test", "-e", "FOLDER/x"]}),
        (["sh", "-c", "echo up; sleep 0.2; echo now ready to serve; sleep 99"], {"log": "ready to [a-z]+"}),
    ],
    ids=["tcp", "udp", "unix", "own unix", "dotted unix", "abstract unix", "own command", "command", "log"],
)
async def test_a_service_is_ready_in_each_way_that_there_is(command, ready, tmp_path):
    text = json.dumps({"command": command, "ready": ready}).replace("FOLDER", str(tmp_path))
    async with lab_of(f"web: {text}") as lab:
        (state,) = lab.services.states()
        assert (state.state, state.restarts, state.exit_code) == ("ready", 0, None)
        assert state.pid


@pytest.mark.parametrize(
    ("ready", "told"),
    [
        ("{log: never, within: 200ms}", "no line of its output matches 'never'"),
        ("{unix: /no/such, within: 200ms}", "nothing listens on the unix socket /no/such"),
        ("{command: [sh, -c, exit 1], within: 200ms}", "sh -c exit 1 does not exit 0"),
    ],
)
async def test_a_service_that_does_not_get_ready_is_told_with_what_lacks(ready, told):
    with pytest.raises(ServiceError, match=f"service web on A was not ready within 200ms: {told}"):
        async with lab_of(f"web: {{command: [sleep, '99'], ready: {ready}}}"):
            pass


async def test_a_socket_of_the_same_relative_name_elsewhere_makes_no_service_ready():
    """The kernel tells a relative path as it was bound, whoever bound it: here the other one did, and is ready."""
    bound = json.dumps({"command": ["python3", "-c", UNIX.replace("FOLDER/", "")], "ready": {"unix": "served"}})
    with pytest.raises(ServiceError, match="service lazy on A was not ready within 200ms: nothing listens on the unix"):
        async with lab_of(
            f"busy: {bound}",
            "lazy: {command: [sleep, '99'], after: [busy], ready: {unix: served, within: 200ms}}",
        ):
            pass


TIDY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"tidied up\\n"), os._exit(0)))
os.write(1, b"up\\n")
while True: time.sleep(9)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"


async def test_a_service_that_is_restarted_may_tidy_up():
    service = json.dumps({"command": ["python3", "-c", TIDY], "ready": {"log": "up"}})
    async with lab_of(f"web: {service}") as lab:
        await lab.restart("A", "web")
        (state,) = lab.services.states()
        assert state.log.read_text() == "up\ntidied up\nup\n"


async def test_nothing_of_a_service_that_ended_when_asked_outlives_its_restart():
    """Its child does not heed SIGTERM: it would hold the socket that the next one wants."""
    listens = "import socket; socket.create_server(('127.0.0.1', 80)); print('up', flush=True)"
    child = f"trap '' TERM; exec python3 -c \"import time; {listens}; time.sleep(99)\""
    service = json.dumps({"command": ["bash", "-c", f"({child}) & wait"], "ready": {"log": "up"}})
    async with lab_of(f"web: {service}") as lab:
        for _ in range(3):
            await lab.restart("A", "web")
        (state,) = lab.services.states()
        assert state.log.read_text() == "up\n" * 4
        assert len(lab["A"].processes()) == 2


async def test_a_service_that_does_not_end_when_asked_is_ended():
    service = json.dumps({"command": ["python3", "-c", DEAF], "ready": {"log": "up"}})
    async with lab_of(f"web: {service}") as lab:
        first = lab.services.states()[0].pid
        async with asyncio.timeout(WITHIN):
            await lab.restart("A", "web")
        assert lab.services.states()[0].pid != first


async def test_a_service_that_keeps_ending_before_it_is_ready_is_told_with_how():
    told = r"not ready within 1s: nothing listens on tcp 80; it ended \d+ times, with exit code 3"
    with pytest.raises(ServiceError, match=told):
        async with lab_of("web: {command: [sh, -c, exit 3], restart: always, ready: {tcp: 80, within: 1s}}"):
            pass


async def test_an_expression_that_takes_too_long_is_told_and_the_lab_goes_on_meanwhile():
    """Its time is exponential: 60 letters would take years."""
    text = json.dumps(
        {"command": ["sh", "-c", f"echo {'a' * 60}; sleep 99"], "ready": {"log": "^(a+)+b", "within": "60min"}}
    )
    with pytest.raises(ServiceError, match=r"services.web.ready.log: '\^\(a\+\)\+b' takes too long on a line"):
        async with asyncio.timeout(WITHIN), lab_of(f"web: {text}"):
            pass


async def test_a_readiness_command_that_is_missing_is_told_with_its_key():
    with pytest.raises(ServiceError, match=r"services.web.ready.command: host A: can't run no-such: No such file"):
        async with lab_of("web: {command: [sleep, '99'], ready: {command: [no-such]}}"):
            pass


async def test_services_start_after_those_that_they_wait_for():
    first = "first: {command: [sh, -c, 'sleep 0.3; echo up; date +%s%N; sleep 99'], ready: {log: up}}"
    second = "second: {command: [sh, -c, 'date +%s%N; sleep 99'], after: [first], ready: {log: '^[0-9]+'}}"
    async with lab_of(second, first) as lab:
        logs = {state.name: state.log.read_text().split() for state in lab.services.states()}
    assert int(logs["second"][0]) > int(logs["first"][1])


async def test_services_that_do_not_wait_start_side_by_side():
    start = time.monotonic()
    command = "[sh, -c, 'sleep 1; echo up; sleep 99']"
    async with lab_of(*(f"s{n}: {{command: {command}, ready: {{log: up}}}}" for n in range(8))):
        assert time.monotonic() - start < 7


async def test_a_service_has_its_own_environment_and_user():
    command = "[sh, -c, 'echo $FROM $MORE $HOME; id -un; echo end; sleep 99']"
    service = f"web: {{command: {command}, environment: {{MORE: service}}, user: nobody, ready: {{log: end}}}}"
    async with lab_of(service) as lab:
        (state,) = lab.services.states()
        assert state.log.read_text() == "host service /nonexistent\nnobody\nend\n"


async def test_a_service_that_ends_is_started_again_as_its_policy_says():
    async with lab_of(
        "never: {command: [sh, -c, 'exit 3']}",
        "failing: {command: [sh, -c, 'sleep 0.05; exit 3'], restart: on-failure}",
        "done: {command: [sh, -c, 'exit 0'], restart: on-failure}",
        "always: {command: [sh, -c, 'sleep 0.05'], restart: always}",
    ) as lab:

        async def again() -> bool:
            told = {state.name: state for state in lab.services.states()}
            return told["failing"].restarts >= 2 and told["always"].restarts >= 2

        await until(again)
        told = {state.name: state for state in lab.services.states()}
        assert (told["never"].state, told["never"].exit_code, told["never"].restarts) == ("failed", 3, 0)
        assert (told["done"].state, told["done"].exit_code, told["done"].restarts) == ("ended", 0, 0)


async def test_a_service_that_ends_over_and_over_is_said_to_be_restarting():
    async with lab_of("broken: {command: [sh, -c, 'exit 3'], restart: always}") as lab:

        async def waiting() -> bool:
            (state,) = lab.services.states()
            return (state.state, state.exit_code, state.pid) == ("restarting", 3, None) and state.restarts >= 2

        await until(waiting)


async def test_services_are_not_started_again_where_process_1_has_ended():
    """Nothing can be: the kernel ended every process of the lab with it."""
    async with lab_of(
        "web: {command: [sleep, '99'], restart: always}", "loop: {command: [nproc], restart: always}"
    ) as lab:
        lab.pids.process.kill()
        await until(lambda: all_failed(lab))
        assert "process 1 has ended" in (await shown(lab, ["A"]))["hosts"]["A"]["remarks"][-1]


async def all_failed(lab: Lab) -> bool:
    return {state.state for state in lab.services.states()} <= {"failed", "ended"}


async def test_a_killed_service_is_ready_again_without_anybody_asking():
    service = 'web: {command: [python3, -m, http.server, "80"], ready: {tcp: 80}, restart: always}'
    async with lab_of(service) as lab:
        before = lab.services.states()[0].pid
        await lab["A"].run("sh", "-c", "kill -9 $(pgrep -f http.server)")

        async def again() -> bool:
            (state,) = lab.services.states()
            return state.state == "ready" and state.pid not in (None, before)

        await until(again)
        assert lab.services.states()[0].restarts >= 1


async def test_services_can_be_restarted_by_hand():
    async with lab_of(
        'web: {command: [python3, -m, http.server, "80"], ready: {tcp: 80}}', "other: {command: [sleep, '99']}"
    ) as lab:
        before = {state.name: state.pid for state in lab.services.states()}
        await lab.restart("A", "web")
        after = {state.name: state.pid for state in lab.services.states()}
        assert after["web"] != before["web"]
        assert after["other"] == before["other"]
        await lab.restart("A")
        assert lab.services.states()[1].pid != before["other"]
        with pytest.raises(UsageError, match="host A has no service 'ftp': there are web, other"):
            await lab.restart("A", "ftp")


async def test_restarts_of_one_service_at_once_take_turns():
    slow = "slow: {command: [sh, -c, 'sleep 0.1; echo up; sleep 99'], ready: {log: up}}"
    async with lab_of(slow, "other: {command: [sleep, '99']}") as lab:
        await asyncio.gather(*(lab.restart("A", name) for name in ("slow", None, "slow", "other", "slow")))
        assert [state.state for state in lab.services.states()] == ["ready", "ready"]


async def test_what_was_ready_once_is_waited_for_no_more():
    """One that sets something up and ends; also where others wait for a slower one before they look at it."""
    slow = "slow: {command: [sh, -c, 'sleep 0.3; echo up; sleep 99'], ready: {log: up}}"
    async with asyncio.timeout(20):
        async with lab_of(slow, "once: {command: [sh, -c, 'exit 0']}", AFTER) as lab:
            states = {state.name: state for state in lab.services.states()}
            assert (states["once"].state, states["last"].state) == ("ended", "ready")
            await lab.restart("A", "last")
            again = {state.name: state for state in lab.services.states()}
            assert again["last"].pid not in (None, states["last"].pid)
            await lab.restart("A")


async def test_one_that_comes_after_a_failed_one_is_not_restarted_and_left_as_it_is():
    slow = "slow: {command: [sleep, '99']}"
    async with lab_of(slow, "once: {command: [sh, -c, 'exit 3']}", AFTER) as lab:
        await until(lambda: some_failed(lab))
        before = lab.services.states()[2]
        with pytest.raises(ServiceError, match=r"last.after: service last on A comes after A:once, which has failed"):
            async with asyncio.timeout(20):
                await lab.restart("A", "last")
        after = lab.services.states()[2]
        assert (after.pid, after.state) == (before.pid, "ready")


async def test_one_that_does_not_get_ready_again_is_told_as_failed():
    command = "[sh, -c, 'test -e gone && sleep 99; touch gone; echo up; sleep 99']"
    async with lab_of(f"web: {{command: {command}, ready: {{log: ^up, within: 500ms}}}}") as lab:
        (state,) = lab.services.states()
        state.log.write_text("")
        with pytest.raises(ServiceError, match="was not ready within 500ms"):
            await lab.restart("A", "web")
        (state,) = lab.services.states()
        assert state.state == "failed"


async def test_a_log_does_not_grow_without_end():
    command = "[sh, -c, 'yes a line of some length | head -c 5000000; echo; echo end; sleep 99']"
    async with lab_of(f"web: {{command: {command}, ready: {{log: ^end}}}}") as lab:
        log = lab.services.states()[0].log
        assert log.stat().st_size < 2 << 20
        assert log.with_name(log.name + ".1").stat().st_size < 2 << 20
        assert log.read_text().endswith("end\n")
