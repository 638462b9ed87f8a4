"""Figures of 3.2.5: every number that goes in is drawn, and axes have names."""

import torch

from utils.plots import circuits


def named(fig):
    """Whether the horizontal axis has a name."""
    return bool(fig.layout.xaxis.title.text)


def test_agreement_draws_a_bar_with_its_interval_for_each_way():
    found = {"small": [(0.9, 0.8, 0.95), (0.2, 0.1, 0.4)], "large": [(0.5, 0.4, 0.6)] * 2}
    fig = circuits.agreement(found, ["live", "frozen"], "correlation")
    assert [list(bar.y) for bar in fig.data] == [[0.9, 0.2], [0.5, 0.5]] and named(fig)
    assert list(fig.data[0].error_y.array) == [0.05, 0.2]
    assert list(fig.data[0].error_y.arrayminus) == [0.1, 0.1]


def test_by_position_names_the_words():
    fig = circuits.by_position({"a": torch.tensor([1.0, -2.0])}, ["one", "two"], "score", "title")
    assert list(fig.data[0].y) == [1.0, -2.0] and named(fig)
    assert list(fig.layout.xaxis.ticktext) == ["one", "two"]


def test_size_curves_draw_a_line_for_each_kind():
    curves = {name: [(0.0, -0.1, 0.1), (1.0, 0.9, 1.1)] for name in ("circuit", "random")}
    fig = circuits.size_curves([5, 50], curves)
    assert [line.name for line in fig.data] == ["circuit", "random"] and named(fig)
    assert list(fig.data[0].x) == [5, 50] and fig.layout.xaxis.type == "log"


def test_circuit_map_puts_nodes_at_their_place_and_lines_between():
    nodes = [(0, 1, "low", -2.0), (0, 1, "low too", 1.0), (1, 2, "high", -1.0)]
    fig = circuits.circuit_map(nodes, [(0, 2, -0.5), (1, 2, 0.1)], ["a", "b", "c"], ["s0", "s1"])
    lines = [trace for trace in fig.data if trace.mode == "lines"]
    dots = [trace for trace in fig.data if trace.mode == "markers"]
    assert len(lines) == 2 and sum(len(trace.x) for trace in dots) == 3 and named(fig)
    assert lines[0].line.width > lines[1].line.width
    assert lines[0].x[0] != lines[1].x[0], "two nodes at one place lie side by side"


def test_label_dots_and_accuracies_draw_every_value():
    fig = circuits.label_dots({"circuit": [0.2, 0.8], "others": [0.5]}, "AUC")
    assert [len(trace.x) for trace in fig.data] == [2, 1] and named(fig)
    fig = circuits.accuracies({"biased": (0.5, 0.4, 0.6), "oracle": (0.9, 0.8, 1.0)}, "accuracy")
    assert list(fig.data[0].text) == ["50%", "90%"] and named(fig)
