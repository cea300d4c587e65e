"""worker.checkup: what is found in features of images, planted beforehand."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from worker.checkup import near_duplicates, unusual, wrong_labels
from worker.checkup.near_duplicates import PICTURE
from worker.checkup.space import DIMENSIONS, project


def clusters(each: int, classes: int, spread: float = 0.7) -> tuple[Tensor, Tensor]:
    """Features of images in clouds of one class each, with their labels."""
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat(each)
    centres = torch.randn(classes, 64, generator=chance)
    return centres[labels] + spread * torch.randn(len(labels), 64, generator=chance), labels


def pictures(count: int) -> Tensor:
    """Blurred noise: pictures that have nothing to do with each other."""
    noise = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return (functional.interpolate(noise, PICTURE, mode="bilinear")[:, 0] * 255).to(torch.uint8)


def directions(features: Tensor) -> Tensor:
    return functional.normalize(project(features), dim=1)


def test_wrong_labels_are_found_with_the_right_class_and_almost_no_others() -> None:
    features, right = clusters(40, 5)
    given = right.clone()
    planted = torch.arange(0, len(right), 21)
    given[planted] = (right[planted] + 2) % 5
    found = wrong_labels.find(project(features), given, 5)
    assert {one.image for one in found} == set(planted.tolist())
    assert [one.suggested for one in found] == right[[one.image for one in found]].tolist()
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_right_labels_are_left_alone_whatever_the_sizes_of_the_classes() -> None:
    features, labels = clusters(100, 3, spread=1.5)
    for kept in (60, 8, 5, 2):  # images of the last class
        some = (labels < 2) | ((labels == 2).cumsum(0) <= kept)
        assert wrong_labels.find(project(features[some]), labels[some], 3) == [], kept


def test_images_of_a_class_of_few_are_not_judged() -> None:
    features, right = clusters(30, 2)
    for given in (torch.zeros_like(right), (torch.arange(len(right)) < 3).long()):
        assert wrong_labels.find(project(features), given, 2) == []


def test_leaving_an_image_out_is_what_fitting_the_others_gives() -> None:
    features, labels = clusters(12, 2)
    space = project(features)
    closed = wrong_labels.left_out(space, labels, 2)
    kernel = wrong_labels._Kernel(space)
    targets = functional.one_hot(labels, 2).double() - 0.5
    whole = kernel.with_landmarks(space)
    for row in range(len(space)):
        others = torch.arange(len(space)) != row
        system = whole[others].T @ whole[others] + wrong_labels.RIDGE * kernel.of_landmarks
        alone = whole[row] @ torch.linalg.solve(system, whole[others].T @ targets[others]) + 0.5
        np.testing.assert_allclose(closed[row], alone, rtol=1e-5)


def test_more_images_than_the_kernel_compares_with_are_judged_as_well() -> None:
    features, right = clusters(1_200, 2)
    given = right.clone()
    given[5] = 1 - given[5]
    assert len(given) > wrong_labels.LANDMARKS
    assert [one.image for one in wrong_labels.find(project(features), given, 2)] == [5]


def test_an_image_unlike_its_class_is_found_and_ordinary_ones_are_not() -> None:
    features, labels = clusters(40, 3)
    features[7] = -3 * features[7]
    assert [one.image for one in unusual.find(directions(features), labels)] == [7]
    few = torch.arange(3).repeat(unusual.MIN_IMAGES)[:-1]
    assert unusual.find(directions(features)[-len(few) :], few) == []


def test_a_picture_encoded_again_is_paired_with_the_first_one() -> None:
    features, _ = clusters(10, 5)
    small = pictures(len(features))
    chance = torch.Generator().manual_seed(1)
    for copy, first in ((20, 3), (49, 20)):
        noise = torch.randint(-4, 5, small[first].shape, generator=chance)
        small[copy] = (small[first].short() + noise).clamp(0, 255).to(torch.uint8)
        features[copy] = features[first] + 0.1 * torch.randn(64, generator=chance)
    found = near_duplicates.find(directions(features), small)
    assert {(pair.image, pair.like) for pair in found} <= {(20, 3), (49, 20), (49, 3)}
    assert sorted(pair.image for pair in found) == [20, 49]


def test_a_like_picture_of_something_else_is_no_duplicate() -> None:
    features, _ = clusters(10, 5)
    small = pictures(len(features))
    small[1] = small[0]
    features[1] = -features[0]
    assert near_duplicates.find(directions(features), small) == []
    small[2:] = 100  # plain ones have nothing to compare
    assert near_duplicates.find(directions(features), small) == []


def test_the_space_has_few_dimensions_and_is_the_same_each_time() -> None:
    features = torch.randn(300, 700, generator=torch.Generator().manual_seed(0))
    first = project(features, features[:, :50])
    assert first.shape == (300, DIMENSIONS)
    torch.manual_seed(5)
    assert torch.equal(first, project(features, features[:, :50]))
    assert project(features[:3]).shape == (3, 3)
