"""Networks' input sizes, stages and defaults for "auto", without torch.

Those of torchvision's networks and timm's EfficientNet-Lite0; ``timm_table`` has timm's others.

The service needs them without importing torch; tests/core/test_networks.py compares the tables with torchvision's.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

Optimizer = Literal["sgd", "adam", "adamw"]
Resampling = Literal["bilinear", "bicubic"]
Colour = tuple[float, float, float]  # of the channels red, green and blue

TIMM = "timm/"  # before timm's names in a recipe, as at Hugging Face, which has their weights
EFFICIENTNET_LITE0 = "efficientnet_lite0"  # timm's; its ImageNet weights come with the package index
MIN_BATCH_SIZE = 2  # BatchNorm cannot take a batch of one
PHOTO = 224  # side in pixels at which most networks see photos
# detail of the images in pixels, at most -> what the network sees: at 224 a digit costs 49 times the arithmetic of 32
SIDES = ((16, 24), (32, 32))
STRIDE = 32  # pixels that most networks see as one place in the end: a side between two multiples wastes some
# side in pixels to which small images are enlarged if that helps: most networks halve them four times early on.
# Behind ImageNet's frozen layers: a new head on mobilenet_v2 had 20 % of fashion_mnist right at 32 pixels, 78 % at 64,
# 82 % at 96, 83 % at 128 (1,000 training images, 2,000 of the test). From random weights, where there is a GPU for it:
# ResNet-50 had 94.4 % of fashion_mnist at 96 pixels, 92.1 % at 32 (24 epochs)
ENLARGED_SIDE = 96
MAX_WEIGHT_BYTES = 2**31  # of weights in fp32: one ONNX file holds no more
RATE_BATCH = 64
# at batch 512, a rate of 0.4 made ResNet-50 diverge on Fashion-MNIST at times and gave 99.57 % on MNIST; 0.1 gave
# 99.67 % (H200, 2026-11-26)
MAX_RATE_BATCH = 128
# peak learning rates for a batch of RATE_BATCH: from random weights, and from pre-trained ones. The low rates are for
# networks without BatchNorm: with the high ones squeezenet stayed at chance on the digits
HIGH_RATES: Mapping[Optimizer, tuple[float, float]] = {"sgd": (5e-2, 1e-2), "adam": (2e-3, 3e-4), "adamw": (2e-3, 3e-4)}
LOW_RATES: Mapping[Optimizer, tuple[float, float]] = {"sgd": (1e-2, 2e-3), "adam": (5e-4, 1e-4), "adamw": (5e-4, 1e-4)}
WEIGHT_DECAY: Mapping[Optimizer, float] = {"sgd": 5e-4, "adam": 5e-4, "adamw": 0.05}


@dataclass(frozen=True)
class Traits:
    """Properties shared by the networks of a family."""

    stages: str = ""  # in order, after the numbered ones ...
    first: str = ""  # ... and those before them
    numbered: str = "features."  # what is before their numbers
    smallest: int = 16  # side in pixels of the smallest accepted image
    multiple: int = 1  # an accepted side is a multiple of this
    optimizer: Optimizer = "sgd"  # adamw for networks with attention or without BatchNorm


@dataclass(frozen=True)
class Network:
    name: str
    family: str
    parameters: int  # with a head for ImageNet's 1,000 classes
    photo: int  # side in pixels of the photos that its published weights were trained on
    stages: tuple[str, ...]  # the stages that ``freeze`` accepts, in order; see worker/training/freezing.py
    traits: Traits
    # torchvision's name for it ends with the start of its sha256; timm's is the network's own; None: embedded
    weights_file: str | None
    license: str | None = None  # that is stated for the published weights; torchvision states none for these
    colours: tuple[Colour, Colour] | None = None  # mean and standard deviation that they expect; None: torchvision's
    resampling: Resampling = "bilinear"  # of the photos that they were trained on

    @property
    def is_timms(self) -> bool:
        return self.name.startswith(TIMM)

    @property
    def weights_files(self) -> tuple[str, ...]:
        """Return the accepted names of a weights file, the published one first.

        They are names within the folder of weights.
        """
        if self.weights_file is None or self.is_timms:
            return () if self.weights_file is None else (self.weights_file,)
        return (self.weights_file, f"{self.name}.pth", f"{self.name}.safetensors")

    def refusal(self, side: int) -> str | None:
        """Explain why the network rejects images of this side.

        The side is in pixels; None if it accepts them.
        """
        if side < self.traits.smallest:
            return f"{self.name} needs at least {self.traits.smallest} pixels, not {side}"
        if side % self.traits.multiple:
            return f"{self.name} takes multiples of {self.traits.multiple} pixels, not {side}"
        return None

    def image_size(self, detail: float, pretrained: bool, enlarged: bool = False) -> int:
        """Choose the image side to train at, in pixels.

        ``detail``: the side in pixels beyond which the images show nothing more. Photos get the side that the
        pre-trained weights were trained at, but none much beyond their own detail. ``enlarged``: at least
        ENLARGED_SIDE.
        """
        photo = self.photo if pretrained else PHOTO
        if detail < photo:
            photo = max(PHOTO, int(detail) // STRIDE * STRIDE)
        side = next((side for most, side in SIDES if detail <= most), photo)
        side = max(self.traits.smallest, ENLARGED_SIDE if enlarged else 0, side)
        return side + -side % self.traits.multiple

    def learning_rate(self, optimizer: Optimizer, pretrained: bool, batch_size: int) -> float:
        """Choose the peak learning rate for a batch size.

        SGD's is proportional to the batch size (Goyal et al. 2017) up to MAX_RATE_BATCH, Adam's to its square root
        (Malladi et al. 2022).
        """
        rates = HIGH_RATES if self.traits.optimizer == "sgd" else LOW_RATES
        if optimizer == "sgd":
            return rates[optimizer][pretrained] * min(batch_size, MAX_RATE_BATCH) / RATE_BATCH
        return rates[optimizer][pretrained] * math.sqrt(batch_size / RATE_BATCH)


# patches, then as many layers as the network has
_VIT = ("encoder.ln", "conv_proj encoder.dropout", "encoder.layers.encoder_layer_")

# keyed by the second column below; a suffix after "_" distinguishes groups of one family
_TRAITS: Mapping[str, Traits] = {
    "alexnet": Traits("avgpool", smallest=63, optimizer="adamw"),
    "convnext": Traits("avgpool", smallest=32, optimizer="adamw"),
    "densenet": Traits(
        "features.conv0 features.norm0 features.relu0 features.pool0 features.denseblock1 features.transition1 "
        "features.denseblock2 features.transition2 features.denseblock3 features.transition3 features.denseblock4 "
        "features.norm5",
        smallest=29,
    ),
    "efficientnet": Traits("avgpool"),
    "efficientnet_lite": Traits("conv_head bn2 global_pool", first="conv_stem bn1", numbered="blocks."),
    "googlenet": Traits(
        "conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b maxpool3 inception4a inception4b inception4c "
        "inception4d inception4e maxpool4 inception5a inception5b avgpool dropout"
    ),
    "inception": Traits(
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c "
        "Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c avgpool dropout",
        smallest=75,
    ),
    # its windows divide each of its four grids only at this size
    "maxvit": Traits(first="stem", numbered="blocks.", smallest=224, multiple=224, optimizer="adamw"),
    "mnasnet": Traits(numbered="layers."),
    "mobilenet": Traits("avgpool"),
    "mobilenet_v2": Traits(),
    "regnet": Traits("stem trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output.block4 avgpool"),
    "resnet": Traits("conv1 bn1 relu maxpool layer1 layer2 layer3 layer4 avgpool"),
    "shufflenet": Traits("conv1 maxpool stage2 stage3 stage4 conv5"),
    "squeezenet": Traits(smallest=21, optimizer="adamw"),
    "swin": Traits("norm permute avgpool flatten", optimizer="adamw"),
    "vgg": Traits("avgpool", smallest=32, optimizer="adamw"),
    "vgg_bn": Traits("avgpool", smallest=32),
    # patches of so many pixels a side; with fewer than four a side there is nothing to compare
    "vit_14": Traits(*_VIT, smallest=56, multiple=14, optimizer="adamw"),
    "vit_16": Traits(*_VIT, smallest=64, multiple=16, optimizer="adamw"),
    "vit_32": Traits(*_VIT, smallest=128, multiple=32, optimizer="adamw"),
}

# name, traits, parameters, photo, numbered stages
_ROWS = """
alexnet            alexnet       61100840  224  13  alexnet-owt-7be5be79.pth
convnext_base      convnext      88591464  224   8  convnext_base-6075fbad.pth
convnext_large     convnext     197767336  224   8  convnext_large-ea097f82.pth
convnext_small     convnext      50223688  224   8  convnext_small-0c510722.pth
convnext_tiny      convnext      28589128  224   8  convnext_tiny-983f1562.pth
densenet121        densenet       7978856  224   0  densenet121-a639ec97.pth
densenet161        densenet      28681000  224   0  densenet161-8d451a50.pth
densenet169        densenet      14149480  224   0  densenet169-b2777c0a.pth
densenet201        densenet      20013928  224   0  densenet201-c1103571.pth
efficientnet_b0    efficientnet   5288548  224   9  efficientnet_b0_rwightman-7f5810bc.pth
efficientnet_b1    efficientnet   7794184  240   9  efficientnet_b1-c27df63c.pth
efficientnet_b2    efficientnet   9109994  288   9  efficientnet_b2_rwightman-c35c1473.pth
efficientnet_b3    efficientnet  12233232  300   9  efficientnet_b3_rwightman-b3899882.pth
efficientnet_b4    efficientnet  19341616  380   9  efficientnet_b4_rwightman-23ab8bcd.pth
efficientnet_b5    efficientnet  30389784  456   9  efficientnet_b5_lukemelas-1a07897c.pth
efficientnet_b6    efficientnet  43040704  528   9  efficientnet_b6_lukemelas-24a108a5.pth
efficientnet_b7    efficientnet  66347960  600   9  efficientnet_b7_lukemelas-c5b4e57e.pth
efficientnet_lite0 efficientnet_lite 4652008  224   7  -
efficientnet_v2_l  efficientnet 118515272  480   9  efficientnet_v2_l-59c71312.pth
efficientnet_v2_m  efficientnet  54139356  480   9  efficientnet_v2_m-dc08266a.pth
efficientnet_v2_s  efficientnet  21458488  384   8  efficientnet_v2_s-dd5fe13b.pth
googlenet          googlenet      6624904  224   0  googlenet-1378be20.pth
inception_v3       inception     23834568  299   0  inception_v3_google-0cc3c7bd.pth
maxvit_t           maxvit        30919624  224   4  maxvit_t-bc5ab103.pth
mnasnet0_5         mnasnet        2218512  224  17  mnasnet0.5_top1_67.823-3ffadce67e.pth
mnasnet0_75        mnasnet        3170208  224  17  mnasnet0_75-7090bc5f.pth
mnasnet1_0         mnasnet        4383312  224  17  mnasnet1.0_top1_73.512-f206786ef8.pth
mnasnet1_3         mnasnet        6282256  224  17  mnasnet1_3-a4c69d6f.pth
mobilenet_v2       mobilenet_v2   3504872  224  19  mobilenet_v2-7ebf99e0.pth
mobilenet_v3_large mobilenet      5483032  224  17  mobilenet_v3_large-5c1a4163.pth
mobilenet_v3_small mobilenet      2542856  224  13  mobilenet_v3_small-047dcff4.pth
regnet_x_16gf      regnet        54278536  224   0  regnet_x_16gf-ba3796d7.pth
regnet_x_1_6gf     regnet         9190136  224   0  regnet_x_1_6gf-a12f2b72.pth
regnet_x_32gf      regnet       107811560  224   0  regnet_x_32gf-6eb8fdc6.pth
regnet_x_3_2gf     regnet        15296552  224   0  regnet_x_3_2gf-7071aa85.pth
regnet_x_400mf     regnet         5495976  224   0  regnet_x_400mf-62229a5f.pth
regnet_x_800mf     regnet         7259656  224   0  regnet_x_800mf-94a99ebd.pth
regnet_x_8gf       regnet        39572648  224   0  regnet_x_8gf-2b70d774.pth
regnet_y_128gf     regnet       644812894  384   0  regnet_y_128gf_swag-c8ce3e52.pth
regnet_y_16gf      regnet        83590140  224   0  regnet_y_16gf-3e4a00f9.pth
regnet_y_1_6gf     regnet        11202430  224   0  regnet_y_1_6gf-0d7bc02a.pth
regnet_y_32gf      regnet       145046770  224   0  regnet_y_32gf-8db6d4b5.pth
regnet_y_3_2gf     regnet        19436338  224   0  regnet_y_3_2gf-9180c971.pth
regnet_y_400mf     regnet         4344144  224   0  regnet_y_400mf-e6988f5f.pth
regnet_y_800mf     regnet         6432512  224   0  regnet_y_800mf-58fc7688.pth
regnet_y_8gf       regnet        39381472  224   0  regnet_y_8gf-dc2b1b54.pth
resnet101          resnet        44549160  224   0  resnet101-cd907fc2.pth
resnet152          resnet        60192808  224   0  resnet152-f82ba261.pth
resnet18           resnet        11689512  224   0  resnet18-f37072fd.pth
resnet34           resnet        21797672  224   0  resnet34-b627a593.pth
resnet50           resnet        25557032  224   0  resnet50-11ad3fa6.pth
resnext101_32x8d   resnet        88791336  224   0  resnext101_32x8d-110c445d.pth
resnext101_64x4d   resnet        83455272  224   0  resnext101_64x4d-173b62eb.pth
resnext50_32x4d    resnet        25028904  224   0  resnext50_32x4d-1a0047aa.pth
shufflenet_v2_x0_5 shufflenet     1366792  224   0  shufflenetv2_x0.5-f707e7126e.pth
shufflenet_v2_x1_0 shufflenet     2278604  224   0  shufflenetv2_x1-5666bf0f80.pth
shufflenet_v2_x1_5 shufflenet     3503624  224   0  shufflenetv2_x1_5-3c479a10.pth
shufflenet_v2_x2_0 shufflenet     7393996  224   0  shufflenetv2_x2_0-8be3c8ee.pth
squeezenet1_0      squeezenet     1248424  224  13  squeezenet1_0-b66bff10.pth
squeezenet1_1      squeezenet     1235496  224  13  squeezenet1_1-b8a52dc0.pth
swin_b             swin          87768224  224   8  swin_b-68c6b09e.pth
swin_s             swin          49606258  224   8  swin_s-5e29d889.pth
swin_t             swin          28288354  224   8  swin_t-704ceda3.pth
swin_v2_b          swin          87930848  256   8  swin_v2_b-781e5279.pth
swin_v2_s          swin          49737442  256   8  swin_v2_s-637d8ceb.pth
swin_v2_t          swin          28351570  256   8  swin_v2_t-b137f0e2.pth
vgg11              vgg          132863336  224  21  vgg11-8a719046.pth
vgg11_bn           vgg_bn       132868840  224  29  vgg11_bn-6002323d.pth
vgg13              vgg          133047848  224  25  vgg13-19584684.pth
vgg13_bn           vgg_bn       133053736  224  35  vgg13_bn-abd245e5.pth
vgg16              vgg          138357544  224  31  vgg16-397923af.pth
vgg16_bn           vgg_bn       138365992  224  44  vgg16_bn-6c64b313.pth
vgg19              vgg          143667240  224  37  vgg19-dcbb9e9d.pth
vgg19_bn           vgg_bn       143678248  224  53  vgg19_bn-c79401a0.pth
vit_b_16           vit_16        86567656  224  12  vit_b_16-c867db91.pth
vit_b_32           vit_32        88224232  224  12  vit_b_32-d86f8d99.pth
vit_h_14           vit_14       632045800  518  32  vit_h_14_swag-80465313.pth
vit_l_16           vit_16       304326632  224  24  vit_l_16-852ce7e3.pth
vit_l_32           vit_32       306535400  224  24  vit_l_32-c7638314.pth
wide_resnet101_2   resnet       126886696  224   0  wide_resnet101_2-d733dc28.pth
wide_resnet50_2    resnet        68883240  224   0  wide_resnet50_2-9ba9bcbe.pth
"""


def _networks() -> Iterator[Network]:
    for row in _ROWS.strip().splitlines():
        name, kind, parameters, photo, count, file = row.split()
        traits = _TRAITS[kind]
        numbered = (f"{traits.numbered}{number}" for number in range(int(count)))
        stages = (*traits.first.split(), *numbered, *traits.stages.split())
        published = None if file == "-" else file
        network = Network(name, kind.split("_")[0], int(parameters), int(photo), stages, traits, published)
        yield network if published else _embedded(network)


def _embedded(network: Network) -> Network:
    """Describe the weights of worker.attempt.embedded_weights."""
    return replace(network, license="Apache-2.0", colours=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


_ALL = {network.name: network for network in _networks()}
TOO_LARGE = tuple(name for name, network in _ALL.items() if network.parameters * 4 >= MAX_WEIGHT_BYTES)
NETWORKS: Mapping[str, Network] = {name: network for name, network in _ALL.items() if name not in TOO_LARGE}
