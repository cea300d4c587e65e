"""worker.training.head_fit: the head of a frozen backbone, fitted on all images at once."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from worker.data.splits import Split
from worker.training import head_fit
from worker.training.fit import Interrupted
from worker.training.head_fit import DECAYS, Objective, fit_head

NOTHING = Split(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))


def features(count: int, noise: float, seed: int = 0) -> Split:
    """Three classes around their centres, in six dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    values = torch.eye(3, 6)[labels] + noise * torch.randn(count, 6, generator=generator)
    return Split(values, labels)


def test_a_linear_head_is_the_logistic_regression_of_scikit_learn() -> None:
    train, decay = features(90, 0.7), 0.01
    head = nn.Linear(6, 3)
    fitted = fit_head(head, train, NOTHING, Objective(), decay)
    assert isinstance(train.images, torch.Tensor)
    theirs = LogisticRegression(C=1 / (decay * len(train)), tol=1e-8, max_iter=1000).fit(train.images, train.labels)
    with torch.no_grad():
        ours = head(train.images).softmax(1)
    torch.testing.assert_close(ours.double(), torch.from_numpy(theirs.predict_proba(train.images)), rtol=0, atol=2e-3)
    assert fitted.weight_decay == decay
    assert fitted.epoch.accuracy == pytest.approx(theirs.score(train.images, train.labels))


def test_passes_in_pieces_find_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.tensor([1.0, 2.0, 0.5])
    heads = []
    for size in (4_096, 7):
        monkeypatch.setattr(head_fit, "PASS_BATCH", size)
        torch.manual_seed(0)
        heads.append(nn.Linear(6, 3))
        fit_head(heads[-1], features(60, 0.5), NOTHING, Objective(weights, smoothing=0.1), 0.1)
    torch.testing.assert_close(heads[0].weight, heads[1].weight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("held_back", [0, 60])
def test_the_more_noise_there_is_the_stronger_the_decay_that_unseen_images_choose(held_back: int) -> None:
    chosen = []
    for noise in (0.05, 3.0):
        validation = features(held_back, noise, seed=1) if held_back else NOTHING
        chosen.append(fit_head(nn.Linear(6, 3), features(60, noise), validation, Objective(), None).weight_decay)
    assert chosen == [DECAYS[-1], DECAYS[0]]


def test_frozen_weights_stay_and_two_images_suffice() -> None:
    network = nn.Sequential(nn.Linear(6, 6).requires_grad_(False), nn.Dropout(0.5), nn.Linear(6, 3))
    before = {name: value.clone() for name, value in network[0].state_dict().items()}
    fit_head(network, features(2, 0.0), NOTHING, Objective(), None)
    assert all(torch.equal(value, before[name]) for name, value in network[0].state_dict().items())
    assert network(features(2, 0.0).images).argmax(1).tolist() == [0, 1]


def test_it_stops_between_two_passes() -> None:
    with pytest.raises(Interrupted):
        fit_head(nn.Linear(6, 3), features(9, 0.1), NOTHING, Objective(should_stop=lambda: True), None)
