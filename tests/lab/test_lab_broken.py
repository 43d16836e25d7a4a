"""The same lab with one thing broken at a time: the verdict must fail, and name the right host and point."""

from __future__ import annotations

from netemu import Lab, Report, Topology, Verdict
from netemu.topology.load import loads

SNAT = "      -A POSTROUTING -d 172.26.0.3  -p tcp --dport 8080  -j SNAT --to-source 192.168.0.2\n"


async def outcome(text: str) -> Report:
    topology, _ = loads(text)
    async with Lab(topology) as lab:
        return await lab.prove()


def broken(nodeport: str, old: str, new: str) -> str:
    """The topology with one thing changed, and little patience, as much of it will not be answered."""
    assert nodeport.count(old) == 1, "the shipped topology has changed: break it elsewhere"
    return nodeport.replace(old, new).replace("from: A,", "from: A, within: 300ms,")


def failed(report: Report) -> dict[str, str]:
    """The failed checks' points, and why."""
    return {check.name: f"{check.point}: {check.reason}" for check in report.checks if check.verdict is Verdict.FAIL}


async def test_dnat_to_another_pod_port_fails_at_bs_prerouting(nodeport):
    report = await outcome(broken(nodeport, "--to-destination 172.26.0.3:8080", "--to-destination 172.26.0.3:8081"))
    assert report.verdict is Verdict.FAIL
    (check,) = [check for check in report.checks if check.name == "hello request.first B@prerouting.nat"]
    assert (check.verdict, check.point) == (Verdict.FAIL, "B@prerouting.nat")
    assert (check.expected["dst"], check.actual["dst"]) == ("172.26.0.3:8080", "172.26.0.3:8081")
    assert check.before["dst"] == "192.168.0.2:30000"
    assert check.before["point"] == "B@prerouting"


async def test_snat_to_a_wrong_address_fails_at_bs_postrouting(nodeport):
    report = await outcome(broken(nodeport, SNAT, SNAT.replace("--to-source 192.168.0.2", "--to-source 192.168.0.9")))
    assert report.verdict is Verdict.FAIL
    (check,) = [check for check in report.checks if check.name == "hello request.first B@postrouting.nat"]
    assert (check.verdict, check.point) == (Verdict.FAIL, "B@postrouting.nat")
    assert check.actual["src"].startswith("192.168.0.9:")


async def test_snat_missing_fails_at_bs_postrouting_where_nothing_was_rewritten(nodeport):
    report = await outcome(broken(nodeport, SNAT, ""))
    assert report.verdict is Verdict.FAIL
    (check,) = [check for check in report.checks if check.name == "hello request.first B@postrouting.nat"]
    assert check.verdict is Verdict.FAIL
    assert check.actual["by"] is None
    assert check.actual["src"].startswith("192.168.0.1:")
    assert "no rules of B contain '--dport 8080'" in failed(report)["counter at B: --dport 8080"]


async def test_dnat_in_output_instead_of_prerouting_fails_at_bs_prerouting(nodeport):
    rule = "-A PREROUTING  -d 192.168.0.2 -p tcp"
    report = await outcome(broken(nodeport, rule, rule.replace("PREROUTING", "OUTPUT")))
    assert report.verdict is Verdict.FAIL
    told = failed(report)
    assert "B@prerouting.nat: request 1: dst, by, rule at B@prerouting.nat" in told.values()
    assert "delivered to B itself" in told["hello request.first B@postrouting.nat"]
    assert "connection refused" in told["hello answered"]


async def test_forwarding_off_on_b_fails_and_says_so(nodeport):
    report = await outcome(broken(nodeport, "  B:\n    forwarding: true", "  B:\n    forwarding: false"))
    assert report.verdict is Verdict.FAIL
    told = failed(report)
    assert "last seen at B@prerouting.nat: B does not forward" in told["hello answered"]
    assert told["hello answered"].startswith("B@prerouting.nat: no answer within 300ms")
    assert "never came to B@postrouting.nat" in told["hello request.first B@postrouting.nat"]


async def test_no_route_back_from_the_pod_fails_and_names_the_pod(nodeport):
    report = await outcome(broken(nodeport, "    routes: [{to: default, via: 172.26.0.1}]\n", ""))
    assert report.verdict is Verdict.FAIL
    assert "delivered to pod itself, last seen at pod@input.nat" in failed(report)["hello answered"]
    reply = next(check for check in report.checks if check.name == "hello reply.first B@prerouting.nat")
    assert reply.verdict is Verdict.UNPROVEN
    assert "no reply.first was seen" in reply.reason


async def test_no_route_to_the_pod_on_b_fails_where_b_lets_go_of_the_packet(nodeport):
    report = await outcome(broken(nodeport, "    routes: [{to: 172.26.0.0/24, via: 192.168.0.3}]\n", ""))
    assert report.verdict is Verdict.FAIL
    assert "last seen at B@prerouting.nat: B has no route for it" in failed(report)["hello answered"]


async def test_expecting_a_rule_for_packet_two_fails_as_conntrack_rewrote_it(nodeport):
    text = (
        nodeport + "  - {traffic: hello, packet: request.2, at: B@prerouting.nat, dst: '172.26.0.3:8080', by: rule}\n"
    )
    report = await outcome(text)
    (check,) = [check for check in report.checks if check.verdict is not Verdict.PASS]
    assert (check.verdict, check.point) == (Verdict.FAIL, "B@prerouting.nat")
    assert (check.expected["by"], check.actual["by"]) == ("rule", "conntrack")


async def test_expecting_a_packet_where_none_comes_fails_and_says_where_it_went(nodeport):
    report = await outcome(nodeport + "  - {traffic: hello, packet: request.first, at: B@input, ttl: 64}\n")
    (check,) = [check for check in report.checks if check.verdict is not Verdict.PASS]
    assert (check.verdict, check.point) == (Verdict.FAIL, "B@input")
    assert "request 1 never came to B@input: delivered to pod itself" in check.reason


async def test_a_filter_rule_that_drops_is_named(nodeport):
    drop = "      COMMIT\n      *filter\n      -A FORWARD -p tcp --dport 8080 -j DROP\n      COMMIT\n"
    report = await outcome(broken(nodeport, "      COMMIT\n", drop))
    assert (
        "dropped by filter FORWARD, -A FORWARD -p tcp -m tcp --dport 8080 -j DROP" in failed(report)["hello answered"]
    )


async def test_a_policy_that_drops_is_named(nodeport):
    drop = "      COMMIT\n      *filter\n      :FORWARD DROP [0:0]\n      COMMIT\n"
    report = await outcome(broken(nodeport, "      COMMIT\n", drop))
    assert "dropped by filter FORWARD, policy" in failed(report)["hello answered"]


async def test_a_service_that_answers_nothing_is_traffic_without_an_answer(nodeport):
    report = await outcome(
        broken(nodeport, 'udp: {to: "192.168.0.2:30053", count: 2', 'udp: {to: "192.168.0.2:30053", count: 1')
    )
    assert "no answer within 300ms; request 1 was delivered to pod" in failed(report)["pair answered"]


async def test_the_same_lab_without_its_expectations_still_checks_that_it_was_answered(nodeport):
    topology, _ = loads(nodeport)
    bare = Topology.model_validate({**topology.model_dump(by_alias=True), "expect": ()})
    async with Lab(bare) as lab:
        report = await lab.prove()
    assert report.verdict is Verdict.PASS
    assert {check.name for check in report.checks} == {
        "hello answered",
        "pair answered",
        "every tap sound",
        "B: trace and rule counters agree",
    }
