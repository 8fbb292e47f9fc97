"""What a switch's error message says, in words (OpenFlow 1.3.5 §7.4.4)."""

from __future__ import annotations

from os_ken.ofproto import ofproto_v1_3 as ofp

_KINDS = {
    ofp.OFPET_BAD_REQUEST: ("bad request", "OFPBRC_"),
    ofp.OFPET_BAD_ACTION: ("bad action", "OFPBAC_"),
    ofp.OFPET_BAD_INSTRUCTION: ("bad instruction", "OFPBIC_"),
    ofp.OFPET_BAD_MATCH: ("bad match", "OFPBMC_"),
    ofp.OFPET_FLOW_MOD_FAILED: ("flow-mod failed", "OFPFMFC_"),
    ofp.OFPET_GROUP_MOD_FAILED: ("group-mod failed", "OFPGMFC_"),
    ofp.OFPET_TABLE_MOD_FAILED: ("table-mod failed", "OFPTMFC_"),
    ofp.OFPET_SWITCH_CONFIG_FAILED: ("set-config failed", "OFPSCFC_"),
    ofp.OFPET_ROLE_REQUEST_FAILED: ("role request failed", "OFPRRFC_"),
    ofp.OFPET_METER_MOD_FAILED: ("meter-mod failed", "OFPMMFC_"),
    ofp.OFPET_TABLE_FEATURES_FAILED: ("table features failed", "OFPTFFC_"),
}
_CODES = {
    (kind, getattr(ofp, name)): name.removeprefix(prefix).lower().replace("_", " ")
    for kind, (_, prefix) in _KINDS.items()
    for name in dir(ofp)
    if name.startswith(prefix)
}


def error_words(kind: int, code: int) -> str:
    """ "bad action, bad set type"; numbers where OpenFlow 1.3 has no name for them."""
    words, _ = _KINDS.get(kind, (f"error type {kind}", ""))
    return f"{words}, {_CODES.get((kind, code), f'code {code}')}"


# Why a switch has not taken what it was asked, although it may take it another time.
_PASSING = (
    *(
        error_words(kind, code)
        for kind, code in (
            (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL),
            (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_OVERLAP),
            (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_OUT_OF_GROUPS),
            (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_OUT_OF_BUCKETS),
            (ofp.OFPET_GROUP_MOD_FAILED, ofp.OFPGMFC_GROUP_EXISTS),
        )
    ),
    _KINDS[ofp.OFPET_BAD_REQUEST][0],  # with a code that is about who asks, e.g. its former master
)


def may_pass(why: str) -> bool:
    """Has a switch refused for a reason, in these words, that may be gone another time?

    Only of an error that does not say that it lacks what was asked; any other reason, also none, is a refusal.
    """
    return why.startswith(_PASSING)
