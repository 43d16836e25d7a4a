"""The article's case on the real kernel, by the pytest plugin: what the record shows, and what else the API does."""

from __future__ import annotations

import pytest

from netemu import Taps, Verdict, report_json
from netemu.errors import UsageError
from netemu.kernel.machine.features import trace_carries_conntrack
from netemu.topology.points import Point

pytestmark = pytest.mark.lab("nodeport")


async def prove(lab):
    async with lab.record() as record:
        for item in lab.topology.traffic:
            await lab.send(item.name)
    return lab.check(record)


async def test_every_expectation_of_the_shipped_topology_passes(lab):
    report = await prove(lab)
    assert report.verdict == "pass", report.explain()
    assert len(report.checks) > len(lab.topology.expect)
    assert report.exit_code == 0


async def test_the_first_request_walks_the_rules_and_no_other_packet_does(lab):
    report = await prove(lab)
    (flow,) = report.record.flows_of(report.record.exchange("hello"))
    walked = {(journey.direction, journey.nth): journey.walked for journey in flow.journeys}
    assert walked.pop(("original", 1)) == {Point.parse("B@prerouting.nat"), Point.parse("B@postrouting.nat")}
    assert len(walked) >= 7
    assert not any(walked.values())


async def test_the_rewrites_name_the_rules_as_iptables_lists_them(lab):
    report = await prove(lab)
    (flow,) = report.record.flows_of(report.record.exchange("hello"))
    by_rule = {change.field: change.rule for change in flow.packets("original")[0].rewrites if change.by == "rule"}
    assert by_rule == {
        "dst": "-A PREROUTING -d 192.168.0.2/32 -p tcp -m tcp --dport 30000 -j DNAT --to-destination 172.26.0.3:8080",
        "src": "-A POSTROUTING -d 172.26.0.3/32 -p tcp -m tcp --dport 8080 -j SNAT --to-source 192.168.0.2",
    }


async def test_a_packet_is_one_journey_over_every_wire_though_both_its_addresses_change(lab):
    report = await prove(lab)
    (flow,) = report.record.flows_of(report.record.exchange("hello"))
    for journey in flow.packets("original"):
        wires = [(str(seen.point), seen.headers.ttl) for seen in journey.sightings if seen.point.stage is None]
        assert wires == [
            ("A:eth0 out", 64),
            ("B:eth0 in", 64),
            ("B:eth0 out", 63),
            ("C:eth0 in", 63),
            ("C:cni0 out", 62),
            ("pod:eth0 in", 62),
        ]
        times = [seen.time_ns for seen in journey.sightings if seen.time_ns is not None]
        assert times == sorted(times)
        assert journey.complete
        assert journey.first.headers.src != journey.sightings[-1].headers.src
        assert journey.first.headers.dst != journey.sightings[-1].headers.dst


async def test_the_second_datagram_is_new_too_and_walks_no_chain(lab):
    report = await prove(lab)
    (flow,) = report.record.flows_of(report.record.exchange("pair"))
    told = [journey.at(Point.parse("B@prerouting")).ct for journey in flow.packets("original")]
    assert [(ct.ctinfo, ct.manips) for ct in told] == [("NEW", ()), ("NEW", ("src", "dst"))]


async def test_every_packet_of_the_exchange_is_there_to_the_last_acknowledgement(lab):
    report = await prove(lab)
    (flow,) = report.record.flows_of(report.record.exchange("hello"))
    flags = [journey.first.headers.flags for journey in flow.journeys]
    assert flags[:3] == ["SYN", "SYN ACK", "ACK"]
    assert sum("FIN" in each for each in flags) == 2
    assert flags[-1] == "ACK"
    assert all(journey.complete for journey in flow.journeys)


async def test_hosts_without_rules_track_nothing(lab):
    report = await prove(lab)
    tracking = {
        seen.point.host for journey in report.record.journeys for seen in journey.sightings if seen.ct is not None
    }
    assert tracking == {"B"}


async def test_a_record_holds_only_what_happened_inside_it(lab):
    await lab.send("hello")
    async with lab.record() as record:
        await lab.send("pair")
    assert [exchange.name for exchange in record.exchanges] == ["pair"]
    assert {journey.first.headers.proto for journey in record.journeys} == {"udp"}
    report = lab.check(record, [e for e in lab.topology.expect if getattr(e, "traffic", "") == "pair"])
    assert report.verdict == "pass", report.explain()


async def test_expectations_about_traffic_that_was_not_recorded_are_unproven(lab):
    async with lab.record() as record:
        await lab.send("pair")
    verdicts = {check.name.split()[0]: check.verdict for check in lab.check(record).checks}
    assert verdicts["hello"] == "unproven"


async def test_an_empty_record_proves_nothing(lab):
    async with lab.record() as record:
        pass
    assert lab.check(record, []).verdict is Verdict.UNPROVEN


async def test_the_labs_own_devices_say_nothing_into_the_record(lab):
    async with lab.record(since_up=True) as record:
        pass
    assert record.journeys == []


async def test_two_records_at_once_are_refused(lab):
    async with lab.record():
        with pytest.raises(UsageError, match="being recorded already"):
            async with lab.record():
                pass


async def test_commands_run_on_their_host(lab):
    done = await lab["A"].run("ip", "-br", "address", "show", "eth0")
    assert "192.168.0.1/24" in done.stdout
    assert done.returncode == 0


async def test_a_command_as_traffic_is_found_by_its_host_and_time(lab):
    async with lab.record() as record:
        done = await lab["A"].run(
            "python3", "-c", "import urllib.request as u; print(u.urlopen('http://192.168.0.2:30000/').status)"
        )
    assert done.stdout == "200\n", done.stderr
    (flow,) = [flow for flow in record.flows if flow.original.dport == 30000]
    assert flow.entries["B"].reply.src == "172.26.0.3"


async def test_an_unknown_host_or_traffic_item_is_told_with_those_there_are(lab):
    with pytest.raises(UsageError, match="no host 'D': there are A, B, C, pod"):
        lab["D"]
    with pytest.raises(UsageError, match="no traffic item 'nope': there are hello, pair"):
        await lab.send("nope")


async def test_the_report_is_the_json_that_readers_were_promised(lab):
    told = report_json(await prove(lab))
    assert told.keys() >= {"lab", "verdict", "checks", "journeys", "flows", "capture", "timing_ms"}
    first = next(j for j in told["journeys"] if j["proto"] == "tcp" and j["direction"] == "original" and j["nth"] == 1)
    prerouting = next(seen for seen in first["sightings"] if seen["point"] == "B@prerouting")
    assert prerouting["host"] == "B"
    assert (prerouting["interface"], prerouting["way"], prerouting["time_ns"]) == (None, None, None)
    assert (prerouting["ct"]["state"], prerouting["ct"]["direction"]) == ("new", "original")
    assert (prerouting["ct"]["id"] is not None) == trace_carries_conntrack(), "the trace has ids from Linux 6.16 on"
    assert told["capture"]["lost"] == 0
    flow = next(flow for flow in told["flows"] if flow["id"] == first["flow"])
    assert (flow["host"], flow["reply"]["src"], flow["reply"]["sport"]) == ("B", "172.26.0.3", 8080)


@pytest.mark.lab("nodeport", taps=Taps(ask_conntrack=True))
async def test_it_passes_too_where_the_trace_carries_no_conntrack_state(lab):
    """Before Linux 6.16 the taps' own rules tell the state: the same verdict from other evidence."""
    report = await prove(lab)
    assert report.verdict == "pass", report.explain()
    told = [seen.ct for journey in report.record.journeys for seen in journey.sightings if seen.ct is not None]
    assert told
    assert all(ct.id is None and ct.status is None for ct in told)
    assert {flow.entries["B"].reply.src for flow in report.record.flows if "B" in flow.entries} == {"172.26.0.3"}


@pytest.mark.lab("nodeport", taps=Taps(ring=1, buffer=1))
async def test_a_tap_that_drops_makes_the_verdict_unproven(lab):
    report = await prove(lab)
    assert report.record.lost > 0
    assert report.verdict is Verdict.UNPROVEN
    assert report.exit_code == 3
    lossy = [check for check in report.checks if "tap lost" in check.reason]
    assert lossy
    assert all(check.verdict is Verdict.UNPROVEN for check in lossy)
