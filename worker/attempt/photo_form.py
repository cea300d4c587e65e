"""Choose the form of a training's photos.

It depends on the recipe and their sizes.
"""

from collections.abc import Callable

from core.imaging.preparation import MAX_PHOTO_SIDE, Fit
from core.networks import lookup
from core.recipes.recipe import Recipe
from worker.attempt.auto_config import AUTO_FIT
from worker.data.datasets.folder import Choose, Sizes, Style, detail_of
from worker.data.photo_files import PhotoForm

WIDE = 2  # long sides by short ones: of such a photo, the middle square shows less than half
WIDE_SHARE = 0.1  # of the photos; what matters may lie anywhere: fewer cost less than one answer in twenty


def chooser(recipe: Recipe, log: Callable[[str], None]) -> Choose:
    """Return the function that chooses the photos' form.

    ``worker.data.datasets.load`` calls it; the reason of its choice goes to ``log``.
    """

    def choose(sizes: Sizes, style: Style) -> PhotoForm:
        fit, why = _fit(recipe, sizes, style)
        detail = detail_of(sizes, fit)
        network = lookup.get(recipe.network)
        auto = network.image_size(detail, recipe.weights != "random")
        side = min(MAX_PHOTO_SIDE, auto if recipe.image_size == "auto" else recipe.image_size)
        form = PhotoForm(side, fit, network.resampling)
        log(f"photos of {form.side} x {form.side} pixels, image_fit {fit}: {why}")
        return form

    return choose


def _fit(recipe: Recipe, sizes: Sizes, style: Style) -> tuple[Fit, str]:
    if recipe.image_fit != "auto":
        return recipe.image_fit, "as the recipe says"
    if style == "plain" or not sizes:
        return AUTO_FIT[style], f"as {style} images are"
    share = sum(max(size) > WIDE * min(size) for size in sizes) / len(sizes)
    reason = f"{share:.0%} of the training photos would lose more than half of themselves in the middle square"
    return ("pad" if share > WIDE_SHARE else "crop"), reason
