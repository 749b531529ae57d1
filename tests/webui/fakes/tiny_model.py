"""A model with all 26 blocks of SD1 under LDM's names, eight channels wide."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

WIDTH = 8
TOKENS = 77


class Res(nn.Module):
    def __init__(self, wide: int = WIDTH) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(2, wide), nn.SiLU(), nn.Conv2d(wide, WIDTH, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(2, WIDTH), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if wide == WIDTH else nn.Conv2d(wide, WIDTH, 1)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        inner = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(inner)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        other = x if context is None else context
        weights = (self.to_q(x) @ self.to_k(other).transpose(1, 2) / WIDTH**0.5).softmax(-1)
        return self.to_out(weights @ self.to_v(other))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(WIDTH, 4 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * nn.functional.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(Gated(), nn.Dropout(0.0), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1, self.ff, self.attn2 = Attention(), FeedForward(), Attention()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.proj_in, self.proj_out = (
            nn.GroupNorm(2, WIDTH),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.Conv2d(WIDTH, WIDTH, 1),
        )
        self.transformer_blocks = nn.ModuleList([Block()])

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        inner = self.proj_in(self.norm(x))
        flat = self.transformer_blocks[0](inner.flatten(2).transpose(1, 2), context)
        return x + self.proj_out(flat.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.op = nn.Conv2d(WIDTH, WIDTH, 3, stride=1, padding=1)  # the size stays, for pictures of a few pixels

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        return self.conv(x)


class First(nn.Conv2d):
    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, x)


def pile(*parts: nn.Module) -> nn.ModuleList:
    return nn.ModuleList(parts)


class UNet(nn.Module):
    """LDM's `UNetModel` in small: the same names for the same parts."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        attended = [pile(Res(), SpatialTransformer()) for _ in range(6)]
        self.input_blocks = nn.ModuleList(
            [pile(nn.Conv2d(4, WIDTH, 3, padding=1)), *attended[0:2], pile(Downsample()), *attended[2:4]]
            + [pile(Downsample()), *attended[4:6], pile(Downsample()), pile(Res()), pile(Res())]
        )
        self.middle_block = pile(Res(), SpatialTransformer(), Res())
        wide = 2 * WIDTH
        self.output_blocks = nn.ModuleList([pile(Res(wide)), pile(Res(wide)), pile(Res(wide), Upsample())])
        for number in range(3, 12):
            last = [Upsample()] if number in (5, 8) else []
            self.output_blocks.append(pile(Res(wide), SpatialTransformer(), *last))
        self.out = nn.Sequential(nn.GroupNorm(2, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, 4, 3, padding=1))

    def forward(
        self, x: Tensor, timesteps: Tensor | None = None, context: Tensor | None = None, **more: object
    ) -> Tensor:
        """Return the prediction for latents ``(B, 4, h, w)``; ``context`` is ``(B, tokens, width)``."""
        waves = torch.arange(1, WIDTH + 1, device=x.device) / 1000.0
        emb = self.time_embed(torch.sin(timesteps.float()[:, None] * waves))
        kept: list[Tensor] = []
        for block in self.input_blocks:
            for part in block:
                x = part(x) if isinstance(part, nn.Conv2d) else part(x, emb, context)
            kept.append(x)
        for part in self.middle_block:
            x = part(x, emb, context)
        for block in self.output_blocks:
            x = torch.cat([x, kept.pop()], 1)
            for part in block:
                x = part(x, emb, context)
        return self.out(x)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.q_proj(x) @ self.k_proj(x).transpose(1, 2) / WIDTH**0.5).softmax(-1)
        return self.out_proj(weights @ self.v_proj(x))


class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = SelfAttention()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 2 * WIDTH), "fc2": nn.Linear(2 * WIDTH, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp["fc2"](torch.sigmoid(self.mlp["fc1"](self.layer_norm2(x))))


class TextTransformer(nn.Module):
    """CLIP's text model in small: called as transformers' own is."""

    def forward(self, input_ids: Tensor, output_hidden_states: object = None) -> SimpleNamespace:
        """Return hidden states of token ids ``(n, 77)``, the embeddings first; the last one also normalized."""
        states = [self.text_model.embeddings.token_embedding(input_ids)]
        for layer in self.text_model.encoder.layers:
            states.append(layer(states[-1]))
        last = self.text_model.final_layer_norm(states[-1])
        return SimpleNamespace(last_hidden_state=last, hidden_states=tuple(states))


def text_transformer(layers: int = 2) -> nn.Module:
    """Return CLIP's text model in small, under transformers' names."""
    top = TextTransformer()
    top.text_model = nn.Module()
    top.text_model.embeddings = nn.Module()
    top.text_model.embeddings.token_embedding = nn.Embedding(512, WIDTH)
    top.text_model.encoder = nn.Module()
    top.text_model.encoder.layers = nn.ModuleList(EncoderLayer() for _ in range(layers))
    top.text_model.final_layer_norm = nn.LayerNorm(WIDTH)
    return top


class TextEncoder(nn.Module):
    """The host's wrapper around the text encoder: called with texts, it gives ``(B, 77, width)``."""

    def __init__(self) -> None:
        super().__init__()
        self.wrapped = nn.Module()
        self.wrapped.transformer = text_transformer()
        self.calls = 0

    id_start, id_end, id_pad, hijack = 0, 0, 0, None

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return a number for every word."""
        return [[zlib.crc32(word.encode()) % 511 + 1 for word in text.split()] for text in texts]

    def forward(self, texts: Sequence[str]) -> Tensor:
        self.calls += 1
        model = self.wrapped.transformer.text_model
        ids = [[zlib.crc32(word.encode()) % 511 + 1 for word in text.split()][:TOKENS] for text in texts]
        rows = torch.tensor([row + [0] * (TOKENS - len(row)) for row in ids])
        x = model.embeddings.token_embedding(rows)
        for layer in model.encoder.layers:
            x = layer(x)
        return model.final_layer_norm(x)


class SdModel(nn.Module):
    """A1111's loaded SD1 model in small."""

    is_sd1, is_sd2, is_sdxl, is_sd3, is_ssd, is_sdxl_inpaint = True, False, False, False, False, False
    parameterization, lowvram, cond_stage_key, latent_channels = "eps", False, "txt", 4

    def __init__(self, name: str = "tiny") -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.conditioning_key = "crossattn"
        self.model.diffusion_model = UNet()
        self.cond_stage_model = TextEncoder()
        self.first_stage_model = nn.Module()
        self.first_stage_model.encoder = nn.Module()
        self.first_stage_model.encoder.num_resolutions = 4  # eight pixels a latent
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())
        self.sd_checkpoint_info = SimpleNamespace(
            name=f"{name}.safetensors",
            name_for_extra=name,
            filename=f"{name}.safetensors",
            title=name,
            shorthash="0000",
        )
        self.sd_model_hash = "0000"
        self.scale_factor = 0.18215
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return torch.device("cpu")

    @contextlib.contextmanager
    def ema_scope(self) -> Iterator[None]:
        """Do nothing, as for a model without averaged weights."""
        yield

    def apply_model(self, x: Tensor, t: Tensor, cond: dict[str, list[Tensor]]) -> Tensor:
        """Return the raw prediction."""
        return self.model.diffusion_model(x, t, context=torch.cat(cond["c_crossattn"], 1))

    def encode_first_stage(self, pixels: Tensor) -> Tensor:
        """Return latents of pixels in [-1, 1]: one value for eight by eight pixels."""
        small = nn.functional.avg_pool2d(pixels, 8)
        return torch.cat([small, small.mean(1, keepdim=True)], 1)

    def get_first_stage_encoding(self, latents: Tensor) -> Tensor:
        """Return scaled latents."""
        return latents * self.scale_factor

    def decode_first_stage(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1] of scaled latents."""
        return nn.functional.interpolate(torch.tanh(latents[:, :3]), scale_factor=8)


def tiny_model(name: str = "tiny", seed: int = 0) -> SdModel:
    """Return the model with the random weights of a seed; the generator of the process is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SdModel(name)
