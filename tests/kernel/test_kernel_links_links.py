"""Links of real namespaces: what was asked for is what the kernel then says is there."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import socket
import struct
import time
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netemu.errors import KernelError
from netemu.kernel.links import inventory
from netemu.kernel.links.interfaces import HEAD, RECEIVE_QUEUES, SEND_QUEUES, which
from netemu.kernel.links.links import Links
from netemu.kernel.links.qdisc import Shape, root
from netemu.kernel.links.queues import waiting
from netemu.kernel.links.rtnetlink import BATCH, CREATE, GET_LINK, NEW_QDISC, REPLACE, RefusedError, attributes
from netemu.kernel.spaces.namespace import NetworkNamespace


@pytest.fixture
def two():
    """Two namespaces without a link."""
    nets = [NetworkNamespace.create(name) for name in ("left", "right")]
    links = [Links(net) for net in nets]
    yield links
    for thing in (*links, *nets):
        thing.close()


@pytest.fixture
async def pair(two):
    """Two namespaces with a running link: 192.0.2.1 and 192.0.2.2."""
    left, right = two
    await left.add_veth("eth0", right, "eth0")
    for number, links in enumerate(two, 1):
        links.add_address("eth0", ip_interface(f"192.0.2.{number}/24"))
        links.add_address("eth0", ip_interface(f"2001:db8::{number}/64"))
        links.set_up("lo")
        links.set_up("eth0")
        links.flush()
    for links in two:
        await links.until_running(["eth0"])
    return two


def routes(links, **wanted):
    """The routes in which `wanted` holds."""
    return [route for route in inventory.read_routes(links, links.names()) if wanted.items() <= route.items()]


def qdisc_of(links, name):
    found = inventory.read_qdiscs(links, links.names())
    return next((entry["kind"] for entry in found if entry["ifname"] == name and entry["root"]), None)


def round_trip(left, right):
    """Seconds that a datagram takes from left to right."""
    with left.net.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with right.net.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind(("192.0.2.2", 9))
        receiver.settimeout(2)
        start = time.perf_counter()
        sender.sendto(b"x", ("192.0.2.2", 9))
        receiver.recv(1)
        return time.perf_counter() - start


async def test_many_requests_go_in_one_batch_and_all_are_carried_out(two):
    left, right = two
    count = 3 * BATCH + 7
    await left.add_veth("eth0", right, "eth0")
    for number in range(count):
        left.add_address("eth0", ip_interface(f"10.{number // 250}.{number % 250}.1/32"))
    left.flush()
    assert len(inventory.read_addresses(left, left.names())) == count


async def test_a_refusal_names_the_request_and_leaves_the_others_carried_out(two):
    left, right = two
    left.add_veth("eth0", right, "eth0")
    left.add_address("eth0", ip_interface("10.0.0.1/24"))
    twice = left.add_address("eth0", ip_interface("10.0.0.1/24"))
    left.add_address("eth0", ip_interface("10.0.0.2/24"))
    with pytest.raises(RefusedError) as caught:
        left.flush()
    assert caught.value.request is twice
    assert caught.value.number == errno.EEXIST
    assert "host left: address 10.0.0.1/24 on eth0" in str(caught.value)
    assert len(inventory.read_addresses(left, left.names())) == 2
    left.flush()  # what was refused is not asked for again


async def test_a_refused_request_in_the_middle_of_many_batches_is_told_apart(two):
    left, right = two
    left.add_veth("eth0", right, "eth0")
    asked = [left.add_address("eth0", ip_interface(f"10.0.{number % 200}.1/32")) for number in range(3 * BATCH)]
    with pytest.raises(RefusedError) as caught:
        left.flush()
    assert caught.value.request is asked[200]


async def test_both_ends_of_a_veth_are_made_as_asked_for_in_one_request(two):
    left, right = two
    await left.add_bridge("bridge", up=True)
    await left.add_veth("port1", right, "eth0", (None, "02:00:00:00:00:01"), (1400, 1400), bridge="bridge", up=True)
    (port,) = [entry for entry in inventory.read_interfaces(left) if entry["ifname"] == "port1"]
    (end,) = [entry for entry in inventory.read_interfaces(right) if entry["ifname"] == "eth0"]
    assert (port["master"], port["mtu"], port["up"], port["kind"]) == ("bridge", 1400, True, "veth")
    assert (end["address"], end["mtu"], end["up"]) == ("02:00:00:00:00:01", 1400, False)
    assert (port["ifindex"], end["ifindex"]) == (left.index["port1"], right.index["eth0"])


async def test_a_veth_has_one_queue_each_way_at_either_end(pair):
    for links in pair:
        eth0 = links.requests.ask("eth0", GET_LINK, which(links.index["eth0"]))
        told = attributes(eth0, HEAD)
        assert [told[kind] for kind in (SEND_QUEUES, RECEIVE_QUEUES)] == [struct.pack("=I", 1)] * 2


async def test_the_ends_of_a_veth_never_share_their_index(two):
    left, right = two
    for number in range(5):
        left.add_veth(f"a{number}", right, f"b{number}")
        assert left.index[f"a{number}"] != right.index[f"b{number}"]
        right.add_veth(f"c{number}", left, f"d{number}")
        assert left.index[f"d{number}"] != right.index[f"c{number}"]
    for links in two:
        links.flush()


async def test_interfaces_run_at_once_when_both_ends_are_up(two):
    left, right = two
    await left.add_veth("eth0", right, "eth0")
    start = time.perf_counter()
    for links in two:
        await links.set_up("eth0")
    async with asyncio.timeout(5):
        for links in two:
            await links.until_running(["eth0"])
    assert time.perf_counter() - start < 0.9  # not at the kernel's once-a-second look
    assert {entry["operstate"] for entry in inventory.read_interfaces(left) if entry["ifname"] == "eth0"} == {"UP"}


async def test_an_interface_whose_other_end_comes_up_later_is_waited_for(two):
    left, right = two
    await left.add_veth("eth0", right, "eth0")
    await left.set_up("eth0")
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(left.until_running(["eth0"]))
        await asyncio.sleep(0)
        assert not waiting.done()
        await right.set_up("eth0")
        await waiting


async def test_addresses_are_usable_at_once_and_have_a_broadcast_address_where_there_is_one(pair):
    left, _ = pair
    left.add_address("eth0", ip_interface("10.9.9.0/31"))
    await left.add_address("lo", ip_interface("127.9.9.9/8"))
    told = {entry["local"]: entry for entry in inventory.read_addresses(left, left.names())}
    assert told["192.0.2.1"]["broadcast"] == "192.0.2.255"
    assert "broadcast" not in told["10.9.9.0"]
    assert told["127.9.9.9"]["scope"] == "host"
    with left.net.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        sock.bind(("2001:db8::1", 9))


async def test_routes_of_every_kind_are_there_as_asked_for(pair):
    left, _ = pair
    left.add_route("default", via=ip_address("192.0.2.2"), metric=50)
    left.add_route("default", via=ip_address("2001:db8::2"))
    left.add_route(ip_network("10.1.0.0/16"), dev="eth0", table=1000, source=ip_address("192.0.2.1"))
    left.add_route(ip_network("10.2.0.0/16"), kind="blackhole")
    left.add_route(ip_network("2001:db8:2::/48"), kind="unreachable")
    left.add_route(ip_network("10.3.0.0/16"), via=ip_address("2001:db8::2"), dev="eth0")
    hops = [(ip_address("192.0.2.2"), None, 1), (ip_address("192.0.2.3"), "eth0", 4)]
    await left.add_route(ip_network("10.4.0.0/16"), nexthops=hops)
    assert routes(left, dst="default", gateway="192.0.2.2", metric=50, table="main", protocol="static")
    assert routes(left, dst="default", gateway="2001:db8::2", family="inet6")
    assert routes(left, dst="10.1.0.0/16", dev="eth0", table="1000", prefsrc="192.0.2.1", scope="link")
    assert routes(left, dst="10.2.0.0/16", type="blackhole")
    assert routes(left, dst="2001:db8:2::/48", type="unreachable")
    assert routes(left, dst="10.3.0.0/16", gateway="2001:db8::2")
    (several,) = routes(left, dst="10.4.0.0/16")
    assert [(hop["gateway"], hop["dev"], hop["weight"]) for hop in several["nexthops"]] == [
        ("192.0.2.2", "eth0", 1),
        ("192.0.2.3", "eth0", 4),
    ]


async def test_a_gateway_that_no_network_leads_to_is_refused_with_what_that_means(pair):
    with pytest.raises(KernelError, match=r"host left: route to 10\.0\.0\.0/8: .*in no network of this host"):
        await pair[0].add_route(ip_network("10.0.0.0/8"), via=ip_address("198.51.100.1"))


async def test_policy_rules_are_there_as_asked_for(pair):
    left, _ = pair
    left.add_rule(source=ip_network("10.0.0.0/8"), iif="eth0", table=1000, priority=100)
    left.add_rule(mark=(0x10, 0xF0), table=300, priority=101)
    left.add_rule(to=ip_network("10.5.0.0/16"), tos=0x10, kind="prohibit", priority=102)
    await left.add_rule(version=6, to=ip_network("2001:db8::/32"), oif="eth0", table=7, priority=103)
    told = {(rule["family"], rule["priority"]): rule for rule in inventory.read_rules(left)}
    assert {"src": "10.0.0.0/8", "iif": "eth0", "table": "1000"}.items() <= told["inet", 100].items()
    assert {"fwmark": 0x10, "fwmask": 0xF0, "table": "300"}.items() <= told["inet", 101].items()
    assert {"dst": "10.5.0.0/16", "tos": 0x10, "type": "prohibit"}.items() <= told["inet", 102].items()
    assert {"dst": "2001:db8::/32", "oif": "eth0", "table": "7"}.items() <= told["inet6", 103].items()


async def test_a_link_goes_down_and_up_and_changes_its_mtu_and_mac(pair):
    left, right = pair
    await left.set_down("eth0")
    assert [entry["up"] for entry in inventory.read_interfaces(left) if entry["ifname"] == "eth0"] == [False]
    left.set_mtu("eth0", 1300)
    left.set_mac("eth0", "02:00:00:00:00:09")
    await left.set_up("eth0")
    async with asyncio.timeout(5):
        await right.until_running(["eth0"])
    (end,) = [entry for entry in inventory.read_interfaces(left) if entry["ifname"] == "eth0"]
    assert (end["mtu"], end["address"], end["up"]) == (1300, "02:00:00:00:00:09", True)


async def test_a_rate_holds_back_what_is_sent_and_taken_away_no_longer_does(pair):
    left, right = pair
    await left.shape("eth0", Shape(rate=1_000_000))
    assert qdisc_of(left, "eth0") == "tbf"
    await left.shape("eth0", Shape(rate=50_000_000, queue=20))
    assert qdisc_of(left, "eth0") == "tbf"
    assert round_trip(left, right) < 1
    await left.unshape("eth0")
    assert qdisc_of(left, "eth0") is None
    with pytest.raises(RefusedError):
        await left.unshape("eth0")


def passed(left, right):
    """How many of 300 short datagrams, sent at once, come through."""
    with left.net.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with right.net.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind(("192.0.2.2", 9))
        receiver.settimeout(1)
        for number in range(300):
            sender.sendto(number.to_bytes(2), ("192.0.2.2", 9))
        count = 0
        with contextlib.suppress(TimeoutError):
            while receiver.recv(2):
                count += 1
        return count


async def test_a_queue_holds_so_many_packets_however_short_they_are(pair):
    """Beside those that the full bucket lets through at once: two frames, 3,028 bytes, of datagrams in 44."""
    left, right = pair
    round_trip(left, right)  # its neighbour is known
    kinds = {}
    for queue in (10, None, 20, 10):
        await left.shape("eth0", Shape(rate=100_000, queue=queue))
        (kinds[queue],) = {
            entry["kind"]
            for entry in inventory.read_qdiscs(left, left.names())
            if entry["ifname"] == "eth0" and not entry["root"]
        }
    assert kinds == {10: "pfifo", None: "bfifo", 20: "pfifo"}
    at_once, in_time = 3028 // 44 + 1, 15
    assert 10 <= passed(left, right) <= at_once + 10 + in_time


async def test_a_bucket_has_room_for_its_packets_before_its_own_queue_is_there(pair):
    left, right = pair
    round_trip(left, right)
    shape = Shape(rate=8, queue=10)
    await left._ask("root", NEW_QDISC, root(left.index["eth0"], shape, 1500), CREATE | REPLACE)
    assert passed(left, right) == 3028 // 44
    assert waiting(left) >= 10


async def test_the_slowest_rate_has_its_whole_bucket_and_no_more(pair):
    """What `tc` shows of it has wrapped: filling it takes 50 minutes."""
    left, right = pair
    round_trip(left, right)
    await left.shape("eth0", Shape(rate=8))
    assert passed(left, right) == 3028 // 44


async def test_a_delay_is_applied_and_replaced_or_its_lack_is_said_by_name(pair):
    left, right = pair
    try:
        await left.shape("eth0", Shape(delay_ns=30_000_000, reorder=0.1, corrupt=0.1, rate=10_000_000))
    except KernelError as error:
        assert "this kernel has no sch_netem" in str(error)  # noqa: PT017  one of two kernels
        return
    assert qdisc_of(left, "eth0") == "netem"
    await left.shape("eth0", Shape(delay_ns=40_000_000))
    assert round_trip(left, right) >= 0.04
    await left.shape("eth0", Shape(rate=50_000_000))
    assert qdisc_of(left, "eth0") == "tbf"


async def test_a_vxlan_interface_carries_between_two_hosts(pair):
    for links, mine, other in zip(pair, (1, 2), (2, 1), strict=True):
        local, remote = ip_address(f"192.0.2.{mine}"), ip_address(f"192.0.2.{other}")
        links.add_vxlan("flannel.1", 1, port=8472, dev="eth0", local=local, remote=remote)
        links.add_address("flannel.1", ip_interface(f"10.244.0.{mine}/24"))
        await links.set_up("flannel.1")
    left, right = pair
    with left.net.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with right.net.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind(("10.244.0.2", 9))
        receiver.settimeout(2)
        sender.sendto(b"tunnelled", ("10.244.0.2", 9))
        assert receiver.recv(64) == b"tunnelled"


async def test_a_macvlan_interface_is_made_on_top_of_another(pair):
    left, _ = pair
    await left.add_macvlan("eth0.1", "eth0", "private", mac="02:00:00:00:00:07")
    (made,) = [entry for entry in inventory.read_interfaces(left) if entry["ifname"] == "eth0.1"]
    assert (made["kind"], made["address"]) == ("macvlan", "02:00:00:00:00:07")


async def test_all_names_holds_what_the_lab_did_not_make(pair):
    left, _ = pair
    stranger = Links(left.net)
    stranger._last = 76
    try:
        await stranger.add_bridge("stranger")
    finally:
        stranger.close()
    assert "stranger" in (await left.all_names()).values()
    assert "stranger" not in left.index


GET_OFFLOAD = {"rx": 0x14, "tx": 0x16, "sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}


async def test_switched_off_no_offload_of_a_veth_is_left(pair):
    left, _ = pair
    left.switch_off({"eth0": ()})
    with left.net.entered():
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    told = {}
    with control:
        for name, command in GET_OFFLOAD.items():
            value = array.array("I", [command, 1])
            fcntl.ioctl(control, 0x8946, struct.pack("16sP16x", b"eth0", value.buffer_info()[0]))
            told[name] = value[1]
    assert told == dict.fromkeys(GET_OFFLOAD, 0)
