"""Fake of `modules.processing`: one generation, with the calls of the host in the host's order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tests.webui.fakes.core import find_sampler_config, quote

SIDE = 32
"""Width and height of a picture in pixels, unless said otherwise."""


@dataclass(repr=False)
class StableDiffusionProcessing:
    """`p`; the class-level caches are shared by all of them, as in the host."""

    sd_model: object = None
    outpath_samples: str | None = None
    outpath_grids: str | None = None
    prompt: Any = ""
    negative_prompt: Any = ""
    styles: list[str] | None = None
    seed: Any = -1
    subseed: Any = -1
    subseed_strength: float = 0
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict[str, Any] | None = None
    denoising_strength: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool = True
    disable_extra_networks: bool = False
    scripts: Any = field(default=None, init=False)
    script_args: Any = field(default=(), init=False)
    comments: dict[str, int] | None = None
    is_hr_pass: bool = field(default=False, init=False)
    is_api: bool = field(default=False, init=False)
    iteration: int = field(default=0, init=False)
    extra_network_data: Any = field(default=None, init=False)
    hr_prompts: Any = field(default=None, init=False)
    hr_extra_network_data: Any = field(default=None, init=False)
    sampler: Any = field(default=None, init=False)

    cached_c = [None, None]
    cached_uc = [None, None]
    cached_hr_c = [None, None]
    cached_hr_uc = [None, None]

    def __post_init__(self) -> None:
        self.comments = {}
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
            setattr(self, name, getattr(StableDiffusionProcessing, name))

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def close(self) -> None:
        self.sampler = None

    def get_conds(self) -> tuple[Any, Any]:
        return self.c, self.uc

    def setup_prompts(self) -> None:
        many = self.batch_size * self.n_iter
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt] * many
        negative = self.negative_prompt
        self.all_negative_prompts = negative if isinstance(negative, list) else [negative] * len(self.all_prompts)


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """Txt2img, with the second pass of hires."""

    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_prompt: str = ""
    hr_negative_prompt: str = ""


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """Img2img."""

    init_images: list[Any] | None = None
    resize_mode: int = 0
    mask: Any = None


class Processed:
    """What a generation returns."""

    def __init__(
        self, p: Any, images_list: list[Image.Image], info: str = "", infotexts: list[str] | None = None
    ) -> None:
        self.images, self.info, self.infotexts = images_list, info, infotexts or [info] * len(images_list)
        self.all_prompts, self.all_seeds, self.seed = p.all_prompts, p.all_seeds, p.all_seeds[0]
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.index_of_first_image, self.extra_generation_params = 0, p.extra_generation_params

    def js(self) -> str:
        return json.dumps({"infotexts": self.infotexts, "all_seeds": self.all_seeds}, default=lambda o: None)


class Denoiser:
    """`CFGDenoiser`: counts its calls in ``step``; conds of all samples first, then unconds."""

    def __init__(self, host: Any, p: Any) -> None:
        self.host, self.p, self.step, self.total_steps = host, p, 0, 0
        self.sampler = SimpleNamespace(config=find_sampler_config(p.sampler_name))

    def __call__(self, x: Tensor, timestep: Tensor, cond: Tensor, uncond: Tensor) -> Tensor:
        host, state = self.host, self.host.state
        if state.interrupted or state.skipped:
            raise host.InterruptedException
        params = SimpleNamespace(
            x=torch.cat([x, x]), image_cond=None, sigma=torch.cat([timestep, timestep]),
            sampling_step=state.sampling_step, total_sampling_steps=state.sampling_steps,
            text_cond=cond, text_uncond=uncond, denoiser=self,
        )  # fmt: skip
        host.callbacks.call("cfg_denoiser", params)
        whole = torch.cat([params.text_cond, params.text_uncond])
        if host.opts.batch_cond_uncond:
            out = host.apply_model(params.x, params.sigma, whole)
        else:
            size = x.shape[0]
            parts = [slice(at, at + size) for at in range(0, whole.shape[0], size)]
            out = torch.cat([host.apply_model(params.x[s], params.sigma[s], whole[s]) for s in parts])
        first, second = out.chunk(2)
        after = SimpleNamespace(x=second + self.p.cfg_scale * (first - second), denoiser=self)
        host.callbacks.call("cfg_after_cfg", after)
        self.step += 1
        return after.x


def sample(host: Any, p: Any, x: Tensor, steps: int) -> Tensor:
    """Run a sampler's steps; a second-order one calls the denoiser twice a step, but for the last."""
    denoiser, state = Denoiser(host, p), host.state
    twice = bool(denoiser.sampler.config and denoiser.sampler.config.options.get("second_order"))
    p.sampler, denoiser.total_steps, state.sampling_steps, state.sampling_step = denoiser.sampler, steps, steps, 0
    p.sampler.model_wrap_cfg = denoiser
    try:
        for number in range(steps):
            timestep = torch.full((x.shape[0],), 999.0 * (1 - number / steps))
            change = denoiser(x, timestep, p.c, p.uc)
            if twice and number + 1 < steps:
                change = (change + denoiser(x - change / steps, timestep * 0.9, p.c, p.uc)) / 2
            x = x - change / steps
            state.sampling_step = number + 1  # the host's callback comes after the step
            if state.stopping_generation:
                break
    except host.InterruptedException:
        return x
    return x


def conditioned(host: Any, p: Any, texts: list[str], cache: list[Any], data: Any) -> Tensor:
    """Return the conditioning of texts, from the cache where texts, tags, size and steps are those of before."""
    opts = host.opts
    key = (tuple(texts), p.steps, opts.CLIP_stop_at_last_layers, id(host.sd_model), data, p.width, p.height)
    if cache[0] is not None and cache[0] == key:
        return cache[1]
    cache[:] = [key, host.sd_model.cond_stage_model(texts)]
    return cache[1]


def create_infotext(p: Any, index: int) -> str:
    """Return the text of one picture."""
    sizes = {"Size": f"{p.width}x{p.height}", "Sampler": p.sampler_name, "CFG scale": p.cfg_scale}
    values = {"Steps": p.steps, "Seed": p.all_seeds[index], **sizes, **p.extra_generation_params}
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = value[index]
        elif callable(value):
            values[key] = value(p=p, index=index)
    keys = ", ".join(f"{key}: {quote(value)}" for key, value in values.items() if value is not None)
    negative = f"\nNegative prompt: {p.all_negative_prompts[index]}" if p.all_negative_prompts[index] else ""
    return f"{p.all_prompts[index]}{negative}\n{keys}"


def process_images(host: Any, p: Any) -> Processed:
    """Make the pictures of ``p``."""
    scripts, images, infotexts = p.scripts, [], []
    if scripts is not None:
        scripts.before_process(p)
    host.model_hijack.comments.clear()
    p.setup_prompts()
    seeds = p.seed if isinstance(p.seed, list) else [int(p.seed) + n for n in range(len(p.all_prompts))]
    p.all_seeds, p.all_subseeds = seeds, [0] * len(seeds)
    if scripts is not None:
        scripts.process(p)
    if host.state.job_count == -1:
        host.state.job_count = p.n_iter
    with torch.no_grad(), p.host_model.ema_scope():
        for number in range(p.n_iter):
            p.iteration = number
            if host.state.interrupted or host.state.stopping_generation:
                break
            images += _batch(host, p)
            host.state.nextjob()
        infotexts = [create_infotext(p, n) for n in range(len(images))] or [create_infotext(p, 0)]
    for image, text in zip(images, infotexts, strict=False):
        image.info["parameters"] = text
    if not p.disable_extra_networks and p.extra_network_data:
        host.extra_networks.deactivate(p, p.extra_network_data)
    done = Processed(p, images, infotexts[0], infotexts)
    if scripts is not None:
        scripts.postprocess(p, done)
    return done


def _batch(host: Any, p: Any) -> list[Image.Image]:
    scripts, rows = p.scripts, slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[rows], p.all_negative_prompts[rows]
    p.seeds, p.subseeds = p.all_seeds[rows], p.all_subseeds[rows]
    batch = {"batch_number": p.iteration, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    if scripts is not None:
        scripts.before_process_batch(p, **batch)
    hires = [p.hr_prompt] * len(p.seeds) if getattr(p, "hr_prompt", "") else p.prompts
    p.prompts, p.extra_network_data = host.extra_networks.parse_prompts(p.prompts)
    if getattr(p, "enable_hr", False):  # read before the first pass is activated, as the host does
        p.hr_prompts, p.hr_extra_network_data = host.extra_networks.parse_prompts(hires)
    if not p.disable_extra_networks:
        host.extra_networks.activate(p, p.extra_network_data)
    if scripts is not None:
        scripts.process_batch(p, **batch)
    p.uc = conditioned(host, p, p.negative_prompts, p.cached_uc, p.extra_network_data)
    p.c = conditioned(host, p, p.prompts, p.cached_c, p.extra_network_data)
    for comment in host.model_hijack.comments:
        p.comment(comment)
    latents = _sampled(host, p)
    pixels = host.sd_model.decode_first_stage(latents)
    bytes_ = ((pixels.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(row.numpy()) for row in bytes_]


def _sampled(host: Any, p: Any) -> Tensor:
    noise = [torch.randn(4, p.height // 8, p.width // 8, generator=torch.Generator().manual_seed(s)) for s in p.seeds]
    before = p.scripts.process_before_every_sampling if p.scripts is not None else lambda p, **named: None
    before(p, x=None, noise=None, c=p.c, uc=p.uc)
    start = getattr(p, "init_images", None)
    x = torch.stack(noise)
    if start:
        x = x * p.denoising_strength
    x = sample(host, p, x, p.steps)
    if not getattr(p, "enable_hr", False):
        return x
    p.is_hr_pass = True
    host.state.nextjob()
    if not p.disable_extra_networks:
        host.extra_networks.activate(p, p.hr_extra_network_data)
    p.uc = conditioned(host, p, p.negative_prompts, p.cached_hr_uc, p.hr_extra_network_data)
    p.c = conditioned(host, p, p.hr_prompts, p.cached_hr_c, p.hr_extra_network_data)
    if p.scripts is not None:
        p.scripts.before_hr(p)
    before(p, x=None, noise=None, c=p.c, uc=p.uc)
    x = sample(host, p, torch.nn.functional.interpolate(x, scale_factor=2), p.hr_second_pass_steps or p.steps)
    p.is_hr_pass = False
    return x
