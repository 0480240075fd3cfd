"""Networks that name a whole picture, and the part of one that others stand on."""

from itertools import pairwise

from torch import Tensor, nn

from .blocks import ConvNorm


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


class BasicBlock(nn.Module):
    """See `networks.classifiers.BasicBlock`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride, act=relu())
        self.second = ConvNorm(outputs, outputs, 3, act=nn.Identity())
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, act=nn.Identity())
        self.act = relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.second(self.first(x)) + self.shortcut(x))


class ResNet18(nn.Module):
    """See `networks.classifiers.ResNet18`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = ConvNorm(3, 64, 7, 2, act=relu()), nn.MaxPool2d(3, 2, 1)
        stages = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.blocks = nn.Sequential(
            *(block for a, b, s in stages for block in (BasicBlock(a, b, s), BasicBlock(b, b, 1)))
        )
        self.scores = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.blocks(self.pool(self.stem(x))).mean((2, 3)))


class VggFront(nn.Module):
    """See `visionkit.models.openpose_vgg.VggFront`."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths))
        self.pool, self.act = nn.MaxPool2d(2), relu()

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = self.act(conv(x))
            if i in (1, 3, 7):
                x = self.pool(x)
        return x


class InvertedResidual(nn.Module):
    """See `visionkit.models.blocks.InvertedResidual`."""

    def __init__(self, inputs: int, outputs: int, stride: int, factor: int) -> None:
        super().__init__()
        hidden = inputs * factor
        self.expand = ConvNorm(inputs, hidden, 1, act=relu6()) if factor > 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, 3, stride, groups=hidden, act=relu6())
        self.project = ConvNorm(hidden, outputs, 1, act=nn.Identity())
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """See `networks.classifiers.MobileNetV2`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2, act=relu6())
        stages = (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
            (6, 320, 1, 1),
        )  # fmt: skip
        blocks = []
        inputs = 32
        for factor, outputs, count, stride in stages:
            for i in range(count):
                blocks.append(InvertedResidual(inputs, outputs, stride if i == 0 else 1, factor))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.top, self.scores = ConvNorm(320, 1280, 1, act=relu6()), nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.top(self.blocks(self.stem(x))).mean((2, 3)))
