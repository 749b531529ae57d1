"""The whole fake A1111: its modules in `sys.modules`, its Lora extension's patches on torch's layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lib_lora.formats.lora import LoraFile, write_lora
from tests.webui.fakes import core, processing
from tests.webui.fakes.extra_networks import ExtraNetworks
from tests.webui.fakes.lora_extension import ExtraNetworkLora, Networks
from tests.webui.fakes.put import module, placed
from tests.webui.fakes.tiny_model import SdModel, tiny_model


class A1111:
    """One fake host.

    Attributes:
        folder: its data folder; LoRAs are in ``folder/models/Lora``.
        modules: its modules by the last part of their names: ``modules.shared`` is ``host.modules.shared``.
        sd_model: the loaded model; None before `load_model` where the host starts without one.
        opts, state, cmd_opts, callbacks, networks, extra_networks, queue_lock: the live pieces of those modules.
    """

    class InterruptedException(BaseException):
        """What the host's sampler raises to end itself."""

    names_callbacks = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.loras = folder, folder / "models" / "Lora"
        self.loras.mkdir(parents=True, exist_ok=True)
        self.sd_model: Any = None
        self.opts, self.state, self.queue_lock = core.Options(), core.State(), core.FIFOLock()
        self.cmd_opts = SimpleNamespace(
            lora_dir=str(self.loras), lyco_dir_backcompat=str(folder / "models" / "LyCORIS"), data_dir=str(folder),
            api=True, api_auth=None, gradio_auth=None, gradio_auth_path=None, webui_is_non_local=False, share=False,
            listen=False, ngrok=None, server_name=None, disable_extension_access=False, hide_ui_dir_config=False,
            medvram=False, lowvram=False, medvram_sdxl=False, enable_insecure_extension_access=False,
        )  # fmt: skip
        self.callbacks = core.Callbacks(names=self.names_callbacks)
        self.extra_networks = ExtraNetworks()
        self.model_hijack = SimpleNamespace(comments=[], extra_generation_params={}, embedding_db=None)
        self.scripts_data: list[Any] = []
        self.tasks: list[str] = []
        self._lora_extension()
        self.modules = SimpleNamespace()

    def _lora_extension(self) -> None:
        self.networks = Networks(self)
        self.lora = ExtraNetworkLora(self)

    # -- what a test does -----------------------------------------------------------------------------------------

    def load_model(self, model: SdModel | None = None) -> SdModel:
        """Load a model as the host does at its start, and tell the extensions."""
        self.sd_model = model or tiny_model()
        self.networks.assign_network_names_to_compvis_modules(self.sd_model)
        self.callbacks.call("model_loaded", self.sd_model)
        return self.sd_model

    def add_lora(self, name: str, lora: LoraFile) -> Path:
        """Put a LoRA where the host finds it."""
        path = write_lora(lora, self.loras / f"{name}.safetensors", overwrite=True)
        self.networks.list_available_networks()
        return path

    def order(self, prompt: str = "", **order: Any) -> processing.StableDiffusionProcessingTxt2Img:
        """Return a `p` for a small picture."""
        side = processing.SIDE
        usual = {"seed": 1, "steps": 4, "width": side, "height": side, "cfg_scale": 2.0, "sampler_name": "Euler"}
        made = processing.StableDiffusionProcessingTxt2Img(prompt=prompt, **{**usual, **order})
        made.host_model = self.sd_model
        return made

    def txt2img(self, prompt: str = "", *, scripts: Any = None, **order: Any) -> processing.Processed:
        """Make pictures, as the host does for a page: with its queue held and its state begun."""
        p = self.order(prompt, **order)
        p.scripts = scripts
        return self.run(p)

    def run(self, p: Any) -> processing.Processed:
        """Make the pictures of a `p`."""
        with self.queue_lock:
            self.state.begin("task")
            try:
                return self.process_images(p)
            finally:
                self.state.end()

    def process_images(self, p: Any) -> processing.Processed:
        """The host's function; the caller holds the queue."""
        p.host_model = self.sd_model
        return processing.process_images(self, p)

    def apply_model(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Return the model's prediction for a call of the sampler."""
        return self.sd_model.apply_model(x, t, {"c_crossattn": [cond]})

    def register_lora(self) -> None:
        """Register the built-in network, as the built-in extension's `before_ui` does; empties the registry first."""
        self.extra_networks.extra_network_registry.clear()
        self.extra_networks.extra_network_aliases.clear()
        self.extra_networks.register_extra_network(self.lora)
        self.extra_networks.register_extra_network_alias(self.lora, "lyco")

    # -- its modules ----------------------------------------------------------------------------------------------

    def content(self) -> dict[str, ModuleType]:
        """Return the modules by their full names."""
        shared = _Shared(self)
        made = {
            "modules": module("modules"),
            "modules.shared": shared,
            "modules.options": module("modules.options", categories=core.Categories()),
            "modules.devices": module("modules.devices", **core.content_of(core.Devices)),
            "modules.call_queue": module(
                "modules.call_queue", queue_lock=self.queue_lock, wrap_queued_call=self.queued
            ),
            "modules.fifo_lock": module("modules.fifo_lock", FIFOLock=core.FIFOLock),
            "modules.script_callbacks": module("modules.script_callbacks", **self.callbacks.content()),
            "modules.scripts": self._scripts(),
            "modules.extra_networks": self.extra_networks.module(),
            "modules.processing": self._processing(),
            "modules.sd_models": self._sd_models(),
            "modules.sd_samplers": module(
                "modules.sd_samplers", all_samplers=core.SAMPLERS, find_sampler_config=core.find_sampler_config,
                visible_sampler_names=lambda: [each.name for each in core.SAMPLERS],
                samplers_map={sampler.name.lower(): sampler.name for sampler in core.SAMPLERS},
            ),
            "modules.sd_schedulers": module(
                "modules.sd_schedulers",
                schedulers=[SimpleNamespace(name=name.lower(), label=name) for name in ("Automatic", "Karras")],
            ),
            "modules.progress": module(
                "modules.progress", add_task_to_queue=self.tasks.append, start_task=self.tasks.append,
                finish_task=self.tasks.append,
            ),
            "modules.sd_hijack": module("modules.sd_hijack", model_hijack=self.model_hijack),
            "modules.infotext_utils": module(
                "modules.infotext_utils", quote=core.quote, unquote=core.unquote,
                parse_generation_parameters=core.parse_generation_parameters,
            ),
            "modules.paths": self._paths("modules.paths"),
            "modules.paths_internal": self._paths("modules.paths_internal"),
            "modules.errors": module("modules.errors", display=lambda e, task, **named: None, report=print),
        }  # fmt: skip
        return {**made, **self.own_content()}

    def own_content(self) -> dict[str, ModuleType]:
        """Return the modules that only this kind of host has."""
        lowvram = module("modules.lowvram", is_enabled=lambda sd_model: sd_model.lowvram)
        return {
            "modules.lowvram": lowvram,
            "networks": self.networks.module(),
            "extra_networks_lora": module("extra_networks_lora", ExtraNetworkLora=ExtraNetworkLora),
        }

    def queued(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """`wrap_queued_call`."""

        def called(*arguments: Any, **named: Any) -> Any:
            with self.queue_lock:
                return func(*arguments, **named)

        return called

    def _scripts(self) -> ModuleType:
        runners = {name: core.ScriptRunner() for name in ("scripts_txt2img", "scripts_img2img")}
        content = {"Script": core.Script, "ScriptRunner": core.ScriptRunner, "AlwaysVisible": object(), **runners}
        return module("modules.scripts", scripts_data=self.scripts_data, basedir=lambda: str(self.folder), **content)

    def _processing(self) -> ModuleType:
        kinds = ("", "Txt2Img", "Img2Img")
        classes = {f"StableDiffusionProcessing{k}": getattr(processing, f"StableDiffusionProcessing{k}") for k in kinds}
        return module(
            "modules.processing", process_images=self.process_images, Processed=processing.Processed, **classes
        )

    def _sd_models(self) -> ModuleType:
        host = self

        class ModelData:
            """`model_data`: the model without loading one."""

            @property
            def sd_model(self) -> Any:
                return host.sd_model

        return module(
            "modules.sd_models", model_data=ModelData(), checkpoints_list={}, list_models=lambda: None,
            reload_model_weights=lambda sd_model=None, info=None, forced_reload=False: host.sd_model,
        )  # fmt: skip

    def _paths(self, name: str) -> ModuleType:
        folders = {"data_path": str(self.folder), "models_path": str(self.folder / "models")}
        return module(name, script_path=str(self.folder), extensions_dir=str(self.folder / "extensions"), **folders)

    @contextlib.contextmanager
    def installed(self) -> Iterator[A1111]:
        """Be the host inside the block; the layers of the process and the modules are as before afterwards."""
        content = self.content()
        for name, each in content.items():
            setattr(self.modules, name.rpartition(".")[2], each)
        with placed(content):
            self.patch()
            try:
                self.register_lora()
                self.start()
                yield self
            finally:
                self.unpatch()

    def patch(self) -> None:
        """Change torch's layers as the host does."""
        self.networks.patch()

    def unpatch(self) -> None:
        """Take that back."""
        self.networks.undo()

    def start(self) -> None:
        """Do what the host does at its start: A1111 loads its model."""
        self.load_model()


class _Shared(ModuleType):
    """`modules.shared`; reading ``sd_model`` loads a model where there is none, as in the host."""

    def __init__(self, host: A1111) -> None:
        super().__init__("modules.shared")
        self.__dict__.update(
            opts=host.opts, state=host.state, cmd_opts=host.cmd_opts, OptionInfo=core.OptionInfo, demo=None,
            device=torch.device("cpu"), parallel_processing_allowed=True, walk_files=core.walk_files,
            prompt_styles=SimpleNamespace(apply_styles_to_prompt=lambda prompt, styles: ", ".join([prompt, *styles])),
            config_filename=str(host.folder / "config.json"),
        )  # fmt: skip
        self.__dict__["_host"] = host

    @property
    def sd_model(self) -> Any:
        """The model, loaded now at the latest."""
        host = self.__dict__["_host"]
        return host.sd_model if host.sd_model is not None else host.load_model()
