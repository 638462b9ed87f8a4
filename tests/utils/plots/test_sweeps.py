"""The figure of a sweep."""

from utils.plots.sweeps import frontier


def test_every_sae_is_a_point_and_the_front_a_line():
    names = ("topk-8-k2-s0", "topk-8-k4-s0", "relu-8-l1-s0", "relu-16-l1-s0")
    cells = [(2.0, 0.5), (4.0, 0.8), (5.0, 0.6), (6.0, 0.9)]
    results = [
        {"name": n, "architecture": n.split("-")[0], "latent": int(n.split("-")[1]), "l0": x,
         "explained_variance": y, "dead": 0.25}
        for n, (x, y) in zip(names, cells, strict=True)
    ]  # fmt: skip
    fig = frontier(results, "four")
    assert [len(trace.x) for trace in fig.data] == [2, 1, 1, 3]
    assert list(fig.data[-1].x) == [2.0, 4.0, 6.0] and fig.layout.xaxis.type == "log"
    assert "dead 25.0%" in fig.data[0].text[0]
