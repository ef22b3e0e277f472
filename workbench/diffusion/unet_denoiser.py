"""The denoiser in the paper's words: the U-Net of latent diffusion with cross-attention to the condition.

DiffAugment (section 3.2) takes over latent diffusion's cross-attention for features of 4096 dimensions, which its U-Net
reads as one channel of 64 x 64 (design, decision "Network"). The network is diffusers' ``UNet2DConditionModel``; here
are the square, the condition and the sizes. Neighbouring dimensions of a feature have nothing to do with each other, so
it is kept for comparison: at full size it is about 800 times the arithmetic of the MLP (diffusion reference, E).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.diffusion.conditioned_network import ConditionedNetwork, DataSizes, NetworkConfig, NoiseLevels
from workbench.diffusion.conditions import REGIONS
from workbench.errors import WorkbenchError
from workbench.ranges import Count

# The U-Net's sinusoids are made for about a thousand timesteps; log(alpha / sigma) spans about ten.
TIME_SCALE = 100.0
MOST_GROUPS, LEAST_CHANNELS_PER_GROUP = 32, 4
# Numbers in one activation of the first level: 64 MB in float32, of which a forward pass holds about a dozen.
NUMBERS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class UNetConfig(NetworkConfig):
    """Sizes of the U-Net denoiser: ``channels`` of each level, ``layers`` residual blocks in a level on the way down.

    Latent diffusion has (320, 640, 1280, 1280) and 2. Every level but the coarsest attends to the condition, as the
    bottom does, with ``heads`` heads. The paper does not give sizes.
    """

    target: Literal["x0", "epsilon"] = "epsilon"
    channels: tuple[Count, ...] = (32, 64, 64)
    layers: Count = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(channels % self.heads for channels in self.channels):
            what = f"a U-Net with channels {self.channels} and {self.heads} heads cannot be built"
            raise WorkbenchError(f"{what}; name the channels of each level, a multiple of heads.")

    @property
    def norm_groups(self) -> int:
        """Groups of each group normalisation: 32 as usual, fewer where that leaves a group under 4 channels.

        Time is added per channel right before a normalisation, which over a single channel would remove it again.
        """
        shared = math.gcd(MOST_GROUPS, *self.channels)
        while shared > 1 and min(self.channels) // shared < LEAST_CHANNELS_PER_GROUP:
            shared //= 2
        return shared


def side_of_square(features: int, levels: int) -> int:
    """Side of the smallest square that holds ``features`` numbers and halves evenly ``levels`` - 1 times (4096: 64)."""
    halvings = 2 ** (levels - 1)
    smallest = math.isqrt(max(features, 1) - 1) + 1
    return -(-smallest // halvings) * halvings


class UNetDenoiser(ConditionedNetwork):
    """Predicts the noise, or standardised x_0, (B, D) from noisy x_t laid out row by row on a square.

    The numbers beyond D are zero going in and cut off coming out. The U-Net makes keys and values of the condition
    tokens; the region (union or box) is its class embedding.
    """

    config: UNetConfig

    def __init__(self, config: UNetConfig, sizes: DataSizes):
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        super().__init__(config, sizes)
        self.side = side_of_square(sizes.features, len(config.channels))
        attending = len(config.channels) - 1
        self.unet = UNet2DConditionModel(
            sample_size=self.side,
            in_channels=1,
            out_channels=1,
            down_block_types=("CrossAttnDownBlock2D",) * attending + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * attending,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            dropout=config.dropout,
            norm_num_groups=config.norm_groups,
            cross_attention_dim=config.token_width,
            attention_head_dim=config.heads,  # the number of heads: the name is diffusers' own slip, kept for its files
            num_class_embeds=len(REGIONS),
        )
        # As latent diffusion does it: the output starts at zero, whatever goes in.
        for parameter in self.unet.get_submodule("conv_out").parameters():
            nn.init.zeros_(parameter)
        numbers = config.channels[0] * self.side**2
        self.rows_at_once = max(1, min(ConditionedNetwork.rows_at_once, NUMBERS_AT_ONCE // numbers))

    def forward(self, noisy: Tensor, levels: NoiseLevels, memory: tuple[Tensor, ...]) -> Tensor:
        """The target (B, D) for ``noisy`` (B, D), whose rows are L equal groups in the order of the L noise levels.

        The network is told the level by its log-SNR and not by the step's number, so that it means the same in every
        schedule.
        """
        (rows, dimension), side, (tokens, region) = noisy.shape, self.side, memory
        square = F.pad(noisy, (0, side * side - dimension)).view(rows, 1, side, side)
        times = -TIME_SCALE * levels.of_rows(rows)
        predicted = self.unet(square, times, tokens, class_labels=region, return_dict=False)[0]
        return predicted.reshape(rows, -1)[:, :dimension]
