"""Others delete or edit rules on a switch: what is bound stays bound, and everything is put right (M20)."""

from __future__ import annotations

from scenes import SERVICE, ask, bindings, client_edge, edge, payloads, web

from anycast_sdn.openflow.pipeline import number_of


def of_bindings(net, name="arh1"):
    return {key: rule for key, rule in net.switches[name].flows.items() if number_of(rule.cookie)}


def test_rules_of_bindings_that_somebody_deletes_are_put_back_and_no_binding_ends(build, v6):
    net = build("figure1", "as2")
    for port in range(40000, 40010):
        ask(net, port=port, service=SERVICE[v6])
    before, rules = bindings(net), of_bindings(net)
    net.delete_rules("arh1", rules)
    net.advance(1)
    assert (bindings(net), of_bindings(net)) == (before, rules)
    assert edge(net, "arh1").repairs == {"missing": 20}
    ask(net, service=SERVICE[v6], payload=b"still there?")
    assert payloads(net.host("h1").received)[-1] == b"still there?"


def test_rules_that_the_controller_deletes_are_not_put_back(build):
    """The switch reports them in the same way."""
    net = build("figure1", "as2", validity={"udp_s": 3})
    ask(net)
    net.set_groups(web(net.network))
    net.advance(10)
    assert bindings(net) == []
    assert of_bindings(net) == {}
    assert edge(net, "arh1").repairs == {}


def test_whoever_deletes_again_and_again_has_no_more_done_than_he_does(build):
    net = build("figure1", "as2")
    ask(net)
    (binding,) = bindings(net)
    for again in range(1, 9):
        net.delete_rules("arh1", of_bindings(net))
        net.advance(0.3)
        assert edge(net, "arh1").repairs["missing"] == 2 * again
    assert bindings(net) == [binding]


def test_many_rules_are_put_back_in_parts(build, monkeypatch):
    monkeypatch.setattr("anycast_sdn.control.translation.PUT_BACK_AT_ONCE", 3)
    net = build("figure1", "as2")
    for port in range(40000, 40010):
        ask(net, port=port)
    rules = of_bindings(net)
    net.delete_rules("arh1", rules)
    net.advance(0.3)
    assert 0 < len(of_bindings(net)) <= 2 * 2 * 3
    net.advance(2)
    assert of_bindings(net) == rules


def test_a_binding_that_ends_before_its_rule_is_put_back_stays_ended(build):
    net = build("figure1", "as2")
    ask(net)
    (binding,) = bindings(net)
    net.delete_rules("arh1", of_bindings(net))
    net.advance(0.002)
    client_edge(net).release(binding, net.now)
    net.advance(1)
    assert of_bindings(net) == {}
