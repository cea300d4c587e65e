"""Run the network over samples of its training and validation images."""

from dataclasses import dataclass, replace

from core.inference import training_images
from worker.data.splits import Split
from worker.ood.fitting import SampleOutputs, look_at_sample
from worker.publishing.trained_network import TrainedNetwork
from worker.training.flops import flop_per_image

MAX_TRAINING_SAMPLE = 1_000  # images that the network looks at; with 3,000 the OOD score found no more
MAX_SAMPLE, MIN_SAMPLE = 3_000, 200  # the same, of any split
SAMPLE_FLOP = 3e13  # for those of a part, as worker.flops counts: 20 s, or less, on two cores
SAMPLE_BYTES = 128 * 2**20  # of those of a part, which are kept in memory


@dataclass(frozen=True)
class Samples:
    """Outputs of the network for some training and validation images."""

    train: SampleOutputs
    validation: SampleOutputs
    neighbours: SampleOutputs  # training images that answers can be compared with


def look_at_samples(trained: TrainedNetwork) -> Samples:
    """Run the network over samples of training and validation images.

    As many as their cost in operations and memory allows.
    """
    image = trained.splits.train.some([0])
    flop = flop_per_image(trained.network, trained.prepare(image))
    most = min(MAX_SAMPLE, max(MIN_SAMPLE, int(min(SAMPLE_FLOP / flop, SAMPLE_BYTES / image.nbytes))))

    kept, splits = trained.kept, trained.splits
    most_of_training = min(most, MAX_TRAINING_SAMPLE)
    train = _look(
        trained,
        splits.train.sample_of_classes(most_of_training),
        kept.train.sample_of_classes(most_of_training) if kept else None,
    )
    validation = _look(trained, splits.validation.sample(most), kept.validation.sample(most) if kept else None)
    return Samples(train, validation, _neighbours(trained, train))


def _look(trained: TrainedNetwork, sample: Split, features: Split | None) -> SampleOutputs:
    """Run the network over a sample of a split.

    With kept features, only the head runs, over those of the sample.
    """
    if trained.kept is None or features is None:
        return look_at_sample(trained.network, trained.prepare, sample, len(trained.classes))
    head = trained.kept
    return replace(look_at_sample(head.network, head.prepare, features, len(trained.classes)), part=sample)


def _neighbours(trained: TrainedNetwork, train: SampleOutputs) -> SampleOutputs:
    """Return training images to compare answers with.

    Where features are kept and small, they are more than the sample: only the head runs for each.
    """
    if trained.kept is None:
        return train
    kept = trained.kept.train
    count = min(training_images.MAX_IMAGES, SAMPLE_BYTES // kept.some([0]).nbytes)
    if count <= len(train) or len(kept) == len(train):
        return train
    head = trained.kept
    return look_at_sample(head.network, head.prepare, kept.sample_of_classes(count), len(trained.classes))
