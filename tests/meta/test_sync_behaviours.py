"""What sync promises, and which tests show it: nothing is promised here that no test shows.

`BEHAVIOURS` are the fourteen behaviours of a mesh of devices that are rarely online together;
`HOSTILE` the acts in the table "Bounds" of sync/PROTOCOL.md. Tests that need root, namespaces or
minutes say so when they are skipped.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SESSION, HOSTILE_UNIT, TRANSPORT, DISCOVERY, PEERS = (
    f"unit/test_sync_{name}.py::test_"
    for name in ("session", "hostile", "transport", "discovery", "peers")
)
RUNNER, NETNS, PROCESSES, HOSTILE_PROCESSES = (
    f"integration/test_sync_{name}.py::test_"
    for name in ("runner", "netns", "processes", "hostile_processes")
)
SETBACKS, KILL, BIG, DISK, BLOCKS = (
    f"integration/test_peering_{name}.py::test_"
    for name in ("setbacks", "kill", "big", "disk", "blocks")
)

BEHAVIOURS: dict[str, tuple[str, ...]] = {
    "1 runs with no network at all": (
        "integration/test_no_network.py::"
        "test_tasks_open_no_socket_beyond_this_machine_where_there_is_only_lo",
        NETNS + "nodes_on_loopback_alone_need_no_network",
    ),
    "2 acknowledged means durable": (
        PROCESSES + "killed_in_the_middle_of_a_transfer_it_goes_on_where_it_was",
        KILL + "nothing_acknowledged_is_lost_when_it_is_killed_at_any_moment",
        "unit/test_sync_intake.py::"
        "test_the_last_item_brings_all_of_them_the_cursor_and_the_acknowledgement_at_once",
        "unit/test_sync_index.py::test_the_store_keeps_items_and_the_cursor_together",
    ),
    "3 survives a database that was set back": (
        SETBACKS + "a_home_rolled_back_by_any_depth_loses_nothing",
        SESSION + "a_log_that_was_set_back_is_noticed_and_nothing_is_lost",
        SESSION + "a_log_that_was_set_back_and_has_the_same_id_at_the_same_row_is_audited",
        "simulator/test_sync_mesh.py::test_every_mesh_converges_and_blames_nobody",
    ),
    "4 converges under cuts": (
        "simulator/test_sync_mesh.py::test_every_mesh_converges_and_blames_nobody",
        NETNS + "a_cable_pulled_in_the_middle_costs_nothing_but_the_time",
        PROCESSES + "five_folders_in_a_chain_have_what_each_of_them_wrote",
    ),
    "5 conforms to negentropy": (
        "vectors/test_sync_negentropy.py::test_a_conversation_is_byte_for_byte_the_golden_one",
        "property/test_sync_reconcile.py::test_the_difference_is_found",
    ),
    "6 costs nothing when equal": (SESSION + "equal_sets_cost_two_frames_each_and_one_round_trip",),
    "7 costs what differs": (
        SESSION + "what_was_made_apart_costs_less_than_100_bytes_an_item_beside_itself",
        "unit/test_sync_cost.py::"
        "test_what_was_made_apart_is_there_after_three_and_a_half_round_trips",
    ),
    "8 resumes on a bad link": (
        NETNS + "killed_three_times_on_a_slow_link_it_sends_each_item_about_once",
        NETNS + "a_smaller_mtu_in_the_middle_of_a_transfer_does_not_end_it",
        SESSION + "nothing_that_arrived_is_sent_again_after_a_cut",
    ),
    "9 is found, and found again": (
        NETNS + "twenty_nodes_see_each_other_although_three_frames_of_ten_are_lost",
        NETNS + "found_by_multicast_after_an_outage_and_at_another_address",
        NETNS + "a_dialling_node_with_another_address_comes_back_by_itself",
        DISCOVERY + "two_nodes_find_each_other_by_multicast_and_meet",
        RUNNER + "a_node_that_went_away_is_found_again_at_its_address",
    ),
    "10 notices dead and sleeping peers": (
        PROCESSES + "a_frozen_peer_is_noticed_and_found_again",
        NETNS + "a_way_that_is_open_in_one_direction_only_is_noticed_by_both",
        RUNNER + "after_sleep_every_channel_is_made_anew_within_three_seconds",
        TRANSPORT + "a_peer_that_does_not_answer_any_more_is_noticed_by_the_heartbeat",
    ),
    "11 talks only to the right key": (
        TRANSPORT + "another_key_at_the_address_is_refused_before_anything_is_said",
        TRANSPORT + "a_forged_client_is_closed_and_no_frame_of_it_is_seen",
        TRANSPORT + "a_proof_that_was_heard_once_is_refused_the_next_time",
        TRANSPORT + "a_proof_passed_on_by_a_man_in_the_middle_is_refused",
        TRANSPORT + "tls_1_2_and_plain_http_are_refused_at_once",
        TRANSPORT + "no_byte_of_a_frame_is_seen_on_the_wire",
    ),
    "12 bounds hostile peers": (
        HOSTILE_PROCESSES
        + "every_hostile_act_leaves_memory_the_set_and_an_honest_peer_as_they_were",
        HOSTILE_PROCESSES + "an_honest_peer_is_at_most_half_as_fast_while_all_others_attack",
        HOSTILE_UNIT + "sessions_full_of_flipped_bytes_store_nothing_forged",
    ),
    "13 small before big": (
        NETNS + "an_item_overtakes_a_large_blob_on_a_slow_link",
        SESSION + "control_items_are_offered_and_given_first",
        BIG + "a_receipt_and_a_revocation_overtake_a_large_file",
        BIG + "a_file_goes_on_after_each_cut_and_sends_at_most_one_leaf_again",
        BLOCKS + "a_peer_that_sends_other_blocks_is_to_blame",
        BLOCKS + "blocks_that_nobody_asked_for_are_not_kept",
    ),
    "14 a full disk and a wrong clock are normal": (
        DISK + "a_full_disk_refuses_files_then_records_says_so_and_recovers",
        DISK + "a_wrong_clock_keeps_nobody_from_meeting",
        SESSION + "a_full_disk_ends_it_and_nothing_half_is_kept",
        "unit/test_sync_index.py::test_a_full_disk_has_its_own_error_and_leaves_the_set_as_it_was",
        PEERS + "a_full_disk_stops_no_one_from_talking",
        PEERS + "a_ban_is_never_longer_than_an_hour_whatever_the_clock_does",
        "simulator/test_sync_mesh.py::test_every_mesh_converges_and_blames_nobody",
    ),
}

_ALL_ACTS = (
    HOSTILE_PROCESSES + "every_hostile_act_leaves_memory_the_set_and_an_honest_peer_as_they_were"
)
HOSTILE: dict[str, tuple[str, ...]] = {
    "forged, altered, too long, or unasked items": (
        _ALL_ACTS,
        HOSTILE_UNIT + "an_altered_item_is_not_stored_and_the_third_ends_it",
        HOSTILE_UNIT + "what_nobody_asked_for_is_not_even_verified",
        HOSTILE_UNIT + "an_item_that_is_too_long_is_a_strike",
        RUNNER + "a_peer_that_forges_is_banned_and_others_are_not_harmed",
    ),
    "bad frames, frames before their time": (
        _ALL_ACTS,
        HOSTILE_UNIT + "nothing_may_come_before_the_hello",
        RUNNER + "junk_from_a_proved_peer_is_three_strikes_and_an_hour_alone",
    ),
    "offers": (
        _ALL_ACTS,
        HOSTILE_UNIT + "a_million_offered_ids_fill_neither_memory_nor_the_disk",
        HOSTILE_UNIT + "offers_that_are_never_given_end_it",
    ),
    "wants": (_ALL_ACTS, HOSTILE_UNIT + "wants_beyond_the_window_or_the_set_end_it"),
    "questions": (HOSTILE_UNIT + "questions_are_bounded",),
    "frames that bring nothing": (HOSTILE_UNIT + "traffic_that_brings_nothing_is_bounded",),
    "whatever costs time and brings nothing": (
        "unit/test_sync_allowance.py::test_all_who_take_much_get_one_share_together",
        "unit/test_sync_allowance.py::"
        "test_who_takes_little_is_never_held_up_whatever_others_do",
        HOSTILE_PROCESSES + "an_honest_peer_is_at_most_half_as_fast_while_all_others_attack",
    ),
    "comparing without end, as initiator": (
        _ALL_ACTS,
        HOSTILE_UNIT + "comparing_without_end_uses_up_the_time_for_it",
        "unit/test_sync_allowance.py::test_a_new_connection_brings_no_new_time_to_compare",
        HOSTILE_PROCESSES + "an_honest_peer_is_at_most_half_as_fast_while_all_others_attack",
    ),
    "saying to have nothing, as responder": (
        "unit/test_sync_rounds.py::"
        "test_who_says_to_have_nothing_has_few_ids_looked_at_for_each_word",
        "unit/test_sync_rounds.py::test_who_takes_nothing_over_is_offered_no_more",
    ),
    "comparison messages that do not wait for the answer": (
        HOSTILE_UNIT + "comparisons_that_do_not_wait_for_an_answer_are_not_answered",
    ),
    "made-up needs, as responder": (
        HOSTILE_UNIT + "a_responder_that_makes_up_ids_gets_nowhere",
    ),
    "promising and not giving": (
        HOSTILE_UNIT + "a_peer_that_promises_and_does_not_give_holds_nobody_up_for_long",
        "unit/test_sync_owed.py::"
        "test_who_gives_other_things_keeps_no_item_from_a_node_and_is_ended",
        "unit/test_sync_owed.py::test_who_leaves_and_comes_again_stands_behind_the_others",
        "unit/test_sync_owed.py::test_an_answer_is_owed_for_so_long_whatever_comes_meanwhile",
    ),
    "ids chosen so that fingerprints collide": (
        HOSTILE_UNIT
        + "a_set_that_only_looks_equal_hides_items_and_no_longer_than_until_they_are_offered",
    ),
    "withholding": (
        SESSION + "a_forgotten_item_is_missed_and_the_sets_are_said_to_differ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "test", sorted({test for tests in (*BEHAVIOURS.values(), *HOSTILE.values()) for test in tests})
)
def test_what_is_promised_is_shown_by_a_test_that_there_is(root: Path, test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((root / "tests" / path).read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions.count(name) == 1


def test_every_hostile_act_of_the_protocol_has_its_test(root: Path) -> None:
    text = (root / "sync" / "PROTOCOL.md").read_text()
    table = text.partition("| hostile act |")[2].partition("\n\n")[0]
    acts = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert acts == list(HOSTILE)
