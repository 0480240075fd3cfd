"""Detectors: YOLOv3-tiny and yolo-nano."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .blocks import ConvNorm


class YoloV3Tiny(nn.Module):
    """See `networks.detectors.YoloV3Tiny`."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128, 256, 512)
        self.stem = nn.ModuleList(ConvNorm(a, b, 3) for a, b in pairwise(widths))
        self.pool, self.blur = nn.MaxPool2d(2, 2), nn.MaxPool2d(3, 1, 1)
        self.wide, self.neck = ConvNorm(512, 1024, 3), ConvNorm(1024, 256, 1)
        self.coarse, self.coarse_map = ConvNorm(256, 512, 3), nn.Conv2d(512, 255, 1)
        self.lateral, self.up = ConvNorm(256, 128, 1), nn.Upsample(scale_factor=2)
        self.fine, self.fine_map = ConvNorm(384, 256, 3), nn.Conv2d(256, 255, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for i in range(4):
            x = self.pool(self.stem[i](x))
        side = self.stem[4](x)
        x = self.blur(self.stem[5](self.pool(side)))
        x = self.neck(self.wide(x))
        joined = torch.cat([self.up(self.lateral(x)), side], 1)
        return self.fine_map(self.fine(joined)), self.coarse_map(self.coarse(x))


class Residual(nn.Module):
    """x + conv3x3(conv1x1(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, channels // 2, 1)
        self.expand = ConvNorm(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(self.reduce(x))


class SpatialPyramid(nn.Module):
    """Three 5x5 pools in a row, joined."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce, self.pool = ConvNorm(inputs, inputs // 2, 1), nn.MaxPool2d(5, 1, 2)
        self.join = ConvNorm(2 * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.reduce(x)
        b = self.pool(a)
        c = self.pool(b)
        return self.join(torch.cat([a, b, c, self.pool(c)], 1))


class TinyDarknet(nn.Module):
    """See `visionkit.models.backbones.TinyDarknet`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 16, 3, 2)
        self.stage1, self.stage2 = self._stage(16, 32, 1), self._stage(32, 64, 2)
        self.stage3, self.stage4 = self._stage(64, 128, 2), self._stage(128, 256, 1)
        self.pyramid = SpatialPyramid(256, 256)

    @staticmethod
    def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
        return nn.Sequential(ConvNorm(inputs, outputs, 3, 2), *(Residual(outputs) for _ in range(depth)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3 = self.stage2(self.stage1(self.stem(x)))
        c4 = self.stage3(c3)
        return c3, c4, self.pyramid(self.stage4(c4))


class FeaturePyramid(nn.Module):
    """See `visionkit.models.necks.FeaturePyramid`."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(c, 64, 1) for c in (64, 128, 256))
        self.smooth = nn.ModuleList(ConvNorm(64, 64, 3) for _ in range(3))
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        top = self.lateral[2](c5)
        middle = self.smooth[1](self.lateral[1](c4) + self.up(top))
        fine = self.smooth[0](self.lateral[0](c3) + self.up(middle))
        return fine, middle, self.smooth[2](top)


class LightHead(nn.Module):
    """See `visionkit.models.heads.LightHead`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleList(ConvNorm(64, 64, 3) for _ in range(3))
        self.predict = nn.ModuleList(nn.Conv2d(64, 255, 1) for _ in range(3))

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.predict[0](self.conv[0](a)),
            self.predict[1](self.conv[1](b)),
            self.predict[2](self.conv[2](c)),
        )


class YoloNano(nn.Module):
    """See `visionkit.models.detectors.yolo_nano`."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = TinyDarknet(), FeaturePyramid(), LightHead()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.head(*self.neck(*self.backbone(x)))
