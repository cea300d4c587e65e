"""core.inference.ood_score: the distance that an image has to the training images."""

import torch

from core.inference.ood_score import Distance


def test_the_distance_is_that_to_the_nearest_class_in_units_of_the_spread() -> None:
    centres = torch.tensor([[-10.0, 0.0], [10.0, 0.0], [10.0, 40.0]])
    distance = Distance(
        origin=torch.zeros(2),
        axes=torch.tensor([[1.0], [0.0]]),
        deviations=torch.tensor([2.0]),
        rest=torch.tensor(4.0),
        centres=centres,
    )
    points = torch.cat([centres, centres.mean(0, keepdim=True), torch.tensor([[14.0, 0.0], [10.0, 48.0]])])
    squares = distance(points).exp() - 1
    middle = (centres.mean(0) - centres) / torch.tensor([2.0, 4.0])
    nearest = middle.square().sum(1).min()
    torch.testing.assert_close(squares, torch.tensor([0.0, 0.0, 0.0, nearest, 4.0, 4.0]), atol=1e-3, rtol=1e-4)
