"""The networks for key points in torch, for `run_torch`: names as ours, so that weights fit by name."""

import torch
from torch import nn
from torch.nn import functional as fn

EPS, MOMENTUM = 1e-3, 0.03


class ConvNorm(nn.Module):
    def __init__(self, a, b, kernel, stride=1, dilation=1, groups=1, slope=0.1):
        super().__init__()
        self.conv = nn.Conv2d(
            a, b, kernel, stride, dilation * (kernel // 2), dilation, groups, bias=False
        )  # fmt: skip
        self.bn, self.slope = nn.BatchNorm2d(b, EPS, MOMENTUM), slope

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x if self.slope is None else fn.leaky_relu(x, self.slope)


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.reduce, self.expand = ConvNorm(c, c // 2, 1), ConvNorm(c // 2, c, 3)

    def forward(self, x):
        return x + self.expand(self.reduce(x))


class SpatialPyramid(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.reduce, self.join = ConvNorm(c, c // 2, 1), ConvNorm(2 * c, c, 1)

    def forward(self, x):
        levels = [self.reduce(x)]
        for _ in range(3):
            levels.append(fn.max_pool2d(levels[-1], 5, 1, 2))
        return self.join(torch.cat(levels, 1))


class TinyDarknet(nn.Module):
    def __init__(self):
        super().__init__()
        c = [16 * 2**i for i in range(5)]
        self.stem = ConvNorm(3, 16, 3, 2)
        for i, depth in enumerate((1, 2, 2, 1)):
            blocks = [Residual(c[i + 1]) for _ in range(depth)]
            setattr(self, f"stage{i + 1}", nn.Sequential(ConvNorm(c[i], c[i + 1], 3, 2), *blocks))
        self.pyramid, self.out_channels = SpatialPyramid(256), c[1:]

    def forward(self, x):
        c2 = self.stage1(self.stem(x))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.pyramid(self.stage4(c4))


class InvertedResidual(nn.Module):
    def __init__(self, a, b, stride, factor, dilation):
        super().__init__()
        hidden = a * factor
        if factor > 1:
            self.expand = ConvNorm(a, hidden, 1, slope=None)
        self.depthwise = ConvNorm(hidden, hidden, 3, stride, dilation, hidden, None)
        self.project = ConvNorm(hidden, b, 1, slope=None)
        self.factor, self.adds = factor, stride == 1 and a == b

    def forward(self, x):
        y = fn.relu6(self.expand(x)) if self.factor > 1 else x
        y = self.project(fn.relu6(self.depthwise(y)))
        return x + y if self.adds else y


class DilatedMobileNet(nn.Module):
    out_channels = (24, 32, 160)

    def __init__(self):
        super().__init__()
        self.stem, inputs = ConvNorm(3, 32, 3, 2, slope=None), 32
        self.stages = nn.ModuleList()
        for factor, outputs, count, stride, dilation in (
            (1, 16, 1, 1, 1), (6, 24, 2, 2, 1), (6, 32, 3, 2, 1), (6, 64, 4, 2, 1), (6, 96, 3, 1, 1),
            (6, 160, 2, 1, 2),
        ):  # fmt: skip
            blocks = []
            for i in range(count):
                blocks.append(InvertedResidual(inputs, outputs, 1 if i else stride, factor, dilation))
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x):
        x, levels = fn.relu6(self.stem(x)), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[1], levels[2], levels[5]


class Bottleneck(nn.Module):
    def __init__(self, a, b=None):
        super().__init__()
        b = b or a
        self.bn1, self.conv1 = nn.BatchNorm2d(a), nn.Conv2d(a, b // 2, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(b // 2), nn.Conv2d(b // 2, b // 2, 3, 1, 1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(b // 2), nn.Conv2d(b // 2, b, 1)
        self.shortcut = nn.Identity() if a == b else nn.Conv2d(a, b, 1)

    def forward(self, x):
        y = self.conv1(fn.relu(self.bn1(x)))
        y = self.conv2(fn.relu(self.bn2(y)))
        return self.shortcut(x) + self.conv3(fn.relu(self.bn3(y)))


class Hourglass(nn.Module):
    def __init__(self, depth, c, block=Bottleneck):
        super().__init__()
        self.upper, self.before, self.after = block(c), block(c), block(c)
        self.inner = Hourglass(depth - 1, c, block) if depth > 1 else block(c)

    def forward(self, x):
        lower = self.after(self.inner(self.before(fn.max_pool2d(x, 2))))
        return self.upper(x) + fn.interpolate(lower, scale_factor=2)


class Aggregation(nn.Module):
    def __init__(self, inputs, c):
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(i, c, 1) for i in inputs)
        self.smooth = nn.ModuleList(ConvNorm(c, c, 3) for _ in inputs[1:])

    def forward(self, levels):
        sides = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        top = sides[-1]
        for i in range(len(sides) - 2, -1, -1):
            top = self.smooth[i](sides[i] + fn.interpolate(top, scale_factor=2))
        return top


class Stage(nn.Module):
    def __init__(self, body, c, points, fields):
        super().__init__()
        self.body, self.heat, self.fields = body, nn.Conv2d(c, points, 1), nn.Conv2d(c, fields, 1)

    def forward(self, x):
        x = self.body(x)
        return self.heat(x), self.fields(x)


class OpenPoseLite(nn.Module):
    def __init__(self, backbone, c, points, fields, refinements, depth):
        super().__init__()
        self.backbone, self.neck = backbone, Aggregation(backbone.out_channels, c)
        join = c + points + fields
        bodies = [ConvNorm(c, c, 3)] + [
            nn.Sequential(ConvNorm(join, c, 1), Hourglass(depth, c, Residual), ConvNorm(c, c, 1))
            for _ in range(refinements)
        ]
        self.stages = nn.ModuleList(Stage(body, c, points, fields) for body in bodies)

    def forward(self, x):
        features = self.neck(self.backbone(x))
        maps = [*self.stages[0](features)]
        for stage in self.stages[1:]:
            maps += stage(torch.cat([features, *maps[-2:]], 1))
        return tuple(maps)


class Stack(nn.Module):
    def __init__(self, depth, c, points, block, last):
        super().__init__()
        self.body = nn.Sequential(Hourglass(depth, c, block), block(c), ConvNorm(c, c, 1, slope=0.0))
        self.heat = nn.Conv2d(c, points, 1)
        if not last:
            self.trunk, self.back = nn.Conv2d(c, c, 1), nn.Conv2d(points, c, 1)


class StackedHourglass(nn.Module):
    def __init__(self, stem, stacks, c, points, depth=4, block=Bottleneck):
        super().__init__()
        self.stem = stem
        self.stacks = nn.ModuleList(Stack(depth, c, points, block, i == stacks - 1) for i in range(stacks))

    def forward(self, x):
        x, maps = self.stem(x), []
        for i, stack in enumerate(self.stacks):
            y = stack.body(x)
            maps.append(stack.heat(y))
            if i < len(self.stacks) - 1:
                x = x + stack.trunk(y) + stack.back(maps[-1])
        return tuple(maps)


def hourglass(points, stacks):
    stem = nn.Sequential(
        ConvNorm(3, 64, 7, 2, slope=0.0), Bottleneck(64, 128), nn.MaxPool2d(2), Bottleneck(128),
        Bottleneck(128, 256),
    )  # fmt: skip
    return StackedHourglass(stem, stacks, 256, points)


def hourglass_lite(points, stacks):
    stem = nn.Sequential(ConvNorm(3, 32, 3, 2), ConvNorm(32, 96, 3, 2), Residual(96))
    return StackedHourglass(stem, stacks, 96, points, block=Residual)


class VggFront(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512)
        self.convs = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, 1, 1) for i in range(10))

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = fn.relu(conv(x))
            x = fn.max_pool2d(x, 2) if i in (1, 3, 7) else x
        return x


class Branch(nn.Module):
    def __init__(self, a, b, kernel, depth, hidden):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(128 if i else a, 128, kernel, 1, kernel // 2) for i in range(depth)
        )
        self.hidden, self.predict = nn.Conv2d(128, hidden, 1), nn.Conv2d(hidden, b, 1)

    def forward(self, x):
        for conv in self.convs:
            x = fn.relu(conv(x))
        return self.predict(fn.relu(self.hidden(x)))


class OpenPose(nn.Module):
    def __init__(self, points, fields, stages):
        super().__init__()
        self.front = VggFront()
        self.reduce = nn.ModuleList([nn.Conv2d(512, 256, 3, 1, 1), nn.Conv2d(256, 128, 3, 1, 1)])
        seen = 128 + points + fields
        later = stages - 1
        self.heat, self.fields = (
            nn.ModuleList([
                Branch(128, outputs, 3, 3, 512), *(Branch(seen, outputs, 7, 5, 128) for _ in range(later))
            ])
            for outputs in (points, fields)
        )  # fmt: skip

    def forward(self, x):
        features = self.front(x)
        for conv in self.reduce:
            features = fn.relu(conv(features))
        seen, maps = features, []
        for heat, fields in zip(self.heat, self.fields, strict=True):
            maps += [heat(seen), fields(seen)]
            seen = torch.cat([maps[-1], maps[-2], features], 1)
        return tuple(maps)


class LandmarkNet(nn.Module):
    def __init__(self, points, hidden):
        super().__init__()
        widths = (3, 16, 48, 64, 64)
        self.convs = nn.ModuleList(ConvNorm(widths[i], widths[i + 1], 3) for i in range(4))
        self.fc5, self.fc6 = nn.Linear(256, hidden), nn.Linear(hidden, 2 * points)

    def forward(self, x):
        for conv in self.convs:
            x = fn.max_pool2d(conv(x), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)  # in the order of our maps
        return self.fc6(fn.leaky_relu(self.fc5(x), 0.1))


def run(network, given, result):
    """Maps, gradients of their products with `given` seeds, and moved statistics, in float64."""
    state = {k[2:]: torch.tensor(v) for k, v in given.items() if k.startswith("w.")}
    found = network.load_state_dict(state, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    assert not missing, missing
    assert not found.unexpected_keys, found.unexpected_keys
    network.double().train()
    maps = network(torch.tensor(given["x"]).permute(0, 3, 1, 2))
    maps = [m.movedim(1, -1) if m.ndim == 4 else m for m in (maps if isinstance(maps, tuple) else (maps,))]
    sum((m * torch.tensor(given[f"seed.{i}"])).sum() for i, m in enumerate(maps)).backward()
    result |= {f"map.{i}": m for i, m in enumerate(maps)}
    result |= {f"grad.{name}": p.grad for name, p in network.named_parameters()}
    result |= {f"stat.{n}": b for n, b in network.named_buffers() if not n.endswith("tracked")}
