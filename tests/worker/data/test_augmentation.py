"""worker.data.augmentation: plausible changes of strokes and photos, and nothing else.

They are what another hand or another photographer would have done.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from worker.data import augmentation
from worker.data.augmentation import SETS

CHANGES = ("digits", "photos")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def strokes() -> Tensor:
    """Images of an upright bar left of the middle.

    They are n x 3 x size x size.
    """
    images = torch.zeros(64, 3, 32, 32)
    images[:, :, 6:26, 10:14] = 1
    return images


@pytest.fixture
def hand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augment without changing the width of strokes."""
    for amount in ("THICKER", "THINNER"):
        monkeypatch.setattr(augmentation, amount, 0.0)


@pytest.fixture
def strokes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augment without moving the digits."""
    for amount in ("ROTATION", "SHIFT", "SCALE", "SHEAR"):
        monkeypatch.setattr(augmentation, amount, 0.0)


@pytest.fixture
def light_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augment without cutting photos, though they may be mirrored."""
    monkeypatch.setattr(augmentation, "AREA", 1.0)
    monkeypatch.setattr(augmentation, "STRETCH", 1.0)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Tensor]:
    """Images whose pixels hold their x and y, without light changes.

    The places go from -1 to 1 from edge to edge.
    """
    for amount in ("BRIGHTNESS", "CONTRAST", "SATURATION"):
        monkeypatch.setattr(augmentation, amount, 0.0)

    def make(side: int, count: int = 256) -> Tensor:
        centres = (torch.arange(side) * 2 + 1) / side - 1
        return torch.stack([centres.expand(side, side), centres[:, None].expand(side, side)]).expand(count, 2, -1, -1)

    return make


def photos_like(count: int, side: int = 96) -> Tensor:
    """Prepared photos: any values around zero."""
    return torch.randn(count, 3, side, side)


# -- all of them


def test_none_changes_nothing(strokes: Tensor) -> None:
    assert SETS["none"](strokes) is strokes


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("side", [24, 32, 224])
def test_shape_and_type_stay_and_what_came_in_is_not_touched(name: str, side: int) -> None:
    images = photos_like(4, side)
    before = images.clone()
    changed = SETS[name](images)
    assert (changed.shape, changed.dtype) == (images.shape, torch.float32)
    assert torch.equal(images, before)
    assert changed.isfinite().all()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("side", [32, 96])
def test_each_image_is_changed_by_itself(name: str, side: int) -> None:
    changed = SETS[name](photos_like(1, side).expand(8, -1, -1, -1))
    assert all(not torch.equal(changed[one], changed[other]) for one in range(8) for other in range(one))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("side", [32, 96])
def test_the_same_seed_gives_the_same_changes_and_another_seed_others(name: str, side: int) -> None:
    def changed(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return SETS[name](images)

    images = photos_like(8, side)
    assert torch.equal(changed(7), changed(7))
    assert not torch.equal(changed(7), changed(8))


@pytest.mark.parametrize("name", CHANGES)
def test_shorter_numbers_in_the_network_do_not_shake_the_images(name: str) -> None:
    images = photos_like(4, 224)
    torch.manual_seed(1)
    exact = SETS[name](images)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SETS[name](images), exact)


@pytest.mark.parametrize("name", CHANGES)
def test_the_layout_in_memory_does_not_matter(name: str) -> None:
    images = photos_like(4)
    torch.manual_seed(1)
    plain = SETS[name](images)
    torch.manual_seed(1)
    torch.testing.assert_close(SETS[name](images.contiguous(memory_format=torch.channels_last)), plain)


# -- digits


def test_all_channels_of_a_digit_are_changed_alike(strokes: Tensor) -> None:
    changed = augmentation.digits(strokes)
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])


def test_the_ink_stays_and_stays_on_its_side(strokes: Tensor) -> None:
    changed = augmentation.digits(strokes)
    assert (changed[..., :17].sum((1, 2, 3)) > 5 * changed[..., 17:].sum((1, 2, 3))).all()
    share = changed.sum((1, 2, 3)) / strokes.sum((1, 2, 3))
    assert 0.5 < share.min() < 0.9
    assert 1.1 < share.max() < 1.8


def test_no_value_leaves_the_range_of_the_image(strokes: Tensor) -> None:
    changed = augmentation.digits(strokes * 3 - 0.5)
    assert changed.min() == -0.5
    assert changed.max() <= 2.5 + 1e-5


def test_the_frame_around_a_digit_stays_empty(strokes: Tensor) -> None:
    changed = augmentation.digits(strokes)
    assert changed[..., :2].max() == changed[..., -8:].max() == 0


def test_a_digit_is_never_mirrored(strokes: Tensor) -> None:
    seven = torch.zeros(512, 3, 32, 32)
    seven[:, :, 6:9, 10:22] = seven[:, :, 9:26, 19:22] = 1
    changed = augmentation.digits(seven)
    for mirrored in (seven.flip(3), seven.flip(2), seven.flip(2, 3)):
        assert ((changed - seven).square().sum((1, 2, 3)) < (changed - mirrored).square().sum((1, 2, 3))).all()


@pytest.mark.usefixtures("hand_alone")
def test_digits_are_slanted_both_ways_by_no_more_than_is_written(places: Callable[[int], Tensor]) -> None:
    x, y = augmentation.digits(places(64)).unbind(1)
    slant = (x[:, 40, 32] - x[:, 24, 32]) / (y[:, 40, 32] - y[:, 24, 32])  # of what is upright now
    most = augmentation.SHEAR + torch.tensor(augmentation.ROTATION).tan() * (1 + augmentation.SHEAR**2)
    assert -most - 0.01 < slant.min() < -most / 2
    assert most / 2 < slant.max() < most + 0.01


@pytest.mark.usefixtures("hand_alone")
def test_digits_are_turned_both_ways_by_no_more_than_is_written(
    places: Callable[[int], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "SHEAR", 0.0)
    x, y = augmentation.digits(places(64)).unbind(1)
    angle = torch.atan2(y[:, 32, 40] - y[:, 32, 24], x[:, 32, 40] - x[:, 32, 24])
    assert -augmentation.ROTATION - 1e-4 < angle.min() < -augmentation.ROTATION / 2
    assert augmentation.ROTATION / 2 < angle.max() < augmentation.ROTATION + 1e-4


@pytest.mark.usefixtures("hand_alone")
def test_digits_are_moved_and_scaled_by_no_more_than_is_written(places: Callable[[int], Tensor]) -> None:
    x, y = augmentation.digits(places(64)).unbind(1)
    for moved in (x[:, 31:33, 31:33].mean((1, 2)), y[:, 31:33, 31:33].mean((1, 2))):
        assert augmentation.SHIFT / 2 < moved.abs().max() <= augmentation.SHIFT + 1e-6
    per_pixel = torch.stack([x[:, 40, 32] - x[:, 24, 32], y[:, 40, 32] - y[:, 24, 32]])
    across = torch.stack([x[:, 32, 40] - x[:, 32, 24], y[:, 32, 40] - y[:, 32, 24]])
    area = (across[0] * per_pixel[1] - across[1] * per_pixel[0]).abs() * 4  # 16 of 64 pixels are half of the side
    assert (1 - augmentation.SCALE) ** 2 - 0.01 < area.min() < 0.9
    assert 1.1 < area.max() < (1 + augmentation.SCALE) ** 2 + 0.01


@pytest.mark.usefixtures("strokes_alone")
def test_some_strokes_become_thicker_and_some_thinner(strokes: Tensor) -> None:
    width = augmentation.digits(strokes)[:, 0, 16].sum(1)  # of four pixels
    assert 4 - 2 * augmentation.THINNER <= width.min() < 3.5
    assert 4.5 < width.max() <= 4 + 2 * augmentation.THICKER
    assert 0.3 < (width > 4).float().mean() < 0.7


@pytest.mark.usefixtures("strokes_alone")
def test_a_stroke_grows_by_no_more_than_the_reach(strokes: Tensor) -> None:
    changed = augmentation.digits(strokes)
    beyond = max_pool2d(strokes, 3, stride=1, padding=1) == 0
    assert changed[beyond].abs().max() == 0


@pytest.mark.usefixtures("strokes_alone")
def test_the_finest_stroke_stays_fine_and_does_not_vanish() -> None:
    hair = torch.zeros(64, 3, 32, 32)
    hair[:, :, 6:26, 16] = 1
    line = augmentation.digits(hair)[:, 0, 16]
    assert line[:, 16].min() >= 1 - augmentation.THINNER - 1e-6
    assert line.sum(1).max() <= 1 + 2 * augmentation.THICKER


@pytest.mark.parametrize("times", [2, 4, 7])
def test_the_same_digit_larger_is_changed_in_the_same_way(strokes: Tensor, times: int) -> None:
    small, large = strokes, interpolate(strokes, scale_factor=times)
    torch.manual_seed(1)
    small = augmentation.digits(small)
    torch.manual_seed(1)
    large = avg_pool2d(augmentation.digits(large), times)
    assert (large - small).abs().mean() < 0.02
    torch.testing.assert_close(large.sum((1, 2, 3)), small.sum((1, 2, 3)), rtol=0.05, atol=0)


# -- photos


@pytest.mark.parametrize("side", [32, 96])
def test_about_half_of_the_photos_are_mirrored_and_none_is_upside_down(
    places: Callable[[int], Tensor], side: int
) -> None:
    x, y = augmentation.photos(places(side)).unbind(1)
    mirrored = x[..., -1].mean(1) < x[..., 0].mean(1)
    assert 0.4 < mirrored.float().mean() < 0.6
    assert (y[:, -1] > y[:, 0]).all()


def test_a_photo_is_cut_to_a_part_of_it_that_is_large_enough(places: Callable[[int], Tensor]) -> None:
    x, y = augmentation.photos(places(96)).unbind(1)
    # over the middle 48 pixels, where no edge is met
    width, height = (x[:, 48, 72] - x[:, 48, 24]).abs(), (y[:, 72, 48] - y[:, 24, 48]).abs()
    assert x.abs().max() <= 1
    assert max(width.max(), height.max()) <= 1 + 1e-5  # enlarged or as it was, never made smaller
    # a long part may end at the edge
    assert augmentation.AREA * 0.85 < (width * height).min() < augmentation.AREA * 1.2
    assert (width * height).max() > 0.9
    assert 1.15 < (width / height).max() <= augmentation.STRETCH + 1e-4
    assert 1.15 < (height / width).max() <= augmentation.STRETCH + 1e-4


def test_parts_lie_anywhere_in_the_photo(places: Callable[[int], Tensor]) -> None:
    x, y = augmentation.photos(places(96)).unbind(1)
    for seen in (x, y):
        middle = seen.mean((1, 2))
        assert middle.min() < -0.2
        assert middle.max() > 0.2
        assert abs(middle.mean()) < 0.05


def test_small_photos_are_moved_by_an_eighth_and_not_cut(places: Callable[[int], Tensor]) -> None:
    x, y = augmentation.photos(places(32)).unbind(1)
    torch.testing.assert_close((x[:, 16, 24] - x[:, 16, 8]).abs(), torch.ones(256), rtol=0, atol=1e-5)
    for moved in (x[:, 16, 15:17].mean(1), y[:, 15:17, 16].mean(1)):
        assert 0.2 < moved.abs().max() <= 0.25


@pytest.mark.usefixtures("light_alone")
def test_light_changes_by_no_more_than_is_written() -> None:
    images = photos_like(256, 65)
    changed = augmentation.photos(images)
    assert not torch.equal(changed, images)
    brighter = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert augmentation.BRIGHTNESS / 2 < brighter.abs().max() <= augmentation.BRIGHTNESS + 1e-4
    spread = changed.mean(1).std((1, 2)) / images.mean(1).std((1, 2))
    assert 1 - augmentation.CONTRAST - 1e-4 <= spread.min() < 1 < spread.max() <= 1 + augmentation.CONTRAST + 1e-4


@pytest.mark.usefixtures("light_alone")
def test_colours_fade_and_glow_and_grey_stays_grey() -> None:
    images = photos_like(256, 65)
    changed = augmentation.photos(images)
    colour = changed.std(1).mean((1, 2)) / images.std(1).mean((1, 2))
    assert colour.min() < 1 < colour.max()
    grey = augmentation.photos(images.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey[:, 0], grey[:, 2])


@pytest.mark.parametrize("side", [24, 32, 64])
def test_a_small_picture_is_shifted_by_whole_pixels_and_so_stays_sharp(side: int) -> None:
    names = torch.arange(side * side).view(1, 1, side, side).expand(64, 3, -1, -1).float()
    changed = SETS["photos"](names)
    assert (changed - changed.round()).abs().max() < 0.02  # between two pixels it would be another number
    columns = changed[:, 0, 0].round() % side
    assert len({int(middle) for middle in columns[:, side // 2]}) > side // 8  # yet shifted
    assert (columns[:, side // 2 + 1] < columns[:, side // 2]).float().mean() == pytest.approx(0.5, abs=0.3)  # mirrored


def test_a_flip_mirrors_half_of_the_images_and_changes_nothing_else() -> None:
    images = photos_like(200, 8)
    changed = SETS["flip"](images)
    same = (changed == images).flatten(1).all(1)
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 60 < int(mirrored.sum()) < 140
