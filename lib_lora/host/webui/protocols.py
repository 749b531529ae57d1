"""What we use of a host: typed stand-ins for its objects, so that signatures say more than Any.

Each names the class or module that it stands for; `tests/webui/test_contracts.py` looks for every name and every call
in the sources of real hosts. What only some hosts have, or only some orders, is no part of these and is asked for where
it is used.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Protocol

from PIL import Image
from torch import Tensor, nn


class ExtraNetworkParams(Protocol):
    """One tag of a prompt, split at its colons.

    Stands for: modules.extra_networks.ExtraNetworkParams
    """

    items: Sequence[Any]
    positional: Sequence[Any]
    named: MutableMapping[str, str]


class Processing(Protocol):
    """One order for pictures, ``p``.

    Stands for: modules.processing.StableDiffusionProcessing
    """

    prompt: str | list[str]
    styles: list[str] | None
    steps: int
    batch_size: int
    iteration: int
    disable_extra_networks: bool
    is_hr_pass: bool
    all_prompts: list[str] | None
    all_negative_prompts: list[str] | None
    all_seeds: list[int] | None
    prompts: list[str] | None
    seeds: list[int] | None
    extra_network_data: dict[str, list[ExtraNetworkParams]] | None
    extra_generation_params: dict[str, Any]
    override_settings: dict[str, Any]

    def close(self) -> None:
        """Let go of what the sampling left."""


class Processed(Protocol):
    """The pictures of an order.

    Stands for: modules.processing.Processed
    """

    images: list[Image.Image]
    infotexts: list[str]
    comments: str
    index_of_first_image: int


class ExtraNetwork(Protocol):
    """Who is activated with the tags of one name.

    Stands for: modules.extra_networks.ExtraNetwork
    """

    name: str

    def activate(self, p: Processing, params_list: Sequence[ExtraNetworkParams]) -> None:
        """Begin a pass."""

    def deactivate(self, p: Processing) -> None:
        """End an order."""


class State(Protocol):
    """Where the host's work stands, ``shared.state``.

    Stands for: modules.shared_state.State
    """

    job: str
    job_no: int
    job_count: int
    sampling_step: int
    sampling_steps: int
    textinfo: str | None
    current_latent: Tensor | None
    interrupted: bool
    skipped: bool
    stopping_generation: bool
    server_command: str | None

    def begin(self, *, job: str) -> None:
        """Begin a job."""

    def end(self) -> None:
        """End it."""

    def interrupt(self) -> None:
        """Do as the Interrupt button."""

    def request_restart(self) -> None:
        """Do as the button *Reload UI*."""

    def assign_current_image(self, image: Image.Image) -> None:
        """Show a live preview."""


class Options(Protocol):
    """The host's settings, ``shared.opts``; one of them is asked for with `options.host_setting`.

    Stands for: modules.options.Options
    """

    data: dict[str, Any]

    def add_option(self, key: str, info: Any) -> None:
        """Put a setting on the settings page."""


class FifoLock(Protocol):
    """The lock of the host's queue, ``call_queue.queue_lock``.

    Stands for: modules.fifo_lock.FIFOLock
    """

    def acquire(self) -> bool:
        """Wait for the lock."""

    def release(self) -> None:
        """Give it back."""


class Sampler(Protocol):
    """Who samples.

    Stands for: modules.sd_samplers_common.Sampler
    """

    config: Any


class Denoiser(Protocol):
    """What a sampler calls for each prediction.

    Stands for: modules.sd_samplers_cfg_denoiser.CFGDenoiser
    """

    p: Processing | None
    step: int
    sampler: Sampler


class DenoiserParams(Protocol):
    """What ``on_cfg_denoiser`` is given.

    Stands for: modules.script_callbacks.CFGDenoiserParams
    Only in: A1111, Forge
    """

    denoiser: Denoiser


class NetworkOnDisk(Protocol):
    """A LoRA file in the host's list.

    Stands for: network.NetworkOnDisk
    """

    name: str
    filename: str
    metadata: dict[str, str]
    shorthash: str

    def read_hash(self) -> None:
        """Fill ``shorthash``."""


class Network(Protocol):
    """A LoRA that the host has loaded.

    Stands for: network.Network
    """

    name: str
    network_on_disk: NetworkOnDisk
    modules: dict[str, Any]


class Networks(Protocol):
    """The module of the host's Lora extension.

    Stands for: networks
    """

    available_networks: dict[str, NetworkOnDisk]
    available_network_aliases: dict[str, NetworkOnDisk]
    forbidden_network_aliases: dict[str, int]
    loaded_networks: list[Network]

    def list_available_networks(self) -> None:
        """Read the folders."""


class A1111Networks(Networks, Protocol):
    """The same of A1111, which merges its LoRAs into the layers' own weights.

    Stands for: networks
    Only in: A1111
    """

    def load_networks(self, names: Sequence[str]) -> None:
        """Have these LoRAs loaded, and no others."""

    def network_apply_weights(self, layer: nn.Module) -> None:
        """Bring a layer's weights to the LoRAs that are loaded."""


class CheckpointInfo(Protocol):
    """A checkpoint in the host's list.

    Stands for: modules.sd_models.CheckpointInfo
    """

    filename: str
    name_for_extra: str
    title: str


class TextWrapper(Protocol):
    """A text encoder in A1111, with what the host wraps in ``wrapped``.

    Stands for: modules.sd_hijack_clip.FrozenCLIPEmbedderWithCustomWordsBase
    Only in: A1111
    """

    wrapped: Any
    hijack: Any
    id_start: int
    id_end: int
    id_pad: int

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""


class SdModel(Protocol):
    """``shared.sd_model`` of A1111 and of those that build theirs alike: with ``conditioner`` for SDXL alone.

    Stands for: ldm.models.diffusion.ddpm.LatentDiffusion, sgm.models.diffusion.DiffusionEngine
    Only in: A1111
    """

    sd_checkpoint_info: CheckpointInfo
    model: Any
    first_stage_model: nn.Module
    cond_stage_model: Any
    conditioner: Any
    scale_factor: float
    alphas_cumprod: Tensor


class TextEngine(Protocol):
    """A text encoder in Forge.

    Stands for: backend.text_processing.classic_engine.ClassicTextProcessingEngine
    Only in: Forge, Forge Neo
    """

    embeddings: Any
    text_encoder: Any
    id_start: int
    id_end: int
    id_pad: int
    minimal_clip_skip: int
    final_layer_norm: bool
    return_pooled: bool
    text_projection: bool
    embedding_key: str

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""


class ModelPatcher(Protocol):
    """A network in Forge with what is to be merged into it.

    Stands for: backend.patcher.base.ModelPatcher
    Only in: Forge, Forge Neo
    """

    model: Any
    patches_uuid: object
    """Neo: what the patches of a patcher are told by. Elsewhere it has `refresh_loras`."""


class ForgeObjects(Protocol):
    """The parts of a model in Forge.

    Stands for: backend.diffusion_engine.base.ForgeObjects
    Only in: Forge, Forge Neo
    """

    unet: ModelPatcher
    clip: Any
    vae: Any

    def shallow_copy(self) -> ForgeObjects:
        """Return a copy that holds the same parts."""


class ForgeEngine(Protocol):
    """``shared.sd_model`` of Forge.

    Stands for: backend.diffusion_engine.base.ForgeDiffusionEngine
    Only in: Forge, Forge Neo
    """

    sd_checkpoint_info: CheckpointInfo
    forge_objects: ForgeObjects
    forge_objects_original: ForgeObjects
    forge_objects_after_applying_lora: ForgeObjects
    current_lora_hash: str


class AxisOption(Protocol):
    """One axis of the X/Y/Z plot.

    Stands for: scripts.xyz_grid.AxisOption
    """

    label: str


class XyzGrid(Protocol):
    """The module of the X/Y/Z plot.

    Stands for: scripts.xyz_grid
    """

    axis_options: list[AxisOption]
    AxisOption: Callable[..., AxisOption]


class ScriptCallbacks(Protocol):
    """Where an extension registers what the host calls.

    Stands for: modules.script_callbacks
    """

    on_ui_settings: Callable[[Callable[[], None]], None]
    on_before_ui: Callable[[Callable[[], None]], None]
    on_after_component: Callable[[Callable[..., None]], None]
    on_ui_tabs: Callable[[Callable[[], list[tuple[Any, str, str]]]], None]
    on_app_started: Callable[[Callable[..., None]], None]
    on_cfg_denoiser: Callable[[Callable[[DenoiserParams], None]], None]
    on_infotext_pasted: Callable[[Callable[[str, dict[str, Any]], None]], None]
    on_script_unloaded: Callable[[Callable[[], None]], None]
