"""Claim 9 of the course: double descent, and the flip of what stands on polygons (SMD)."""

import functools

import pytest
import torch

from part31_superposition.s6_double_descent import (
    N_FEATURE,
    loss_peak,
    polygon,
    train_on,
)
from utils.testing import generator, require

pytestmark = [pytest.mark.claim, pytest.mark.slow]

PAPER = "SMD (Henighan et al. 2023), the figures of the main result"
N_POINTS = [3, 5, 60, 200, 1000]
SEEDS = [0, 1, 2]


@functools.lru_cache
def experiment_double_descent(seed, device):
    """A reduced sweep: five sizes instead of eleven."""
    gen = generator(seed, device)
    runs = [train_on(n, gen) for n in N_POINTS]
    losses = torch.stack([run["test"] for run in runs])
    return {"n_points": N_POINTS, "test_losses": losses, "few": runs[1], "many": runs[-1]}


def corners_of(run, inst, what):
    """(corners, deviation) of the features or of the points of one instance."""
    W = run["W"][inst]
    return polygon(W if what == "features" else W @ run["x"][:, inst].T)


def spelled(found):
    """`5 corners (2.1°)` for each model."""
    return ", ".join(f"{k} corners ({deviation:.1f}°)" for k, deviation in found)


def test_double_descent__the_worst_test_loss_lies_in_between(result, record_claim):
    """The test loss has its peak between few and many points, above the loss of answering 0"""
    mean = result.test_losses.mean(1).cpu()
    where, ratio = loss_peak(mean)
    record_claim(
        number=9,
        paper=PAPER,
        claim="the test loss peaks between memorising and generalising",
        measured=f"peak at T = {result.n_points[where]}, {ratio:.2f} times the last test loss",
        tolerance="peak at an inner T, loss > 1.1 there, < 1 at the largest T, ratio >= 1.2",
        seeds=[0],
    )
    require(0 < where < len(mean) - 1, f"the worst test loss is at T = {result.n_points[where]}")
    require(mean[where] > 1.1, f"the worst test loss is {mean[where]:.2f}, not clearly above 1")
    require(mean[-1] < 1, f"the last test loss is {mean[-1]:.2f}, not below 1")
    require(ratio >= 1.2, f"the peak is only {ratio:.2f} times the last test loss")


def test_double_descent__five_points_stand_on_a_pentagon_and_features_do_not(result, record_claim):
    """With five points the points stand on a pentagon, and the features do not"""
    points = [corners_of(result.few, i, "points") for i in range(len(result.few["W"]))]
    features = [corners_of(result.few, i, "features") for i in range(len(result.few["W"]))]
    record_claim(
        number=9,
        paper=PAPER,
        claim="with few points the points, not the features, stand on polygons",
        measured=f"points {spelled(points)}; features {spelled(features)}",
        tolerance="points: 5 corners within 15°; features: not (5 corners within 15°)",
        seeds=[0],
    )
    for k, deviation in points:
        require(k == 5 and deviation < 15, f"the points have {k} corners, {deviation:.0f}° off")
    for k, deviation in features:
        require(k != 5 or deviation > 15, "the features stand on a pentagon too")


def test_double_descent__with_many_points_features_stand_on_a_pentagon(result, record_claim):
    """With many points five features stand on a pentagon, and the points do not"""
    features = [corners_of(result.many, i, "features") for i in range(len(result.many["W"]))]
    points = [corners_of(result.many, i, "points") for i in range(len(result.many["W"]))]
    record_claim(
        number=9,
        paper=PAPER,
        claim="with many points features, not the points, stand on polygons",
        measured=f"features {spelled(features)}; corners of the points {[k for k, _ in points]}",
        tolerance="features: 4 to 6 corners, within 10° of regular; points: more than 20 corners",
        seeds=[0],
    )
    for k, deviation in features:
        require(4 <= k <= 6, f"{k} features have a long direction")
        require(deviation < 10, f"the features are {deviation:.0f}° off a regular polygon")
    for k, _ in points:
        require(k > 20, f"the points have only {k} corners")


def test_double_descent__sizes_are_those_of_the_text(result):
    """The run is the one that the text describes"""
    require(result.few["W"].shape[-1] == N_FEATURE, f"train with {N_FEATURE} features")


def test_claim_peak_and_flip_from_other_seeds(record_claim, device):
    """Each seed has a peak in between; most of the six models flip."""
    peaks, points, features = [], [], []
    for seed in SEEDS:
        run = experiment_double_descent(seed, str(device))
        where, ratio = loss_peak(run["test_losses"].mean(1).cpu())
        peaks.append((where, round(ratio, 2)))
        models = range(len(run["few"]["W"]))
        points += [corners_of(run["few"], i, "points") for i in models]
        features += [corners_of(run["many"], i, "features") for i in models]
    at = [f"T = {N_POINTS[where]} ({ratio}×)" for where, ratio in peaks]
    record_claim(
        number=9,
        paper=PAPER,
        claim="peak and flip, from three seeds with two models each",
        measured=f"peaks at {', '.join(at)}; five points: {spelled(points)};"
        f" many points, features: {spelled(features)}",
        tolerance="every peak inside and at least 1.2 times the end; in at least four of six models"
        " each: 5 corners within 15° (points), 4 to 6 corners within 10° (features)",
        seeds=SEEDS,
    )
    assert all(0 < where < len(N_POINTS) - 1 and ratio >= 1.2 for where, ratio in peaks)
    assert sum(k == 5 and deviation < 15 for k, deviation in points) >= 4
    assert sum(4 <= k <= 6 and deviation < 10 for k, deviation in features) >= 4
