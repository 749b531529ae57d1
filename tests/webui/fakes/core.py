"""Fakes of the small modules that every host has: options, state, queue, callbacks, scripts, devices, infotext."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch

DEFAULTS = {
    "sd_lora": "None",
    "lora_functional": False,
    "lora_add_hashes_to_infotext": True,
    "extra_networks_default_multiplier": 1.0,
    "CLIP_stop_at_last_layers": 1,
    "persistent_cond_cache": True,
    "use_old_scheduling": False,
    "batch_cond_uncond": True,
    "cross_attention_optimization": "Automatic",
    "live_previews_enable": True,
    "localization": "None",
    "fp8_storage": "Disable",
    "sd_model_checkpoint": "tiny",
    "samples_save": False,
    "samples_format": "png",
    "outdir_samples": "",
    "return_grid": False,
    "disabled_extensions": [],
}


class OptionInfo:
    """One setting of the settings page; `.info()` and its like return it, so that they chain."""

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Callable[[], None] | None = None,
        section: tuple[str | None, str] | None = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default, self.label, self.component, self.component_args = default, label, component, component_args
        self.onchange, self.section, self.refresh, self.infotext = onchange, section, refresh, infotext
        self.comment_before, self.comment_after = comment_before, comment_after
        self.restrict_api, self.category_id = restrict_api, category_id

    def info(self, info: str) -> OptionInfo:
        self.comment_after += info
        return self

    def html(self, html: str) -> OptionInfo:
        return self.info(html)

    def link(self, label: str, url: str) -> OptionInfo:
        return self.info(f"{label} {url}")

    def needs_reload_ui(self) -> OptionInfo:
        return self

    def needs_restart(self) -> OptionInfo:
        return self


class Categories:
    """Headings over the sections of the settings page; the first registration of one returns nothing."""

    def __init__(self) -> None:
        self.mapping: dict[str, str] = {}

    def register_category(self, category_id: str, label: str) -> str | None:
        if category_id in self.mapping:
            return category_id
        self.mapping[category_id] = label
        return None


class Options:
    """`shared.opts`: an unknown key raises AttributeError."""

    def __init__(self, **values: Any) -> None:
        self.__dict__["data_labels"] = {key: OptionInfo(value) for key, value in DEFAULTS.items()}
        self.__dict__["data"] = {**DEFAULTS, **values}

    def __getattr__(self, item: str) -> Any:
        if item in self.data:
            return self.data[item]
        if item in self.data_labels:
            return self.data_labels[item].default
        raise AttributeError(f"'Options' object has no attribute '{item}'")

    def __setattr__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        if key not in self.data_labels:
            raise KeyError(key)
        changed = self.data.get(key) != value
        self.data[key] = value
        if changed and run_callbacks and self.data_labels[key].onchange:
            self.data_labels[key].onchange()
        return changed

    def get_default(self, key: str) -> Any:
        return self.data_labels[key].default

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        self.data_labels[key].onchange = func

    def save(self, filename: str) -> None:
        """Write the settings; nothing here."""


class State:
    """`shared.state`."""

    def __init__(self) -> None:
        self.job, self.textinfo, self.current_image, self.current_latent = "", None, None, None
        self.job_no = self.job_count = self.sampling_step = self.sampling_steps = self.id_live_preview = 0
        self.skipped = self.interrupted = self.stopping_generation = False
        self.processing_has_refined_job_count = False
        self.job_timestamp, self.time_start = "0", 0.0
        self.server_command: str | None = None

    def begin(self, job: str = "(unknown)") -> None:
        State.__init__(self)
        self.job, self.job_count = job, -1

    def end(self) -> None:
        self.job, self.job_count = "", 0

    def nextjob(self) -> None:
        self.job_no, self.sampling_step = self.job_no + 1, 0

    def interrupt(self) -> None:
        self.interrupted = True

    def request_restart(self) -> None:
        self.interrupt()
        self.server_command = "restart"

    def skip(self) -> None:
        self.skipped = True

    def stop_generating(self) -> None:
        self.stopping_generation = True

    def assign_current_image(self, image: Any) -> None:
        self.current_image, self.id_live_preview = image, self.id_live_preview + 1


class FIFOLock:
    """The host's queue: fair, and not re-entrant."""

    def __init__(self) -> None:
        self._lock, self._inner_lock = threading.Lock(), threading.Lock()
        self._pending_threads: collections.deque[threading.Event] = collections.deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._inner_lock:
            if self._lock.acquire(False):
                return True
            if not blocking:
                return False
            mine = threading.Event()
            self._pending_threads.append(mine)
        mine.wait()
        return self._lock.acquire()

    def release(self) -> None:
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()

    __enter__ = acquire

    def __exit__(self, *what: object) -> None:
        self.release()


CALLBACKS = (
    *("app_started", "model_loaded", "ui_tabs", "ui_settings", "before_image_saved", "image_saved"),
    *("cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "before_component", "after_component"),
    *("infotext_pasted", "script_unloaded", "before_ui", "before_reload"),
)


class Callbacks:
    """`script_callbacks`: what was registered, by kind; ``names`` False: a `name` is refused, as in Forge-classic."""

    def __init__(self, *, names: bool = True) -> None:
        self.registered: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in CALLBACKS}
        self.names = names

    def registrar(self, kind: str) -> Callable[..., None]:
        """Return `on_KIND`."""
        if not self.names:
            return lambda callback: self.registered[kind].append(callback)
        return lambda callback, *, name=None: self.registered[kind].append(callback)

    def call(self, kind: str, *arguments: Any) -> list[Any]:
        """Call what is registered, in the host's order."""
        backwards = kind in ("before_ui", "script_unloaded")
        callbacks = self.registered[kind][::-1] if backwards else list(self.registered[kind])
        return [callback(*arguments) for callback in callbacks]

    def remove_callbacks_for_function(self, callback_func: Callable[..., Any]) -> None:
        for callbacks in self.registered.values():
            callbacks[:] = [each for each in callbacks if each is not callback_func]

    def content(self) -> dict[str, Any]:
        """Return the module's content."""
        made = {f"on_{kind}": self.registrar(kind) for kind in CALLBACKS}
        return {**made, "remove_callbacks_for_function": self.remove_callbacks_for_function}


HOOKS = (
    *("before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch"),
    *("process_before_every_sampling", "before_hr", "post_sample", "postprocess_batch", "postprocess_batch_list"),
    *("postprocess_image", "postprocess"),
)


class Script:
    """`scripts.Script`: every hook is there and does nothing."""

    alwayson, args_from, args_to, is_txt2img, is_img2img, filename = False, 0, 0, True, False, None
    infotext_fields: Any = None
    paste_field_names: Any = None

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any:
        """Build nothing."""

    def show(self, is_img2img: bool) -> Any:
        return True

    def elem_id(self, item_id: str) -> str:
        return (
            f"script_{'img2img' if self.is_img2img else 'txt2img'}_{self.title().lower().replace(' ', '_')}_{item_id}"
        )


def _no_hook(self: Script, p: Any, *arguments: Any, **named: Any) -> None:
    """Do nothing."""


for _name in HOOKS:
    setattr(Script, _name, _no_hook)


class ScriptRunner:
    """The scripts of one tab; each hook calls them in turn, and an error of one is printed, not raised."""

    def __init__(self, *scripts: Script) -> None:
        self.alwayson_scripts = list(scripts)
        self.printed: list[Exception] = []

    def __getattr__(self, item: str) -> Callable[..., None]:
        if item not in HOOKS:
            raise AttributeError(item)

        def call(p: Any, *arguments: Any, **named: Any) -> None:
            for script in self.alwayson_scripts:
                given = p.script_args[script.args_from : script.args_to]
                more = arguments if item not in ("postprocess_batch",) else ()
                try:
                    getattr(script, item)(p, *more, *given, **named)
                except Exception as error:
                    self.printed.append(error)

        return call

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        """Set nothing up."""


class Devices:
    """The content of `modules.devices` on a CPU in fp32."""

    cpu = device = torch.device("cpu")
    dtype = dtype_vae = dtype_unet = dtype_inference = torch.float32
    unet_needs_upcast = fp8 = False

    @staticmethod
    def autocast(disable: bool = False) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @staticmethod
    def without_autocast(disable: bool = False) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @staticmethod
    def torch_gc() -> None:
        """Free nothing."""

    @staticmethod
    def _found_none(x: torch.Tensor, where: str) -> None:
        """Find no number that is none."""

    test_for_nans = _found_none


def content_of(kind: type) -> dict[str, Any]:
    """Return a class's public names as a module's content."""
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


def walk_files(path: str, allowed_extensions: list[str] | None = None) -> Iterator[str]:
    """Yield the files under a folder that end so."""
    for root, _, files in sorted(os.walk(path, followlinks=True)):
        for name in sorted(files):
            if allowed_extensions is None or os.path.splitext(name)[1].lower() in allowed_extensions:
                yield os.path.join(root, name)


def quote(text: Any) -> str:
    """Quote a value of the infotext as the host does."""
    text = str(text)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def unquote(text: str) -> str:
    """Undo `quote`."""
    if not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


RE_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """Read an infotext back: prompt, negative prompt, and the keys of the last line."""
    *lines, last = x.strip().split("\n")
    if len(RE_PARAM.findall(last)) < 3:
        lines, last = [*lines, last], ""
    text = "\n".join(lines)
    prompt, _, negative = text.partition("Negative prompt:")
    found = {key: unquote(value) for key, value in RE_PARAM.findall(last)}
    return {"Prompt": prompt.strip(), "Negative prompt": negative.strip(), **found}


def find_sampler_config(name: str | None) -> SimpleNamespace | None:
    """Return a sampler's entry."""
    return next((each for each in SAMPLERS if each.name == name), None if name else SAMPLERS[0])


def _sampler(name: str, **options: Any) -> SimpleNamespace:
    twice = bool(options.get("second_order"))
    return SimpleNamespace(
        name=name, aliases=[], options=options, total_steps=lambda steps: steps * 2 if twice else steps
    )


SAMPLERS = [_sampler("Euler"), _sampler("Heun", second_order=True), _sampler("DPM++ 2M", scheduler="karras")]


@contextlib.contextmanager
def quiet_queue(lock: FIFOLock) -> Iterator[None]:
    """Hold a queue."""
    with lock:
        yield
