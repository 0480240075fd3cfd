"""Parts of networks that find key points."""

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """See `visionkit.models.hourglass.Bottleneck`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(hidden), nn.Conv2d(hidden, hidden, 3, 1, 1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(hidden), nn.Conv2d(hidden, channels, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.act(self.bn1(x)))
        y = self.conv2(self.act(self.bn2(y)))
        return x + self.conv3(self.act(self.bn3(y)))


class Hourglass(nn.Module):
    """See `visionkit.models.hourglass.Hourglass`."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.upper, self.before = Bottleneck(channels), Bottleneck(channels)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.inner = Hourglass(depth - 1, channels) if depth > 1 else Bottleneck(channels)
        self.after = Bottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        lower = self.after(self.inner(self.before(self.pool(x))))
        return self.upper(x) + self.up(lower)


class OpenPoseStage(nn.Module):
    """See `visionkit.models.openpose_vgg.Branch`."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(185 if i == 0 else 128, 128, 7, 1, 3) for i in range(5))
        self.hidden, self.predict = nn.Conv2d(128, 128, 1), nn.Conv2d(128, 38, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.act(conv(x))
        return self.predict(self.act(self.hidden(x)))
