"""The brick of most networks."""

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution without bias, batch-norm, activation; see `visionkit.models.blocks.ConvNorm`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1,
        act: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = act or nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))
