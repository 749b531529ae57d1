"""Our own host: diffusers with the pocket model, or with any SD1, SD2 or SDXL checkpoint of the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.lora_names import file_of_name, named_files, namesakes, unnameable
from lib_lora.host.base import GenerateRequest, GenerateResult, Lease, check_clip_skip
from lib_lora.host.gpu_memory import gpu_memory
from lib_lora.host.in_groups import Wish, in_groups, one_after_another
from lib_lora.host.infotext import infotext
from lib_lora.host.interruption import Interrupted, interruptible
from lib_lora.host.limits import check_order
from lib_lora.host.lora_files import LoraCache, LoraIndex
from lib_lora.host.prompt.read import ReadPrompt, check_usable, multipliers_of, read_prompt, window_of
from lib_lora.host.prompt.remarks import idle_notes, model_remarks
from lib_lora.host.studio.checkpoint import load_checkpoint
from lib_lora.host.studio.guidance import Guidance
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.host.studio.sampling import SAMPLERS, calls_of, sample, sampler_name
from lib_lora.host.studio.several import Several
from lib_lora.live.attach import Attached, at_step, attach, attach_all
from lib_lora.live.rank import cut_rank
from lib_lora.live.targets import find_targets, left_out
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import say

POCKET = Path(__file__).parents[1] / "pocket" / "pocket.safetensors"

AT_ONCE = 8
"""Pictures of several prompts in a pass at most: more are hardly faster, and a stop gives them up."""


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` prefers a GPU.

    Raises:
        InputError: there is no such device, or this torch cannot use it here.
    """
    if name != "auto":
        try:
            device = torch.device(name)
            torch.empty(1, device=device).zero_()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            cure = say("Choose auto, cpu, or one that this machine's PyTorch can use.")
            raise InputError("The device “{name}” cannot be used", name=name, cure=cure, option="device") from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass
class StudioHost:
    """The embedded host.

    Attributes:
        model: what is loaded.
        lora_folders: where names of tags are looked up, the first that has the name wins.
        presets: the block-weight presets that tags may name.
        lora_cache: the files that were read lately.
        lora_index: where each name's file lies.
        samplers: names of the samplers.
    """

    model: DiffusersModel
    lora_folders: tuple[Path, ...]
    presets: PresetFile
    lora_cache: LoraCache = field(default_factory=LoraCache, repr=False)
    lora_index: LoraIndex = field(default_factory=LoraIndex, repr=False)
    samplers: tuple[str, ...] = tuple(SAMPLERS)

    @classmethod
    def open(
        cls,
        model: Path | None = None,
        *,
        lora_folders: Iterable[Path] = (),
        presets: PresetFile | None = None,
        device: str = "auto",
        tokenizer: Path | None = None,
    ) -> StudioHost:
        """Load a checkpoint (None: the pocket model) and return the host over it."""
        path = model or POCKET
        if not path.is_file():
            cure = say("Check the path of the model.")
            raise InputError("There is no such model file", where=str(path), cure=cure, option="model")
        where = pick_device(device)
        dtype = torch.float16 if where.type == "cuda" and model is not None else torch.float32
        loaded = DiffusersModel(load_checkpoint(path, tokenizer=tokenizer), device=where, dtype=dtype)
        return cls(loaded, tuple(lora_folders), presets or PresetFile.shipped())

    def find_lora(self, name: str) -> Path:
        """Return the file that a tag's ``name`` means: a path, or a file in the LoRA folders by name or inner path."""
        return file_of_name(name, self.lora_folders, self.list_loras())

    def list_loras(self) -> Mapping[str, Path]:
        """Return every LoRA file by the name that a tag calls it; of two with one name the second by its path."""
        return self.lora_index.files(self.lora_folders, lambda: named_files(self.lora_folders))

    def read_lora(self, name: str) -> LoraFile:
        """Return the LoRA file of a tag's name, on the model's device."""
        return self.lora_cache.read(self.find_lora(name)).to(self.model.device)

    def generate(self, request: GenerateRequest, progress: Progress | None = None) -> GenerateResult:
        """Return the pictures of ``request``; a stop returns those that were finished.

        Raises:
            InputError: a sampler, a size or a weight in the prompt cannot be right, or a tag where the order is strict
                or a sweep would change nothing; nothing was rendered.
        """
        progress = progress or Progress()
        if request.init is not None:
            cure = say("Give no picture; img2img of a WebUI begins with one.")
            raise InputError("The studio begins with noise, not with a picture", where=say("init"), cure=cure)
        request = replace(request, sampler=sampler_name(request.sampler))
        self._check_size(request)
        check_clip_skip(request.clip_skip, self.model)
        read, loras = self._read(request)
        count = len(request.sweep) if request.sweep else request.batch
        chunk = min(count, request.sweep_chunk or self._chunk(request))
        images: list[Image.Image] = []
        texts: list[str] = []
        spoilt: list[int] = []
        total = -(-count // chunk) * request.steps
        for start in range(0, count, chunk):
            rows = range(start, min(count, start + chunk))
            try:
                with interruptible(self.model.unet, progress):
                    latents = self._latents(
                        request, read, loras, rows, progress, done=start // chunk * request.steps, total=total
                    )
            except Interrupted:
                break
            for row, latent in zip(rows, latents, strict=True):
                if progress.stopped:
                    break
                images += self.pictures_of(latent[None], spoilt)
                texts.append(infotext(request, read, row, model=self.model.name, size=self.size_of(request)))
            if progress.stopped:
                break
        notes = (
            *self.remarks(request, [read], spoilt),
            *(note for _, lora in loras for note in left_out(self.model, lora)),
        )
        return GenerateResult(tuple(images), tuple(texts), notes=tuple(dict.fromkeys(notes)), problems=read.problems)

    def generate_each(
        self, request: GenerateRequest, wishes: Sequence[Wish], progress: Progress
    ) -> Iterator[GenerateResult]:
        """Yield the pictures of many prompts in groups; prompts that can are drawn in one pass.

        Raises:
            InputError: see `generate`.
        """
        request = replace(request, sampler=sampler_name(request.sampler))
        self._check_size(request)
        check_clip_skip(request.clip_skip, self.model)

        def draw(group: Sequence[Wish], part: Progress) -> GenerateResult:
            together = Several.of(self, request, group)
            if together is None:
                return one_after_another(self.generate, request, group, part)
            return together.draw(self, part)

        return in_groups(request, wishes, progress, at_once=min(AT_ONCE, self._chunk(request)), draw=draw)

    def remarks(self, request: GenerateRequest, read: Sequence[ReadPrompt], spoilt: Sequence[int]) -> tuple[str, ...]:
        """Return what is to be said of finished pictures: of their prompts, of the model, of spoilt ones."""
        own = (*model_remarks(self.model.family, request.clip_skip), *about_spoilt(len(spoilt)))
        return tuple(dict.fromkeys((*(note for one in read for note in one.notes), *own)))

    def pictures_of(self, latents: Tensor, spoilt: list[int] | None = None) -> list[Image.Image]:
        """Return latents ``(n, 4, h, w)`` as pictures; ``spoilt`` gets a 1 for each with numbers that are none."""
        pixels = self.model.decode(latents)
        if spoilt is not None:
            spoilt += [1 for row in pixels if not torch.isfinite(row).all()]
        return to_pictures(pixels)

    def read(self, request: GenerateRequest) -> ReadPrompt:
        """Return the prompt of an order; its LoRAs need not be there."""
        return read_prompt(
            request.prompt,
            request.negative,
            presets=self.presets,
            family=self.model.family,
            seed=request.seed,
            swept=request.sweep is not None,
            check=lambda text: unnameable(text, self.lora_folders, self.list_loras()),
        )

    def _read(self, request: GenerateRequest) -> tuple[ReadPrompt, list[tuple[ResolvedTag, LoraFile]]]:
        """Return the prompt, and the LoRAs that can be used.

        Raises:
            InputError: one cannot, and the order is strict, or none is left that a sweep would change.
        """
        read = self.read(request)
        loras: list[tuple[ResolvedTag, LoraFile]] = []
        problems, notes = list(read.problems), list(read.notes)
        for tag in read.tags:
            try:
                lora = self.read_lora(tag.name)
                targets, _ = find_targets(self.model, lora)
            except AtelierError as error:
                problems.append(error)
            else:
                loras.append((tag, lora))
                notes += namesakes(tag.name, self.lora_folders, self.list_loras())
                idle = idle_notes(tag, (one.adapter.key for one in targets), self.model.family, request.steps)
                notes += [say("{name}: {said}", name=tag.name, said=note) for note in idle]
        check_usable(request, [tag for tag, _ in loras], problems)
        tags = tuple(tag for tag, _ in loras)
        return replace(read, tags=tags, notes=tuple(notes), problems=tuple(problems)), loras

    def check_training(self, *, trains_text: bool) -> None:
        """Refuse nothing: whatever the studio opens can be trained."""

    def training(self, name: str, *, trains_text: bool) -> AbstractContextManager[Lease]:
        """Lend the model: nobody else uses it, so there is nothing to prepare."""
        return nullcontext(Lease())

    def loras_changed(self) -> None:
        """Read the folders again when they are asked for."""
        self.lora_index.clear()

    def _check_size(self, request: GenerateRequest) -> None:
        step = self.model.pixels_per_latent * 8  # the UNet halves three times
        for side in (request.width, request.height):
            if side is not None and (side < step or side % step):
                raise InputError(
                    "A side of {side} px does not fit the model",
                    side=side,
                    where=say("size"),
                    cure="Use a multiple of {n} px.",
                    n=step,
                )
        pictures = len(request.sweep) if request.sweep else request.batch
        check_order(request, pictures, native_side=self.model.native_side)

    def size_of(self, request: GenerateRequest) -> tuple[int, int]:
        """Return height and width in pixels."""
        return request.height or self.model.native_side, request.width or self.model.native_side

    def _chunk(self, request: GenerateRequest) -> int:
        """Return how many pictures go through the UNet at once: as many as 32 of 128 px on a CPU, or by free memory."""
        height, width = self.size_of(request)
        positions = height * width // self.model.pixels_per_latent**2
        if self.model.device.type == "cuda":
            free, _ = gpu_memory(self.model.device)
            # A UNet pass keeps about 6 kB a latent position and sample in half precision; half of what is free is used.
            return max(1, int(free * 0.5 / (positions * 2 * 6144 * max(1, self.model.dtype.itemsize // 2))))
        return max(1, 32 * 256 // positions)

    def _latents(
        self,
        request: GenerateRequest,
        read: ReadPrompt,
        loras: list[tuple[ResolvedTag, LoraFile]],
        rows: range,
        progress: Progress,
        *,
        done: int,
        total: int,
    ) -> Tensor:
        """Return the latents of the pictures ``rows`` of the request, with the LoRAs attached meanwhile."""
        height, width = (side // self.model.pixels_per_latent for side in self.size_of(request))
        seeds = [request.seed if request.sweep else request.seed + row for row in rows]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(4, height, width, generator=g) for g in generators])
        ones = [self._attach(tag, lora, request, rows) for tag, lora in loras]
        with torch.no_grad(), attach_all(ones) as attached:
            # Where a sweep changes the text encoder, each picture has a text of its own; else one serves all.
            swept = request.sweep is not None and any(tag.sweep for tag, _ in loras)
            encode = partial(self.model.encode_prompts, clip_skip=request.clip_skip, copies=len(seeds) if swept else 1)
            guidance = Guidance.of(
                read.text,
                read.negative,
                calls_of(request.sampler, request.steps),
                encode,
                predict=self.model.predict,
                scale=request.cfg_scale,
                apart=self.model.side_by_side,
            )

            return sample(
                guidance,
                noise.to(self.model.device),
                sampler=request.sampler,
                prediction_type=self.model.prediction_type,
                schedule=self.model.noise,
                steps=request.steps,
                generators=generators,
                before_step=partial(at_step, attached),
                progress=SubProgress(progress, done, request.steps, total),
            )

    def _attach(
        self, tag: ResolvedTag, lora: LoraFile, request: GenerateRequest, rows: range
    ) -> AbstractContextManager[Attached]:
        sweep = [request.sweep[row] for row in rows] if request.sweep else None
        return attach(
            self.model,
            cut_rank(lora, tag.dyn),
            multipliers_of(tag, self.model.family, sweep),
            window=window_of(tag, request.steps),
            elements=tag.elements,
            strengths={"te": tag.te, "unet": tag.unet},
        )


def about_spoilt(count: int) -> list[str]:
    """Return what is to be said of pictures with numbers that are none; nothing where there are none."""
    if not count:
        return []
    return [
        say(
            "{n} {n:picture is|pictures are} no picture: the model's numbers left their range, and what cannot be "
            "shown is black. Lower a LoRA's strength, or choose another precision or VAE.",
            n=count,
        )
    ]


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """Return pixels ``(n, 3, H, W)`` in [-1, 1] as pictures."""
    levels = ((pixels.float().nan_to_num(nan=-1.0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(row.permute(1, 2, 0).cpu().numpy()) for row in levels]
