"""worker.attempt.photo_form: photos of any shape become square ones without losing what matters."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.imaging.preparation import Fit, fit_photo
from core.recipes.recipe import Recipe
from core.settings import Settings
from worker.attempt.photo_form import chooser
from worker.data.datasets.digits import load
from worker.data.datasets.folder import Sizes
from worker.data.photo_files import PhotoForm

SQUARISH = [(500, 375), (375, 500), (640, 480), (400, 400)]
WIDE = [(900, 300), (300, 900)]


def chosen(sizes: Sizes, **recipe: Any) -> tuple[PhotoForm, str]:
    told: list[str] = []
    form = chooser(Recipe(**recipe), told.append)(sizes, "photo")
    return form, told[0]


def test_auto_keeps_the_whole_of_wide_photos_and_crops_the_others_and_says_why() -> None:
    assert chosen(SQUARISH)[0].fit == "crop"
    assert chosen(9 * WIDE[:1] + 9 * SQUARISH)[0].fit == "pad"
    assert chosen(WIDE[:1] + 9 * SQUARISH)[0].fit == "crop"  # one in 37
    form, why = chosen(WIDE + 3 * SQUARISH[:2])
    assert form.fit == "pad"
    assert why == (
        "photos of 224 x 224 pixels, image_fit pad: 25% of the training photos would lose more than half of themselves "
        "in the middle square"
    )


def test_what_the_recipe_says_stands() -> None:
    for fit in ("crop", "pad", "squash"):
        form, why = chosen(WIDE, image_fit=fit, image_size=320)
        assert (form.side, form.fit) == (320, fit)
        assert why.endswith("as the recipe says")


def test_photos_have_the_size_that_the_network_sees_and_no_more_than_decoding_keeps() -> None:
    sides = [chosen(SQUARISH, image_size=size)[0].side for size in (32, 300, 512, 1024)]
    assert sides == [32, 300, 512, 512]
    assert chosen(SQUARISH, network="efficientnet_b7")[0].side == 384  # half of them have fewer than 388
    assert chosen([(4000, 3000)], network="efficientnet_b7")[0].side == 512  # of 600


@pytest.mark.parametrize(("fit", "low", "high"), [("crop", 0.0, 0.2), ("pad", 0.95, 1.0), ("squash", 0.95, 1.0)])
def test_digits_at_the_ends_of_a_wide_canvas_can_be_told_apart_unless_they_are_cropped(
    fit: Fit, low: float, high: float
) -> None:
    """Uncropped digits at a wide canvas's ends can be told apart.

    They are classified by the nearest of the training images, so that nothing is trained.
    """
    data = load(Settings())

    def seen(images: Any) -> Any:
        found = []
        for number, image in enumerate(np.asarray(images)[..., 0]):
            canvas = np.zeros((28, 84), np.uint8)
            canvas[:, 56 * (number % 2) :][:, :28] = image
            found.append(fit_photo(Image.fromarray(canvas), 84, fit).mean(2)[::2, ::2].ravel())
        return np.stack(found) / 255

    train, test = seen(data.train_images), seen(data.test_images)
    distances = (train**2).sum(1) - 2 * test @ train.T
    right = (data.train_labels[distances.argmin(1)] == data.test_labels).mean()
    assert low <= right <= high
