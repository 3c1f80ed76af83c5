"""The terrain embedding network: from a terrain's features to a soft prompt, for terrains never trained on too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from softprompt.prompts.kinds import KindReader
from softprompt.prompts.table import take_prompts

MOST_DEVIATIONS = 5.0
"""Features of a terrain unlike all trained ones are cut off here: far from those a network says anything at all."""


@dataclass(frozen=True)
class TenSettings:
    """The shape of a network.

    Attributes:
        body: ``mlp`` reads the features as one vector; ``conv`` as profiles along the ground, so that what an obstacle
            means is learnt once for every place.
        hidden: width of the body.
        layers: layers of the body.
        channels: profiles that the features consist of, one behind the other and equally long.
        terrain_id: whether a vector learnt for each trained terrain joins the features. A terrain that was not trained
            on has that of the trained one whose features are nearest.
    """

    body: Literal["mlp", "conv"] = "mlp"
    hidden: int = 128
    layers: int = 2
    channels: int = 1
    terrain_id: bool = False


class TerrainEmbeddingNetwork(nn.Module):
    """A shared soft prompt, and what a network adds to it for each terrain.

    It is what Stage 3 of ELM calls a terrain embedding network (Lehman et al. 2022, arXiv 2206.08896), for a language
    model that stays frozen. The last layer starts at zero: at the start every terrain has the shared prompt.

    With ``points`` it makes several prompts a terrain, each for a kind of program: it reads where that lies too.

    Attributes:
        settings: the shape of the network.
        shared: the shared prompt, shape (1, n_soft_tokens, d_model).
        points: where the kind of each prompt lies, shape (n_terrains, n_points, size), or None.
    """

    features: Tensor
    center: Tensor
    scale: Tensor
    points: Tensor | None

    def __init__(
        self, shared: Tensor, features: Tensor, settings: TenSettings, seed: int = 0, points: Tensor | None = None
    ) -> None:
        """Makes a network for the terrains it will be trained on.

        Args:
            shared: the prompt that all start from, shape (n_soft_tokens, d_model).
            features: of the terrains to train on, shape (n_terrains, n_features).
            settings: the shape of the network.
            seed: decides its first weights.
            points: where the kind of program lies that each of several prompts of a terrain is to write, shape
                (n_terrains, n_points, size), in [0, 1]; None for one prompt a terrain.

        Raises:
            ValueError: the shapes are not those, or the features do not fall into equal profiles.
        """
        super().__init__()
        if shared.ndim != 2 or 0 in shared.shape:
            raise ValueError(f"a shared prompt has shape (n_soft_tokens, d_model), not {tuple(shared.shape)}")
        if features.ndim != 2 or 0 in features.shape or features.shape[1] % settings.channels:
            raise ValueError(
                f"features of shape {tuple(features.shape)} are not (n_terrains, n_features) in {settings.channels} "
                "equal profiles"
            )
        if points is not None and (points.ndim != 3 or 0 in points.shape or len(points) != len(features)):
            raise ValueError(f"points of shape {tuple(points.shape)} are not ({len(features)}, n_points, size)")
        self.settings = settings
        self.shared = nn.Parameter(shared.detach().to(torch.float32, copy=True)[None])
        features = features.detach().to(torch.float32, copy=True)
        center = features.mean(dim=0)
        self.register_buffer("features", features)
        self.register_buffer("center", center)
        self.register_buffer("scale", _deviations(features - center, settings.channels))
        self.register_buffer("points", None if points is None else points.detach().to(torch.float32, copy=True))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = _body(features.shape[1], settings)
            self.ids = nn.Embedding(len(features), settings.hidden) if settings.terrain_id else None
            self.norm = nn.LayerNorm(settings.hidden)
            self.head = nn.Linear(settings.hidden, shared.numel())
            # Last, so that a network without it begins as it always did.
            self.kinds = None if points is None else KindReader(points.shape[2], settings.hidden)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def n_soft_tokens(self) -> int:
        """Rows per terrain."""
        return self.shared.shape[1]

    @property
    def rows(self) -> nn.Parameter:
        """The shared prompt."""
        return self.shared

    def forward(self, terrain_index: Tensor) -> Tensor:
        """Returns the prompts of these indices, shape (b,) to (b, n_soft_tokens, d_model); see `prompts`."""
        return take_prompts(self.prompts(), terrain_index)

    def prompts(self, known: Tensor | None = None) -> Tensor:
        """Returns the prompts of all trained terrains, shape (n_prompts, n_soft_tokens, d_model); see PromptSource.

        Several prompts of a terrain stand side by side. A terrain that is not ``known`` is treated as a new one: it
        gets the id of the nearest of the others.
        """
        ids = torch.arange(len(self.features), device=self.features.device)
        if known is not None:
            ids = torch.where(known, ids, self._nearest(self.features, not_itself=True))
        return self._prompts(self.features, ids, self.points)

    @torch.no_grad()
    def move(self, points: Tensor) -> None:
        """Gives prompts other kinds to write, shape (n_terrains, n_points, size); for a network that has points."""
        assert self.points is not None
        self.points.copy_(points)

    @torch.no_grad()
    def prompts_for(self, features: Tensor, points: Tensor | None = None) -> Tensor:
        """Returns prompts for terrains that were not trained on.

        Args:
            features: shape (b, n_features).
            points: where the kinds of program lie that are wanted of each terrain, shape (n_points, size); left out,
                those of the trained terrain whose features are nearest. Of a network without points, always None.

        Returns:
            Shape (b, n_soft_tokens, d_model); of a network with points, (b * n_points, n_soft_tokens, d_model), those
            of a terrain side by side.

        Raises:
            ValueError: the network reads another number of features, or points of another size or none at all.
        """
        if features.ndim != 2 or features.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"the network reads {self.features.shape[1]} features of a terrain, and these are "
                f"{' x '.join(map(str, features.shape[1:]))}"
            )
        features = features.to(self.features)
        nearest = self._nearest(features)
        return self._prompts(features, nearest, self._wanted(nearest, points))

    def _wanted(self, nearest: Tensor, points: Tensor | None) -> Tensor | None:
        """The points of each of some new terrains, shape (b, n_points, size)."""
        if points is None:
            return None if self.points is None else self.points[nearest]
        if self.points is None:
            raise ValueError("the network reads no points: it makes one prompt a terrain")
        size = self.points.shape[2]
        if points.ndim != 2 or points.shape[1] != size or not len(points):
            raise ValueError(f"the network reads points of shape (n_points, {size}), and not {tuple(points.shape)}")
        return points.to(self.points).expand(len(nearest), -1, -1)

    def _prompts(self, features: Tensor, ids: Tensor, points: Tensor | None = None) -> Tensor:
        """From features (b, n_features), ids (b,) and points (b, n_points, size) to prompts."""
        hidden = self.body(self._normalised(features))
        if self.ids is not None:
            hidden = hidden + self.ids(ids)
        if self.kinds is not None and points is not None:
            # Expanded and not indexed: the gradient of that is summed in one order.
            hidden = self.kinds(hidden[:, None].expand(-1, points.shape[1], -1).flatten(0, 1), points.flatten(0, 1))
        return self.shared + self.head(self.norm(hidden)).unflatten(1, self.shared.shape[1:])

    def _normalised(self, features: Tensor) -> Tensor:
        return ((features - self.center) / self.scale).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)

    def _nearest(self, features: Tensor, not_itself: bool = False) -> Tensor:
        """Which trained terrain is most like each of these, shape (b, n_features) to (b,)."""
        distance = torch.cdist(self._normalised(features), self._normalised(self.features))
        if not_itself and len(distance) > 1:
            distance.fill_diagonal_(torch.inf)
        return distance.argmin(dim=1)


def _deviations(centered: Tensor, channels: int) -> Tensor:
    """Standard deviation of each profile over terrains and places, for each feature, shape (n_features,).

    One number a profile: a place where all trained terrains are alike must not blow up what another terrain has there.
    """
    profiles = centered.unflatten(1, (channels, -1))
    deviation = profiles.square().mean(dim=(0, 2)).sqrt()
    return torch.where(deviation > 1e-6, deviation, 1.0)[:, None].expand(profiles.shape[1:]).flatten().clone()


def _body(n_features: int, settings: TenSettings) -> nn.Sequential:
    """The layers from features (b, n_features) to (b, hidden)."""
    if settings.body == "mlp":
        widths = [n_features, *[settings.hidden] * settings.layers]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        return nn.Sequential(*(part for a, b in pairs for part in (nn.Linear(a, b), nn.GELU())))
    width, length, channels = max(1, settings.hidden // 4), n_features // settings.channels, settings.channels
    parts: list[nn.Module] = [nn.Unflatten(1, (channels, length))]
    for layer in range(settings.layers):
        stride = 1 if layer == 0 else 2
        parts += [nn.Conv1d(channels, width, 3, stride, padding=1), nn.GELU()]
        channels, length = width, (length - 1) // stride + 1
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(width * length, settings.hidden), nn.GELU())
