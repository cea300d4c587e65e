"""Names of data sets, and references to a version of one, such as pets/2."""

# built in; others are folders of images
_DATASETS = """
    digits mnist fashion_mnist kmnist qmnist emnist_digits emnist_letters usps svhn cifar10 cifar100
    imagenette eurosat country211 rendered_sst2 food101 dtd
"""
DATASETS = tuple(_DATASETS.split())
DATASET_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
DATASET_REFERENCE = r"^[a-z0-9][a-z0-9_-]{0,63}(/[1-9][0-9]{0,8})?$"  # pets, or pets/2: a version of an uploaded one


def parse_dataset(reference: str) -> tuple[str, int | None]:
    """Split a reference to a data set into name and version.

    The version is None if there is none.
    """
    name, _, version = reference.partition("/")
    return name, int(version) if version else None
